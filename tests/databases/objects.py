"""Single objects that clients use at the same time, sound ones and broken ones, and an oracle.

`record` plays clients against an object and returns the events they would have logged; every
choice comes from the given `random.Random`. `is_linearizable` tries all orders of a few operations.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal, TypeAlias

import orjson

from harness.history import Json
from harness.linearizability.models import ModelName
from harness.operations import Operation

Event: TypeAlias = Mapping[str, Json]
Asked: TypeAlias = tuple[str, Json]  # function, argument
Defect: TypeAlias = Literal[
    "stale", "lost", "blind-cas", "doubled", "swapped", "nowhere", "failed", "early", "torn"
]

DEFECTS: Mapping[ModelName, Sequence[Defect]] = {
    "register": ("stale", "lost", "nowhere", "failed", "early"),
    "cas-register": ("stale", "lost", "blind-cas", "nowhere", "failed", "early"),
    "multi-register": ("stale", "lost", "nowhere", "failed", "early", "torn"),
    "mutex": ("lost", "doubled", "failed", "early"),
    "kv-string": ("stale", "lost", "swapped", "nowhere", "failed", "early"),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to record.

    Attributes:
        operations: so many on all keys together.
        keys: of objects judged apart; of one, operations carry no key.
        values: how many different values are written.
        registers: of a multi-register.
        info, fail: shares of the operations that end so.
        impatience: how often a client gives up before its operation has happened.
        defect: what is broken.
        errs: how often that shows.
    """

    model: ModelName
    clients: int = 4
    operations: int = 30
    keys: int = 1
    values: int = 4
    registers: int = 3
    info: float = 0.1
    fail: float = 0.1
    impatience: float = 0.1
    defect: Defect | None = None
    errs: float = 0.4


@dataclass(slots=True)
class _Pending:
    """An operation of a client: what it asked, and what came of it."""

    key: Json
    asked: Asked
    begun: bool = False
    happened: bool = False
    hit: bool = True
    result: Json = None


@dataclass(slots=True)
class _Recorder:
    """A history in the making."""

    recipe: Recipe
    rng: random.Random
    events: list[Event] = field(default_factory=list)
    states: dict[Json, list[Json]] = field(default_factory=dict)  # the past ones, latest last
    ghosts: list[_Pending] = field(default_factory=list)
    elements: Iterator[int] = field(default_factory=lambda: count(1))

    def log(self, process: int, kind: str, of: _Pending, value: Json) -> None:
        f, _ = of.asked
        number = len(self.events)
        event: dict[str, Json] = {"index": number, "process": process, "type": kind, "f": f}
        self.events.append(event | {"key": of.key, "value": value, "time": number * 1000})

    def strikes(self, *defects: Defect) -> bool:
        """Return whether the object errs this time, if it has one of these defects."""
        return self.recipe.defect in defects and self.rng.random() < self.recipe.errs

    def happen(self, of: _Pending) -> None:
        """Let an operation take effect, or what the object makes of it."""
        of.happened = True
        past = self.states.setdefault(of.key, [initial(self.recipe.model)])
        f, argument = of.asked
        stale = self.strikes("stale") and f in ("read", "get", "txn")
        seen = past[-self.rng.randint(1, min(3, len(past)))] if stale else past[-1]
        fits, after, result = apply(f, argument, seen)
        if not fits and (self.strikes("blind-cas") or self.strikes("doubled")):
            fits, after = True, argument[1] if isinstance(argument, list) else past[-1]
        of.hit, of.result = fits, result
        if self.strikes("nowhere"):
            of.result = _invented(f, result)
        if not fits or self.strikes("lost"):
            return
        if f == "txn" and self.strikes("torn") and isinstance(argument, list):
            _, after, _ = apply(f, argument[:1], seen)
        if f == "append" and self.strikes("swapped") and isinstance(argument, str):
            after = f"{str(seen)[:-2]}{argument}{str(seen)[-2:]}"
        if after != past[-1]:
            past.append(after)


def initial(model: ModelName) -> Json:
    """Return what an object holds at first; a map of registers is a list of pairs."""
    starts: Mapping[ModelName, Json] = {"mutex": "free", "kv-string": "", "multi-register": []}
    return starts.get(model)


def apply(f: str, argument: Json, state: Json) -> tuple[bool, Json, Json]:
    """Return whether an operation fits, the state after it, and its result."""
    match f, argument:
        case (("read" | "get"), _):
            return True, state, state
        case (("write" | "put"), _):
            return True, argument, argument
        case "append", str():
            return True, f"{state}{argument}", argument
        case "cas", [old, new]:
            return (True, new, argument) if state == old else (False, state, argument)
        case "acquire", _:
            return state == "free", "held", None
        case "release", _:
            return state == "held", "free", None
        case "txn", list():
            assert isinstance(state, list)
            held: dict[str, Json] = {str(key): value for key, value in state}
            told: list[Json] = []
            for micro in argument:
                assert isinstance(micro, list)
                kind, key, value = micro
                if kind == "write":
                    held[str(key)] = value
                told.append([kind, key, held.get(str(key))])
            after: list[Json] = [[key, held[key]] for key in sorted(held)]
            return True, after, told
    raise AssertionError(f)


def _invented(f: str, result: Json) -> Json:
    """Return a result that nobody ever wrote, where an operation has one."""
    if f == "txn" and isinstance(result, list):
        return [[kind, key, value if kind == "write" else 99] for kind, key, value in result]
    return 99 if f == "read" else "none" if f == "get" else result


