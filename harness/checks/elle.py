"""`elle`: transactions are as isolated as they should be."""

from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import Field, StrictBool

from harness.answer import UNKNOWN, Answer
from harness.check import Check
from harness.isolation import list_append, rw_register
from harness.isolation.inference import Inference
from harness.isolation.models import Consistency
from harness.isolation.ruling import rule
from harness.operations import Operation
from harness.registry import register
from harness.scenario import Model


class Options(Model):
    """What may be taken for granted about each key of `rw-register`, to infer more.

    Attributes:
        sequential_keys: one process sees the versions of a key in their order.
        linearizable_keys: what was completed before is before, key by key.
        wfr_keys: what a transaction writes to a key comes after what it read there.
    """

    sequential_keys: StrictBool = Field(default=False, alias="sequential-keys?")
    linearizable_keys: StrictBool = Field(default=False, alias="linearizable-keys?")
    wfr_keys: StrictBool = Field(default=False, alias="wfr-keys?")


@register
class Elle(Check):
    """Look for cycles of dependencies between transactions, and for reads that cannot be.

    What was read tells which transaction came before which other. A cycle of that is an anomaly:
    its edges name it, and each model of consistency rules some of them out. `models` has an
    answer for each of nine models, `valid` is that for `consistency`.

    A pass does not show that the isolation is kept in general: only that nothing in this history
    contradicts it. Anomalies of predicates (phantoms) are not looked for, nor whether two appends
    of one transaction to one list stand there in their order; a version that nobody read tells
    little; `rw-register` knows the order of versions only where `options` or null reads give it,
    so most of what is wrong there goes unseen. If no transaction succeeded, nothing orders any
    two of them, or elements were read that nobody appended, it is unknown.

    A model is false exactly if an anomaly or a family of cycles that it rules out exists; that
    takes no time limit. The example shown of each is a short one, not always the shortest.
    Near-linear in operations and dependencies.

    Example:
        {"file": "history.jsonl", "check": "elle", "model": "list-append",
        "consistency": "snapshot-isolation"}

    Source: Kingsbury & Alvaro, "Elle: Inferring Isolation Anomalies from Experimental
    Observations" (PVLDB 14, 2020); Adya, "Weak Consistency" (PhD thesis, MIT 1999).

    Attributes:
        model: what transactions do: append to lists, or write registers.
        options: see `Options`; `list-append` needs none.
        consistency: the model that `valid` answers for.
    """

    name: ClassVar[str] = "elle"

    model: Literal["list-append", "rw-register"] = "list-append"
    options: Options = Options()
    consistency: Consistency = "strict-serializable"

    def judge(self, operations: Iterable[Operation]) -> Answer:
        ruling = rule(self._infer(operations))
        valid = ruling.models[self.consistency]
        reason = ruling.unsure if valid == UNKNOWN else ""
        if valid is False:
            reason = f"not {self.consistency}: {', '.join(ruling.anomalies)}"
        models = {str(model): standing for model, standing in ruling.models.items()}
        return Answer(
            valid,
            reason,
            models,
            ruling.anomalies,
            {
                "transactions": ruling.size,
                "dependencies": ruling.dependencies,
                "direct": ruling.direct,
                "cycles": ruling.cycles,
            },
        )

    def _infer(self, operations: Iterable[Operation]) -> Inference:
        if self.model == "list-append":
            return list_append.infer(operations)
        return rw_register.infer(
            operations,
            {
                "sequential-keys?": self.options.sequential_keys,
                "linearizable-keys?": self.options.linearizable_keys,
                "wfr-keys?": self.options.wfr_keys,
            },
        )
