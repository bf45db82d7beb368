"""The scenario as data: what one YAML file asks. No I/O; `loader` reads files into these.

Verbs, workloads and checkers are plug-ins, so their parameters stay raw here; `plan` gives each
to the class that the registry names, once per cell of the matrix.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, JsonValue
from pydantic.json_schema import SkipJsonSchema

from harness.history import Json
from harness.places import Document
from harness.units import (
    DURATION_PATTERN,
    DURATION_WORDS,
    RATE_PATTERN,
    RATE_WORDS,
    SIZE_PATTERN,
    SIZE_WORDS,
    parse_duration,
    parse_rate,
    parse_size,
)

Backend: TypeAlias = Literal["sim", "docker", "aws"]
BACKENDS: tuple[Backend, ...] = ("sim", "docker", "aws")
Role: TypeAlias = Literal["leader", "primary", "replica", "sync-standby", "dcs-leader"]
DcsKind: TypeAlias = Literal["etcd", "zookeeper"]
Sync: TypeAlias = Literal["async", "sync", "strict", "quorum"]

# The word of the JSON Schema for what a pattern means: editors show it, and so do our messages.
EXPECTED = "patternErrorMessage"


def _text_with(words: str, parse: Callable[[str], float]) -> BeforeValidator:
    """Return a validator that takes text with a unit, and nothing else."""

    def validate(value: object) -> float:
        if not isinstance(value, str):
            raise ValueError(f"found {value!r}; expected {words}")  # noqa: TRY004 - as pydantic asks
        return parse(value)

    return BeforeValidator(validate)


def _text_schema(pattern: str, words: str, *examples: str) -> dict[str, JsonValue]:
    """Return what the JSON Schema says of text that is read as a number."""
    return {"type": "string", "pattern": pattern, EXPECTED: words, "examples": list(examples)}


Duration: TypeAlias = Annotated[
    float,
    _text_with(DURATION_WORDS, parse_duration),
    Field(json_schema_extra=_text_schema(DURATION_PATTERN, DURATION_WORDS, "250ms", "30s", "5m")),
]
Rate: TypeAlias = Annotated[
    float,
    _text_with(RATE_WORDS, parse_rate),
    Field(json_schema_extra=_text_schema(RATE_PATTERN, RATE_WORDS, "20/s")),
]
Size: TypeAlias = Annotated[
    int,
    _text_with(SIZE_WORDS, parse_size),
    Field(json_schema_extra=_text_schema(SIZE_PATTERN, SIZE_WORDS, "1MiB")),
]
# Also part of file names, marks and ids.
Name: TypeAlias = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$",
        max_length=80,
        json_schema_extra={EXPECTED: "lower-case words joined by '-'"},
    ),
]
Text: TypeAlias = Annotated[
    str, Field(pattern=r"\S", json_schema_extra={EXPECTED: "text that is not empty"})
]
Share: TypeAlias = Annotated[
    str,
    Field(
        pattern=r"^(?:one|all|(?:100|[1-9][0-9]?)%)$",
        json_schema_extra={EXPECTED: "one, all or a share like 50%"},
    ),
]


class Model(BaseModel):
    """Whatever is written in YAML: immutable, and an unknown key is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class PatroniSettings(Model):
    """Patroni's dynamic configuration, in its own names and units (seconds, bytes).

    `loop_wait + 2 * retry_timeout` must not exceed `ttl`.

    Attributes:
        ttl: how long the leader key lives without being renewed.
        loop_wait: how often Patroni looks at the cluster and renews the key.
        retry_timeout: how long Patroni tries again when the DCS or PostgreSQL does not answer.
        maximum_lag_on_failover: a replica that is further behind is not promoted.
        primary_start_timeout: how long a crashed primary may take to recover before a failover.
        failsafe_mode: a leader that loses the DCS stays primary while it reaches every member.

    Source: Patroni documentation, "Dynamic Configuration Settings".
    """

    ttl: int = Field(30, ge=20, le=3600)  # Patroni raises a smaller one to 20 by itself
    loop_wait: int = Field(10, ge=1, le=3600)
    retry_timeout: int = Field(10, ge=3, le=3600)
    maximum_lag_on_failover: int = Field(1 << 20, ge=0)
    primary_start_timeout: int = Field(300, ge=0)
    failsafe_mode: bool = False