def record(recipe: Recipe, rng: random.Random) -> Sequence[Event]:
    """Return the events of one history."""
    recorder = _Recorder(recipe, rng)
    names = count()
    clients: dict[int, _Pending | None] = {next(names): None for _ in range(recipe.clients)}
    left = recipe.operations
    while left or any(clients.values()):
        if recorder.ghosts and rng.random() < 0.1:
            _materialize(recorder)
        process = rng.choice([*clients])
        pending = clients[process]
        if pending is None:
            if left:
                left -= 1
                clients[process] = _begin(recorder, process)
        elif not pending.begun:
            _invoke(recorder, process, pending)
        elif not pending.happened and rng.random() >= recipe.impatience:
            _proceed(recorder, pending)
        else:
            clients[process] = None
            if _complete(recorder, process, pending) == "info":
                del clients[process]
                clients[next(names)] = None
    return recorder.events


def _materialize(recorder: _Recorder) -> None:
    """Let something happen whose client has long given up."""
    ghost = recorder.ghosts.pop(recorder.rng.randrange(len(recorder.ghosts)))
    if ghost.asked[0] not in ("acquire", "release") or not recorder.strikes("lost"):
        recorder.happen(ghost)


def _begin(recorder: _Recorder, process: int) -> _Pending:
    recipe, rng = recorder.recipe, recorder.rng
    key = None if recipe.keys == 1 else rng.randrange(recipe.keys)
    pending = _Pending(key, _request(recorder, key))
    if recorder.strikes("early"):
        recorder.happen(pending)  # and it begins when it is this client's turn again
    else:
        _invoke(recorder, process, pending)
    return pending


def _invoke(recorder: _Recorder, process: int, pending: _Pending) -> None:
    pending.begun = True
    recorder.log(process, "invoke", pending, pending.asked[1])


def _request(recorder: _Recorder, key: Json) -> Asked:
    """Return what a client asks next."""
    recipe, rng = recorder.recipe, recorder.rng
    value: Callable[[], int] = lambda: rng.randrange(recipe.values)  # noqa: E731
    match recipe.model:
        case "mutex":
            state = recorder.states.get(key, ["free"])[-1]
            likely = "acquire" if state == "free" else "release"
            other = "release" if state == "free" else "acquire"
            return (likely if rng.random() < 0.7 else other), None
        case "kv-string":
            f = rng.choice(["get", "get", "put", "append", "append"])
            if f == "get":
                return f, None
            return f, f"{chr(97 + value())}{next(recorder.elements) % 10}"
        case "multi-register":
            if rng.random() < 0.3:
                return "txn", [["read", number, None] for number in range(recipe.registers)]
            micros: list[Json] = []
            for number in rng.sample(range(recipe.registers), rng.randint(1, recipe.registers)):
                write = rng.random() < 0.5
                micros.append(["write", number, value()] if write else ["read", number, None])
            return "txn", micros
    f = rng.choice(
        ["read", "write", "cas"] if recipe.model == "cas-register" else ["read", "write"]
    )
    if f == "cas":
        return f, [value(), value()]
    return f, None if f == "read" else value()


def _proceed(recorder: _Recorder, pending: _Pending) -> None:
    """Let a request reach the object; one that fails does not, or its defect is that it does."""
    if recorder.rng.random() < recorder.recipe.fail:
        pending.hit, pending.happened = False, True
        if recorder.strikes("failed"):
            recorder.happen(pending)
            pending.hit = False
        pending.result = "refused"
    else:
        recorder.happen(pending)


def _complete(recorder: _Recorder, process: int, pending: _Pending) -> str:
    """Log how an operation ended, and return how."""
    f, argument = pending.asked
    refused = pending.result == "refused" and not pending.hit
    if not pending.happened or recorder.rng.random() < recorder.recipe.info:
        if not pending.happened and recorder.rng.random() < 0.7:
            recorder.ghosts.append(pending)
        recorder.log(process, "info", pending, argument)
        return "info"
    if refused or (not pending.hit and (f != "cas" or recorder.rng.random() < 0.3)):
        recorder.log(process, "fail", pending, argument)
        return "fail"
    value = pending.result
    if f == "cas" and isinstance(argument, list):
        value = [*argument, pending.hit]
        if pending.hit and recorder.rng.random() < 0.5:
            value = argument
    recorder.log(process, "ok", pending, value)
    return "ok"


def save(events: Sequence[Event], path: Path) -> Path:
    """Write the events as a history."""
    path.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in events))
    return path


# --- the oracle --------------------------------------------------------------------------------


def is_linearizable(model: ModelName, operations: Sequence[Operation]) -> bool:
    """Try all orders, with and without each operation of unknown outcome."""
    keys = {orjson.dumps(op.key) for op in operations}
    return all(
        _has_order(
            [op for op in operations if orjson.dumps(op.key) == key and op.outcome != "fail"],
            initial(model),
        )
        for key in keys
    )


def _has_order(left: Sequence[Operation], state: Json) -> bool:
    if all(op.completed is None for op in left):
        return True
    ends = min(op.completed for op in left if op.completed is not None)
    for op in left:
        if op.invoked < ends:
            fits, after = _try(op, state)
            if fits and _has_order([other for other in left if other is not op], after):
                return True
    return False


def _try(op: Operation, state: Json) -> tuple[bool, Json]:
    """Return whether an operation with its outcome fits, and the state after it."""
    fits, after, result = apply(op.f, op.argument, state)
    if op.outcome == "info":
        return fits, after
    if op.f == "cas":
        assert isinstance(op.value, list)
        return fits == (op.value[2:] != [False]), after
    if op.f in ("read", "get"):
        return op.value == result, state
    if op.f == "txn":
        assert isinstance(op.value, list)
        assert isinstance(result, list)
        seen = zip(op.value, result, strict=True)
        return all(_agree(told, found) for told, found in seen), after
    return fits, after


def _agree(told: Json, found: Json) -> bool:
    assert isinstance(told, list)
    return told[2] is None or told == found
