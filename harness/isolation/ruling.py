"""What the transactions of one history show: each model's standing, and what broke it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from harness.answer import UNKNOWN, Valid
from harness.history import Json
from harness.isolation.cycles import search
from harness.isolation.explanation import story
from harness.isolation.inference import Inference
from harness.isolation.models import MODELS, Consistency, anomalies_of, proofs, ruled_out

_NO_ORDER = "nothing orders any two transactions, so no anomaly could have shown"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is known of the isolation of a history.

    Attributes:
        size, dependencies: how many transactions, and how many edges between them.
        models: each of the nine: true, false or unknown.
        anomalies: the names of all that was found, sorted.
        unsure: why what was not broken is unknown; empty where it holds.
        direct: examples of the anomalies that need no cycle, by name.
        cycles: short cycles, each told as `explanation.story` does.
    """

    size: int
    dependencies: int
    models: Mapping[Consistency, Valid]
    anomalies: Sequence[str] = ()
    unsure: str = ""
    direct: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    cycles: Sequence[Mapping[str, Json]] = ()

    def shown(self, names: Collection[str]) -> Sequence[Json]:
        """Return the examples of these anomalies, those that need no cycle first."""
        plain = [{"name": n, "example": e} for n in names for e in self.direct.get(n, ())]
        return [*plain, *(cycle for cycle in self.cycles if cycle["name"] in names)]


def rule(inference: Inference) -> Ruling:
    """Return what an inference shows."""
    if inference.undecidable:
        unknown: dict[Consistency, Valid] = dict.fromkeys(MODELS, UNKNOWN)
        return Ruling(len(inference), 0, unknown, unsure=inference.undecidable)
    findings = search(inference)
    shown = [*inference.direct, *(cycle.name for cycle in findings.cycles)]
    broken = ruled_out([*shown, *anomalies_of(findings.exist)])
    unsure = inference.unsure or (_NO_ORDER if findings.empty else "")
    return Ruling(
        size=len(inference),
        dependencies=len(inference.source),
        models={m: False if m in broken else UNKNOWN if unsure else True for m in MODELS},
        anomalies=sorted({*shown, *proofs(broken, shown)}),
        unsure=unsure,
        direct=inference.direct,
        cycles=[story(cycle, inference) for cycle in findings.cycles],
    )