class Backups(Model):
    """What the cluster keeps in S3; the reference stack's own numbers unless given.

    Attributes:
        schedule: when base backups are made: cron's five fields, UTC. The first one is made as
            soon as there is a leader.
        incrementals: so many follow each full backup.
        retain: full backups that are kept, each with the WAL that it needs.
        archive_timeout: after this long a segment of WAL is closed and archived, full or not:
            what a total loss may cost.
    """

    schedule: Text = "0 1 * * *"
    incrementals: int = Field(6, ge=0, le=1000)
    retain: int = Field(5, ge=1, le=1000)
    archive_timeout: Duration = Field(60.0, ge=1.0, le=86400.0)


class Cluster(Model):
    """The cluster that a scenario runs against.

    Attributes:
        postgres: major version.
        nodes: machines with PostgreSQL and Patroni, named `pg-1`, `pg-2`, ...
        azs: availability zones, over which nodes and DCS members are spread.
        dcs: what holds the leader key; `etcd` is Patroni's `etcd3`.
        sync: how commits are replicated. `async`, `sync` and `quorum` are `off`, `on` and `quorum`
            of Patroni's `synchronous_mode`; `strict` is `sync` that stops writes when no standby is
            left.
        watchdog: `required`: PostgreSQL is killed when its Patroni hangs, before the leader key
            can expire.
        patroni: Patroni's dynamic configuration.
        backups: what is kept in S3.
    """

    postgres: int = Field(17, ge=13, le=18)
    nodes: int = Field(3, ge=1, le=7)
    azs: tuple[Name, ...] = Field(("a", "b", "c"), min_length=1)
    dcs: DcsKind = "etcd"
    sync: Sync = "async"
    watchdog: Literal["none", "required"] = "none"
    patroni: PatroniSettings = PatroniSettings()
    backups: Backups = Backups()

    @property
    def dynamic_configuration(self) -> Mapping[str, Json]:
        """Return what Patroni's dynamic configuration must come to, in its own words.

        A setting that is missing there has Patroni's default, which is `Cluster`'s own, too.
        """
        return {
            **self.patroni.model_dump(),
            "synchronous_mode": _SYNCHRONOUS_MODE[self.sync],
            "synchronous_mode_strict": self.sync == "strict",
        }


# `strict` is `sync` that rather stops than writes alone.
_SYNCHRONOUS_MODE: Mapping[Sync, Json] = {
    "async": False,
    "sync": True,
    "strict": True,
    "quorum": "quorum",
}


class ReplicaState(Model):
    """What `steady` asks of the replicas.

    Attributes:
        streaming: how many stream on the leader's timeline.
        lag: how far behind the leader they may be.
    """

    streaming: Literal["all"] | Annotated[int, Field(ge=0)] = "all"
    lag: Mapping[Literal["max"], Size] = Field({"max": 1 << 20}, min_length=1)


class Steady(Model):
    """The state that holds before the first step and after the last.

    It also means that the synchronous state is established: the DCS names the standbys, and
    PostgreSQL agrees. A cluster that is not steady before the first step makes the run an error;
    so does one whose Patroni, asked by then, obeys other settings than the scenario's.

    Attributes:
        leaders: how many nodes hold the leader key.
        replicas: what is asked of the replicas.
        timeout: how long the cluster may take.
    """

    leaders: Literal[1] = 1
    replicas: ReplicaState = ReplicaState()
    timeout: Duration = 90.0


class Target(Model):
    """Which machines a step is aimed at; resolved when the step runs, and recorded.

    Exactly one of `role`, `az`, `service`, `node`, `ref` and `random` says which. One that means
    no machine when the step runs makes the run an error.

    Attributes:
        role: those that play it now. The leader holds the leader key; a primary accepts writes;
            the `dcs-leader` is the member that leads the DCS itself.
        pick: how many of those found, drawn by the run's seed. Unless it is given: one of a role,
            and all of an `az`, `service` or `ref`.
        az: all machines of this AZ, or of the one that a role is in: `{of: leader}`.
        service: the machines that serve it; `cluster` is all nodes.
        node: the one of this name: `pg-1`.
        ref: the machines that the earlier step with this `as:` picked.
        random: any node, drawn by the run's seed.
    """

    role: Role | None = None
    pick: Annotated[int, Field(ge=1)] | Share = "one"
    az: str | Annotated[Mapping[Literal["of"], Role], Field(min_length=1)] | None = None
    service: Literal["dcs", "patroni", "postgres", "s3", "elb", "cluster"] | None = None
    node: str | None = None
    ref: str | None = None
    random: Literal["node"] | None = None


