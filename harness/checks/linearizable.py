"""`linearizable`: each object behaves as if one operation after the other had happened."""

from collections.abc import Hashable, Iterable, Mapping
from typing import ClassVar, TypeVar

from pydantic import Field, model_validator

from harness.answer import UNKNOWN, Answer
from harness.check import Check
from harness.clock import NS, monotonic_ns
from harness.history import Json
from harness.linearizability.deciding import decide
from harness.linearizability.drawing import explain, named_key
from harness.linearizability.models import (
    KvString,
    Model,
    ModelName,
    MultiRegister,
    Mutex,
    Register,
    model_of,
)
from harness.operations import Operation
from harness.registry import register

State = TypeVar("State", bound=Hashable)
Effect = TypeVar("Effect", bound=Hashable)

_NAMED = 10  # undecided keys in a sentence


@register
class Linearizable(Check):
    """Look for an order of the operations on each object in which every answer is right.

    In that order each operation stands somewhere between its invocation and its completion. One
    of unknown outcome may stand anywhere after its invocation, or nowhere. Operations with
    different keys are on different objects, those without a key on one.

    - `register`, `cas-register`: `read`, `write` and `cas` on one value. They are two names of
      the same model. `null` means the initial value.
    - `multi-register`: each operation reads and writes several registers of one map at once.
      Reading `null` constrains nothing.
    - `mutex`: `acquire` and `release`, at first free. Who releases it need not be who acquired it.
    - `kv-string`: `get`, `put` and `append`, at first the empty string.

    A pass does not show that transactions over several objects are isolated (`elle`), that the
    last state was kept, or anything about operations without an answer: writes that nobody reads
    afterwards fit anywhere. Without any acknowledged operation it is unknown.

    The search is exponential in the number of operations that are open at once, and linear in the
    rest. What it could not finish in time, or in some 2 GiB of memory, is unknown.

    Example:
        {"file": "history.jsonl", "check": "linearizable", "model": "cas-register", "init": 0}

    Source: Herlihy & Wing, "Linearizability: a correctness condition for concurrent objects",
    TOPLAS 12 (1990).

    Attributes:
        model: what the object is.
        init: what it holds at first: any value, of `kv-string` a string, of `multi-register` a
            map; for `mutex` there is no choice.
        time_limit: after so many seconds of search the answer is "unknown".
    """

    name: ClassVar[str] = "linearizable"

    model: ModelName
    init: Json = None
    time_limit: float = Field(60.0, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _initial_fits(self) -> "Linearizable":
        if self.init is None:
            return self
        if self.model == "mutex" and self.init is not False:
            raise ValueError(f"init {self.init!r}; expected none: a mutex is free at first")
        if self.model == "kv-string" and not isinstance(self.init, str):
            raise ValueError(f"init {self.init!r}; expected a string")
        if self.model == "multi-register" and not isinstance(self.init, Mapping):
            raise ValueError(f"init {self.init!r}; expected a map of values by key")
        return self

    def judge(self, operations: Iterable[Operation]) -> Answer:
        match model_of(self.model, self.init):
            case Register() | Mutex() as model:
                return self._judged(model, operations)
            case MultiRegister() as maps:
                return self._judged(maps, operations)
            case KvString() as strings:
                return self._judged(strings, operations)

    def _judged(self, model: Model[State, Effect], operations: Iterable[Operation]) -> Answer:
        gathered = model.gather(operations)
        if not gathered.acknowledged:
            return Answer(UNKNOWN, "no operation was acknowledged, so none could be wrong")
        objects = [one for of in gathered.objects for one in model.objects(of)]
        deadline = monotonic_ns() + round(self.time_limit * NS)
        decision = decide(objects, lambda: monotonic_ns() >= deadline)
        if decision.breach is not None:
            reason, detail = explain(decision.breach)
            return Answer(valid=False, reason=reason, detail=detail)
        if decision.valid is True:
            return Answer(valid=True, detail={"objects": len(objects)})
        undecided = decision.undecided
        named = ", ".join(map(named_key, undecided[:_NAMED]))
        more = f" and {len(undecided) - _NAMED} more" if len(undecided) > _NAMED else ""
        reason = f"{named}{more}: not decided within {decision.reason}"
        return Answer(UNKNOWN, reason, detail={"undecided": [*undecided]})
