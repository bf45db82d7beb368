"""A second opinion on linearizability: Porcupine, a checker in Go that others keep.

A small Go program (`porcupine_helper`) holds its own models on the published module; it is
compiled once, into the cache. It gets the operations that our reader understood, so that whoever
doubts a verdict need not doubt how the file was read, and nothing of what our search makes of them.

Source: github.com/anishathalye/porcupine, in the version that porcupine_helper/go.mod pins.
"""

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import orjson

from harness import operations
from harness.answer import UNKNOWN, Answer, Valid
from harness.cache import cache_folder, made_once
from harness.clock import NS
from harness.errors import HarnessError
from harness.history import Json
from harness.linearizability.calls import Call
from harness.linearizability.models import ModelName, model_of
from harness.linearizability.values import canonical

_SOURCES: Final = Path(__file__).parent / "porcupine_helper"
_WHERE: Final = "engine porcupine"
_WORDS: Final[Mapping[str, Valid]] = {"Ok": True, "Illegal": False, "Unknown": UNKNOWN}
_LINES_OF_OUTPUT: Final = 20
_NEVER: Final = 1 << 62  # when an operation of unknown outcome returns
_GRACE_S: Final = 300.0  # to read a large history and to build its objects


class Question(Protocol):
    """What is asked: the fields of the check `linearizable`."""

    @property
    def model(self) -> ModelName: ...

    @property
    def init(self) -> Json: ...

    @property
    def time_limit(self) -> float: ...


def judge(path: Path, check: Question) -> Answer:
    """Return what Porcupine says of a history: no models, no anomalies, and no example.

    Raises:
        ScenarioError: the history is malformed, as for our own check.
        HarnessError: the program cannot be built or run.
    """
    gathered = model_of(check.model, check.init).gather(operations.read(path))
    if not gathered.acknowledged:
        return Answer(UNKNOWN, "no operation was acknowledged, so none could be wrong")
    lines = [_asked(check)]
    for number, of in enumerate(gathered.objects):
        lines += (_prepared(call, number, check.init) for call in of.calls)
    said = _run(program(), b"\n".join(lines), check.time_limit + _GRACE_S)
    try:
        valid = _WORDS[orjson.loads(said)["result"]]
    except (ValueError, KeyError, TypeError):
        raise HarnessError(f"{_WHERE}: it said {said[:80]!r}; expected a result") from None
    reasons = {
        True: "",
        False: "Porcupine finds no order",
        UNKNOWN: f"Porcupine did not decide it within {check.time_limit:g} s",
    }
    return Answer(valid, reasons[valid], detail={"objects": len(gathered.objects)})


def _asked(check: Question) -> bytes:
    init: Json = check.init
    if isinstance(init, Mapping):
        # By the JSON of the key, as the operations name it; a number is meant by its digits.
        texts = {orjson.dumps(name).decode(): value for name, value in init.items()}
        init = texts | {name: value for name, value in init.items() if name.isdigit()}
    limit = max(1, round(check.time_limit * NS))
    return _line({"model": check.model, "init": init, "time_limit_ns": limit})


def _prepared(call: Call[object], number: int, init: Json) -> bytes:
    """Return an operation as a line for the program."""
    value = call.value
    if value is None and call.f == "get":
        value = init or ""
    elif value is None and call.f != "read":
        value = call.argument
    return _line(
        {
            "object": number,
            "f": call.f,
            "argument": call.argument if call.argument is not None else value,
            "value": value,
            "known": call.completed is not None,
            "call": call.invoked,
            "return": _NEVER if call.completed is None else call.completed,
        }
    )


def _line(content: Mapping[str, Json]) -> bytes:
    return orjson.dumps(canonical(content), option=orjson.OPT_SORT_KEYS)


def _run(program: Path, given: bytes, limit_s: float) -> bytes:
    try:
        done = subprocess.run(
            [program], input=given, capture_output=True, check=False, timeout=limit_s
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HarnessError(f"{_WHERE}: {error}; expected an answer") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise HarnessError(f"{_WHERE}: it ended with {done.returncode}: {said[-500:]}")
    return done.stdout


def program() -> Path:
    """Return the program, compiled by the host's Go if this version of it is not in the cache.

    Raises:
        HarnessError: there is no Go, or it cannot compile it.
    """
    folder = cache_folder() / "porcupine" / f"{_digest()}-{platform.machine()}"
    place = folder / "porcupine"
    return made_once(place, folder / "lock", partial(_compile, place))


def _digest() -> str:
    """Return 12 hexadecimal digits over the program's sources."""
    digest = hashlib.sha256()
    for path in _source_files():
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def _source_files() -> Iterator[Path]:
    for name in ("go.mod", "go.sum", "main.go"):
        yield _SOURCES / name


def _compile(place: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise HarnessError(
            f"{_WHERE}: no `go` on the PATH; expected Go 1.21 or newer: install it, or leave the "
            "engine out"
        )
    unfinished = place.with_name("unfinished")
    done = subprocess.run(
        [go, "build", "-trimpath", "-ldflags", "-s -w", "-o", unfinished, "."],
        cwd=_SOURCES,
        env={"HOME": str(Path.home()), **os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip().splitlines()[-_LINES_OF_OUTPUT:]
        raise HarnessError("\n".join([f"{_WHERE}: `go build` ended with {done.returncode}", *said]))
    unfinished.replace(place)
