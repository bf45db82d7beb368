"""A second opinion on isolation: adya, Elle's method in Rust, which others keep.

The published crate is compiled once, into the cache. Like the other engine it gets what our reader
understood: adya knows no gzip, passes over clients whose names are no numbers, and leaves out
invocations that never completed, which the contract takes for transactions of unknown outcome. It
is asked twice, as it looks either at the order of sessions or at that of real time.

Source: crates.io/crates/adya, version 0.1.0.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import orjson

from harness import operations
from harness.answer import UNKNOWN, Answer, Valid
from harness.cache import cache_folder, made_once
from harness.checks.elle import Elle
from harness.errors import HarnessError
from harness.history import Json
from harness.isolation.models import MODELS, Consistency
from harness.isolation.transactions import VERBS, is_transaction, malformed, token
from harness.operations import Operation

VERSION: Final = "0.1.0"
NAMES: Final = frozenset({"elle"})
"""The checks that this engine can judge."""

# One for the order of real time, one for that of sessions.
_ASKED: Final = ("strict-serializable", "strong-session-serializable")
# What adya reports when it gave up on the whole history. It must be asked for these by name: it
# calls the history valid otherwise.
_GAVE_UP: Final = ("duplicate-appends", "duplicate-writes", "unexpected-txn-micro-op-types")
_NO_NAMES: Final = ("empty-transaction-graph", "cycle-search-timeout")

_WHERE: Final = "engine adya"
_LINES_OF_OUTPUT: Final = 20
_LARGEST: Final = (1 << 63) - 1  # of the integers that it can read


@dataclass(frozen=True, slots=True)
class _Report:
    """What one run of adya says.

    Attributes:
        anomalies: by name, in adya's words.
        refuted: the models that cannot hold.
        empty: it found no dependency at all.
    """

    anomalies: Mapping[str, str]
    refuted: frozenset[str]
    empty: bool


def judge(path: Path, check: Elle) -> Answer:
    """Return what adya says of a history.

    Raises:
        ScenarioError: the history is malformed, as for our own check.
        HarnessError: the program cannot be built or run.
    """
    with TemporaryDirectory(prefix="drill-adya-") as folder:
        prepared = Path(folder) / "history.jsonl"
        acknowledged = prepare(path, prepared, registers=check.model == "rw-register")
        if not acknowledged:
            return _unknown("no transaction succeeded, so nothing was observed")
        reports = _run([*_command(check), str(prepared)])
    return _answer(reports, check.consistency)


def _answer(reports: Sequence[_Report], consistency: Consistency) -> Answer:
    told = {name: words for one in reports for name, words in one.anomalies.items()}
    if gave_up := [name for name in _GAVE_UP if name in told]:
        return _unknown(f"adya gave up: {told[gave_up[0]]}")
    refuted = frozenset[str]().union(*(one.refuted for one in reports))
    otherwise: Valid = UNKNOWN if reports[0].empty else True
    models: dict[str, Valid] = {m: False if m in refuted else otherwise for m in MODELS}
    valid = models[consistency]
    named = {n: w for n, w in told.items() if n not in _NO_NAMES and not n.endswith("-exists")}
    reasons = {
        True: "",
        False: f"not {consistency}: {', '.join(sorted(named))}",
        UNKNOWN: "adya finds nothing that orders any two transactions",
    }
    return Answer(valid, reasons[valid], models, sorted(named), {"explanations": dict(named)})


def _unknown(reason: str) -> Answer:
    return Answer(UNKNOWN, reason, dict.fromkeys(MODELS, UNKNOWN))


# --- what it is given --------------------------------------------------------------------------


def prepare(path: Path, prepared: Path, *, registers: bool) -> int:
    """Write a history as adya reads it; return how many transactions were acknowledged.

    Processes get numbers, one that did something of unknown outcome a new one for it; that is
    then the last event of its process, whenever it was given up.
    """
    numbers: dict[str | int, int] = {}
    lines: list[tuple[int, bytes]] = []
    late: list[bytes] = []
    acknowledged = doubtful = 0
    for one in filter(is_transaction, operations.read(path)):
        value = [_micro(micro, one, registers=registers) for micro in _micros(one)]
        asked = [[f, key, None if f == "r" else argument] for f, key, argument in value]
        if one.completed is None:
            doubtful += 1
            process = -doubtful
            late.append(_line(process, "info", asked))
        else:
            process = numbers.setdefault(one.process, len(numbers))
            lines.append((one.completed, _line(process, one.outcome, value)))
            acknowledged += one.outcome == "ok"
        lines.append((one.invoked, _line(process, "invoke", asked)))
    lines.sort()
    prepared.write_bytes(b"".join([line for _, line in lines] + late))
    return acknowledged


def _micros(operation: Operation) -> Iterator[tuple[str, Json, Json]]:
    """Yield what a transaction did; of one that was not acknowledged, what it asked."""
    value = operation.value
    if not isinstance(value, list):
        raise malformed(operation)
    for micro in value:
        if not isinstance(micro, list) or len(micro) != 3 or micro[0] not in VERBS:
            raise malformed(operation)
        yield micro[0], micro[1], micro[2]


def _micro(micro: tuple[str, Json, Json], operation: Operation, *, registers: bool) -> list[Json]:
    verb, name, argument = micro
    key = _scalar(name, operation)
    if operation.key is not None:
        key = f"{_scalar(operation.key, operation)}/{key}"  # a key of one table, not of another
    if isinstance(argument, list):
        nothing = registers and not argument
        return [verb, key, None if nothing else [_scalar(each, operation) for each in argument]]
    return [verb, key, None if argument is None else _scalar(argument, operation)]


def _scalar(value: Json, operation: Operation) -> int | str:
    """Return a key or an element that adya can read, the same for the same one."""
    exact = token(value, operation)
    if isinstance(exact, int) and abs(exact) <= _LARGEST:
        return exact
    return exact if isinstance(exact, str) else f"{exact!r}"


def _line(process: int, kind: str, value: Json) -> bytes:
    return orjson.dumps(
        {"process": process, "type": kind, "f": "txn", "value": value},
        option=orjson.OPT_APPEND_NEWLINE,
    )


# --- the program -------------------------------------------------------------------------------


def _command(check: Elle) -> Iterator[str]:
    yield from (str(program()), "check", "--json", "--model", check.model)
    yield from ("--anomalies", ",".join(_GAVE_UP))
    for option, wanted in check.options:
        if wanted:
            yield f"--{option.replace('_', '-')}"


def _run(command: Sequence[str]) -> Sequence[_Report]:
    """Ask adya for each order, side by side."""
    started = [
        subprocess.Popen(
            [*command, "--consistency-models", model],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for model in _ASKED
    ]  # fmt: skip
    said = [process.communicate() for process in started]
    return [
        _report(process.returncode, *texts) for process, texts in zip(started, said, strict=True)
    ]


def _report(code: int, out: bytes, err: bytes) -> _Report:
    try:
        said = orjson.loads(out)
        anomalies = {
            name: str(examples[0]["explanation"]) for name, examples in said["anomalies"].items()
        }
        return _Report(
            anomalies,
            frozenset(said["not"]) | frozenset(said["also_not"]),
            "empty-transaction-graph" in anomalies,
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        words = err.decode(errors="replace").strip()[-500:]
        raise HarnessError(
            f"{_WHERE}: it ended with {code}: {words!r}; expected a report"
        ) from None


def program() -> Path:
    """Return the program, compiled by the host's cargo if it is not in the cache.

    Raises:
        HarnessError: there is no cargo, or it cannot compile it.
    """
    folder = cache_folder() / "adya" / f"{VERSION}-{platform.machine()}"
    return made_once(folder / "bin" / "adya", folder / "lock", partial(_compile, folder))


def _compile(folder: Path) -> None:
    """Let cargo put `bin/adya` into the folder; it is there whole or not at all."""
    cargo = shutil.which("cargo")
    if cargo is None:
        raise HarnessError(
            f"{_WHERE}: no `cargo` on the PATH; expected Rust 1.80 or newer: install it, or leave "
            "the engine out"
        )
    install = [cargo, "install", "adya", "--version", VERSION, "--no-default-features", "--locked"]
    done = subprocess.run(
        [*install, "--root", folder], env={**_toolchain(cargo), **os.environ},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip().splitlines()[-_LINES_OF_OUTPUT:]
        ended = f"{_WHERE}: `cargo install` ended with {done.returncode}"
        raise HarnessError("\n".join([ended, *said]))


def _toolchain(cargo: str) -> Mapping[str, str]:
    """Return where rustup keeps its toolchains, if this cargo is only its proxy.

    It looks in the home of whoever calls; a home of its own, as CI has, holds none.
    """
    if Path(cargo).resolve().stem != "rustup":
        return {}
    beside = Path(cargo).parent.parent.with_name(".rustup")
    return {"RUSTUP_HOME": str(beside)} if beside.is_dir() else {}
