"""The Docker engine: failures that are the driver's, what runs made there, and its removal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container
from requests.exceptions import ReadTimeout, RequestException

from harness import reaper
from harness.clock import NS, WallClock
from harness.drivers.docker import subnet
from harness.errors import DriverError

_DEADLINE_S = 120
# A network's endpoints linger for a moment after their containers; an engine that was at work for
# somebody who was killed finishes what it had been told.
_REMOVAL_S = 30.0
# An engine that refuses for so long to remove a network with nothing in it has lost count.
_MISCOUNTED_S = 5.0


def connect() -> docker.DockerClient:
    """Return a client of the Docker engine.

    Raises:
        DriverError: when none answers.
    """
    try:
        return docker.from_env(timeout=_DEADLINE_S)
    except DockerException as error:
        raise DriverError(
            f"no Docker engine answers: {error}; expected one (./drill starts it)"
        ) from None


@contextmanager
def obeying(what: str) -> Iterator[None]:
    """Turn the engine's refusal, or its silence, into a DriverError that says what was wanted."""
    try:
        yield
    except APIError as error:
        raise DriverError(f"{what}: {error.explanation or error}") from None
    except (DockerException, RequestException) as error:
        raise DriverError(f"{what}: the Docker engine{_fault(error)}") from None


def _fault(error: DockerException | RequestException) -> str:
    """Return what was wrong with the engine, for a sentence that names it."""
    if not isinstance(error, ReadTimeout):
        return f": {error}"
    return (
        f" did not answer within {_DEADLINE_S} s; when `docker ps` hangs, too, restart it, then"
        " ./drill heal && ./drill reap (one before 20.10.27 may stand still for ever: moby#42545)"
    )


# --- what is there -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Thing:
    """One object that carries our label.

    Attributes:
        state: of a container: `running`, `exited`, `paused`, `created`; else empty.
        made_s: seconds since 1970; 0 where the engine does not say.
    """

    kind: Literal["container", "network", "volume"]
    id: str
    marks: Mapping[str, str]
    state: str = ""
    made_s: float = 0.0

    @property
    def run(self) -> str:
        return self.marks[reaper.LABEL_RUN]

    @property
    def machine(self) -> str:
        return self.marks.get(reaper.LABEL_MACHINE, "")


def things(engine: docker.DockerClient, run: str | None = None) -> Sequence[Thing]:
    """Return what runs, or one of them, have on this engine; containers, networks, then volumes."""
    label = reaper.LABEL_RUN if run is None else f"{reaper.LABEL_RUN}={run}"
    wanted: dict[str, str | list[str] | bool] = {"label": label}
    # The lists themselves, not docker's models: those ask after each object once more, and fail
    # when it is gone by then.
    with obeying("what runs have made"):
        containers = engine.api.containers(all=True, filters=wanted)
        networks = engine.api.networks(filters=wanted)
        volumes = engine.api.volumes(filters=wanted).get("Volumes") or ()
    return [
        *(
            Thing("container", str(c["Id"]), c["Labels"], str(c["State"]), float(c["Created"]))
            for c in containers
        ),
        *(Thing("network", str(n["Id"]), n["Labels"]) for n in networks),
        *(Thing("volume", str(v["Name"]), v["Labels"]) for v in volumes),
    ]


def containers_of(engine: docker.DockerClient, run: str) -> Mapping[str, Container]:
    """Return a run's containers by the names of their machines."""
    found = {}
    for thing in things(engine, run):
        # Gone since the list was made: as if it had not been in it.
        with obeying(thing.machine), suppress(NotFound):
            if thing.kind == "container":
                found[thing.machine] = engine.containers.get(thing.id)
    return found


# --- removing it -------------------------------------------------------------------------------


def remove_run(
    engine: docker.DockerClient, run: str, says: Callable[[str], None] = lambda _: None
) -> int:
    """Remove all objects of a run; return how many. Repeats until none is left.

    Senders first, then their network, so that no packet strays; volumes last, for containers hold
    them. A network that the engine holds though nothing is in it is left to it, and told: nobody
    can send there, and nothing but the engine's restart removes it.

    Args:
        says: is told of such a network.

    Raises:
        DriverError: naming what the engine would not remove.
    """
    clock = WallClock()
    removed: set[str] = set()
    refusals: list[str] = []
    held: set[str] = set()
    only_held_since: int | None = None

    def remove(thing: Thing) -> None:
        try:
            _remove(engine, thing)
        except NotFound:
            return
        except (DockerException, RequestException) as error:
            refusals.append(f"{thing.kind} {thing.machine or thing.id[:40]}{_fault(error)}")
            if isinstance(error, ReadTimeout):
                # Each of the others would be waited for as long, one by one.
                raise DriverError("the engine stands still") from None
            if thing.kind == "network" and is_miscounted(engine, thing.id, error):
                held.add(thing.id)
        else:
            removed.add(thing.id)

    def is_gone() -> bool:
        nonlocal only_held_since
        refusals.clear()
        held.clear()
        # One by one: of two that leave a network at once, one may hold the network's lock and wait
        # for the engine's while the other does the reverse, for ever (moby#42545, until 20.10.27).
        for thing in things(engine, run):
            remove(thing)
        left = {thing.id for thing in things(engine, run)}
        if not left or not left <= held:
            only_held_since = None
            return not left
        now = clock.now_ns()
        only_held_since = only_held_since or now
        return now - only_held_since >= _MISCOUNTED_S * NS

    try:
        clock.wait_for(is_gone, timeout_s=_REMOVAL_S, what="removal", every_s=0.1)
    except DriverError as error:
        raise DriverError(f"{run}: not all removed: {'; '.join(refusals) or error}") from None
    if held:
        says(f"{run}: the engine holds an empty network until it is restarted (moby#42119)")
    _lower_shield(engine)
    return len(removed)


def is_miscounted(engine: docker.DockerClient, network: str, refusal: Exception) -> bool:
    """Return whether this refusal to remove a network speaks of ends that it has not.

    Source: moby#42119, "network rm has active endpoints": the count of ends, which is kept apart
    from them, is too high after some races of containers that start and end. Seen once in about 200
    clusters, with 20.10.24.
    """
    if "active endpoints" not in str(refusal):
        return False
    with suppress(DockerException, RequestException):
        return not engine.api.inspect_network(network).get("Containers")
    return False


def _remove(engine: docker.DockerClient, thing: Thing) -> None:
    if thing.kind == "container":
        engine.api.remove_container(thing.id, force=True, v=True)
    elif thing.kind == "network":
        _let_go(engine, thing.id)
        engine.api.remove_network(thing.id)
    else:
        engine.api.remove_volume(thing.id)


def _let_go(engine: docker.DockerClient, network: str) -> None:
    """Drop the ends of containers that are no more.

    The engine keeps one when a container is removed while it is being started, and then refuses to
    remove the network; it lists it by the end's name, `ep-...`, instead of a container's.
    """
    for name, end in (engine.api.inspect_network(network).get("Containers") or {}).items():
        if name.startswith("ep-"):
            engine.api.disconnect_container_from_network(end["Name"], network, force=True)


def _lower_shield(engine: docker.DockerClient) -> None:
    """Take the route away once no cluster is left."""

    def is_needed() -> bool:
        return any(thing.kind == "network" for thing in things(engine))

    if not is_needed():
        subnet.shield(up=False)
        # Whoever made a network between the two looks raised the shield before the second one.
        if is_needed():
            subnet.shield(up=True)