class Requirements(Model):
    """Facts of the machine without which a scenario proves nothing there; lacking one is a skip.

    Attributes:
        azs: at least so many availability zones.
        watchdog: a watchdog.
        netem: network delay and loss can be made.
    """

    azs: Annotated[int, Field(ge=1)] | None = None
    watchdog: bool | None = None
    netem: bool | None = None


class BackendOverride(Model):
    """How one backend runs the scenario; nothing else of it may differ between backends.

    Attributes:
        repeat: runs of each cell.
        matrix: axes to replace, by name.
        rate: of every workload, instead of its own.
        timeout: how long one run may take; half an hour unless given.
        expect: expectations to change, key by key.
    """

    repeat: int = Field(1, ge=1)
    matrix: Mapping[str, Sequence[Json]] = {}
    rate: Rate | None = None
    timeout: Duration | None = None
    expect: Mapping[str, Json] = {}


class Step(Model):
    """One verb with its parameters, and when it runs.

    Steps run in order; each ends when its effect holds, which is checked, or the run is an error.

    Attributes:
        as: names the moment and the machines, for `ref`, `since` and `of`.
        at: wait for this time since the first step began; more than 1 s late is an error.
        background: do not wait for its end.
        when: only in cells with these choices: `{cluster.sync: async}`.
        cluster: which cluster; the scenario's own unless given.
    """

    verb: str
    parameters: Json
    name: Name | None = Field(None, alias="as")
    at: Duration | None = None
    background: bool = False
    when: Mapping[str, Json] = {}
    cluster: Name | None = None  # None is the scenario's own
    path: str = ""  # in the file, `steps[2]`: where an error points


class ExpectationModifiers(Model):
    """What every expectation may have beside its own parameters.

    Attributes:
        when: only in cells with these choices: `{cluster.sync: quorum}`.
        unless: not in cells with these choices.
        report: measure and show it, but do not judge it; then it needs no bound.
        cluster: which cluster; the scenario's own unless given.
    """

    when: Mapping[str, Json] = {}
    unless: Mapping[str, Json] = {}
    report: bool = False  # measured and shown, not judged
    cluster: Name | None = None  # None is the scenario's own


class Scenario(Model):
    """One question asked of a cluster.

    `steps` and `expect` are as the file has them; `plan` puts in what a cell's matrix says.

    Attributes:
        scenario: its name, which is also the file's.
        title: the question or the claim, in one sentence.
        labels: become pytest marks.
        cluster: the cluster that it runs against.
        matrix: what varies: each key is a path into the file (`cluster.nodes`) or a variable
            (`how`, used as `${how}`); the scenario runs once for each combination, its cells.
        cover: not the whole matrix, but as many cells as it takes for each combination of so many
            axes' values to occur; 1 is each value of each axis. `--cell` runs any other.
        backends: where it may run, and what differs there; elsewhere it is skipped.
        requires: facts of the machine without which it is skipped.
        workload: the load that runs behind all steps, by name.
        steady: the state that holds before the first step and after the last.
        steps: what is done, in order.
        expect: what must hold of the history, by name.
    """

    name: Name = Field(alias="scenario")
    title: Text
    labels: tuple[Name, ...] = ()
    cluster: Cluster = Cluster()
    matrix: Mapping[str, Sequence[Json]] = {}
    cover: int | None = Field(None, ge=1)
    backends: Mapping[Backend, BackendOverride] = Field({}, min_length=1)  # absent: all
    requires: Requirements = Requirements()
    workload: Mapping[str, Json] = {}
    steady: Steady = Steady()
    steps: tuple[Step, ...] = Field(min_length=1)
    expect: Mapping[str, Json] = Field(min_length=1)
    file: SkipJsonSchema[str] = ""
    # The file itself: the matrix is put into it, and mistakes point into it.
    document: SkipJsonSchema[InstanceOf[Document]] | None = Field(None, exclude=True, repr=False)
