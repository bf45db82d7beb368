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
Role: TypeAlias = Literal["leader", "primary", "replica", "sync-standby"]
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

    Source: Patroni documentation, "Dynamic Configuration Settings".
    """

    ttl: int = Field(30, ge=20, le=3600)  # Patroni raises a smaller one to 20 by itself
    loop_wait: int = Field(10, ge=1, le=3600)
    retry_timeout: int = Field(10, ge=3, le=3600)
    maximum_lag_on_failover: int = Field(1 << 20, ge=0)
    primary_start_timeout: int = Field(300, ge=0)
    failsafe_mode: bool = False


class Cluster(Model):
    """The cluster that a scenario runs against."""

    postgres: int = Field(17, ge=13, le=18)
    nodes: int = Field(3, ge=1, le=7)
    azs: tuple[Name, ...] = Field(("a", "b", "c"), min_length=1)
    dcs: Literal["etcd", "zookeeper"] = "etcd"
    sync: Sync = "async"
    watchdog: Literal["none", "required"] = "none"
    patroni: PatroniSettings = PatroniSettings()


class ReplicaState(Model):
    """What `steady` asks of the replicas."""

    streaming: Literal["all"] | Annotated[int, Field(ge=0)] = "all"
    lag: Mapping[Literal["max"], Size] = Field({"max": 1 << 20}, min_length=1)


class Steady(Model):
    """The state that holds before the first step and after the last."""

    leaders: Literal[1] = 1
    replicas: ReplicaState = ReplicaState()
    timeout: Duration = 90.0


class Target(Model):
    """Which machines a step is aimed at; resolved when the step runs, and recorded.

    Exactly one of `role`, `az`, `service`, `node`, `ref` and `random` says which (`plan` checks
    it); `pick` how many of those that play the role.
    """

    role: Role | None = None
    pick: Annotated[int, Field(ge=1)] | Share = "one"
    az: str | Annotated[Mapping[Literal["of"], Role], Field(min_length=1)] | None = None
    service: Literal["dcs", "patroni", "postgres", "s3", "elb", "cluster"] | None = None
    node: str | None = None
    ref: str | None = None
    random: Literal["node"] | None = None


class Requirements(Model):
    """Facts of the machine without which a scenario proves nothing there; lacking one is a skip."""

    azs: Annotated[int, Field(ge=1)] | None = None
    watchdog: bool | None = None
    netem: bool | None = None


class BackendOverride(Model):
    """How one backend runs the scenario; nothing else of it may differ between backends."""

    repeat: int = Field(1, ge=1)
    matrix: Mapping[str, Sequence[Json]] = {}
    rate: Rate | None = None
    timeout: Duration | None = None
    expect: Mapping[str, Json] = {}


class Step(Model):
    """One verb with its parameters, and when it runs."""

    verb: str
    parameters: Json
    name: Name | None = Field(None, alias="as")
    at: Duration | None = None
    background: bool = False
    when: Mapping[str, Json] = {}
    cluster: Name | None = None  # None is the scenario's own
    path: str = ""  # in the file, `steps[2]`: where an error points


class ExpectationModifiers(Model):
    """What every expectation may have beside its own parameters."""

    when: Mapping[str, Json] = {}
    unless: Mapping[str, Json] = {}
    report: bool = False  # measured and shown, not judged
    cluster: Name | None = None  # None is the scenario's own


class Scenario(Model):
    """One question asked of a cluster.

    `steps` and `expect` are as the file has them; `plan` puts in what a cell's matrix says.
    """

    name: Name = Field(alias="scenario")
    title: Text
    labels: tuple[Name, ...] = ()
    cluster: Cluster = Cluster()
    matrix: Mapping[str, Sequence[Json]] = {}
    backends: Mapping[Backend, BackendOverride] = Field({}, min_length=1)  # absent: all
    requires: Requirements = Requirements()
    workload: Mapping[str, Json] = {}
    steady: Steady = Steady()
    steps: tuple[Step, ...] = Field(min_length=1)
    expect: Mapping[str, Json] = Field(min_length=1)
    file: SkipJsonSchema[str] = ""
    # The file itself: the matrix is put into it, and mistakes point into it.
    document: SkipJsonSchema[InstanceOf[Document]] | None = Field(None, exclude=True, repr=False)
