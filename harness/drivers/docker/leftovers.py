"""What dead runs left behind: undoing their faults from their journals, removing their objects."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from harness import journal
from harness.clock import WallClock
from harness.drivers.docker.driver import DockerDriver, connect, remove_run
from harness.reaper import LABEL_JOURNAL, LABEL_RUN, is_abandoned


def abandoned() -> Mapping[str, Path]:
    """Return the runs that nobody needs any more, with their journals.

    Raises:
        DriverError: when no Docker engine answers.
    """
    engine = connect()
    label: dict[str, str | list[str] | bool] = {"label": LABEL_RUN}
    everything = [
        *(container.labels for container in engine.containers.list(all=True, filters=label)),
        *(network.attrs.get("Labels") or {} for network in engine.networks.list(filters=label)),
        *(volume.attrs.get("Labels") or {} for volume in engine.volumes.list(filters=label)),
    ]
    return {
        marks[LABEL_RUN]: Path(marks.get(LABEL_JOURNAL, ""))
        for marks in everything
        if is_abandoned(marks)
    }


def heal(says: Callable[[str], None]) -> int:
    """Undo the faults of dead runs from their journals; return how many could not be undone."""
    failures = 0
    for run, path in abandoned().items():
        if not path.is_file():
            says(f"{run}: its journal {path} is gone; ./drill reap removes the cluster")
            continue
        book = journal.Journal(path)
        if book.open:
            driver = DockerDriver.attach(run, path.parent, WallClock())
            for failure in journal.heal(book, driver, partial(_prefixed, says, run)):
                says(f"{run}: NOT undone: {failure}")
                failures += 1
        book.close()
    return failures


def reap(says: Callable[[str], None]) -> int:
    """Remove the containers, networks and volumes of dead runs; return how many."""
    removed = 0
    engine = connect()
    for run in abandoned():
        count = remove_run(engine, run)
        says(f"{run}: {count} objects removed")
        removed += count
    return removed


def _prefixed(says: Callable[[str], None], run: str, text: str) -> None:
    says(f"{run}: {text}")
