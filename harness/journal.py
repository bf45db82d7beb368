"""Write-ahead undo: how each fault is undone is on disk before the fault is made.

One JSON line an entry, fsynced: `{"id", "undo": {"method", "arguments"}}`, later `{"undone": id}`.
What is not undone yet is undone last first, on every way out of a run; after the death of the
harness `drill heal` does it from the file alone.
"""

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from harness import storage, targets
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import Driver, Link, Process, Undo


class Journal:
    """The undo journal of one run. Steps and background heals may write at the same time."""

    def __init__(self, path: Path) -> None:
        """Open a journal, new or left by a dead run.

        Raises:
            DriverError: when a run that is alive writes to it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.RLock()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise DriverError(f"{path}: in use by another run; expected one of its own") from None
        text = path.read_bytes()
        self._open = _read(text)
        self._next = max(self._open, default=-1) + 1
        if text and not text.endswith(b"\n"):
            self._put(b"\n")  # the next entry must not be glued to half a line

    def intend(self, undo: Undo) -> None:
        """Put an undo on disk; return when it is there.

        Raises:
            DriverError: when it cannot be put there; the fault must then not be made.
        """
        with self._lock:
            number, self._next = self._next, self._next + 1
            entry = {"method": undo.method, "arguments": undo.arguments}
            self._write({"id": number, "undo": entry})
            self._open[number] = undo

    def strike(self, undo: Undo) -> bool:
        """Mark the newest such entry as done; return whether there was one."""
        with self._lock:
            for number in sorted(self._open, reverse=True):
                if self._open[number] == undo:
                    self._write({"undone": number})
                    del self._open[number]
                    return True
            return False

    @property
    def open(self) -> Sequence[Undo]:
        """Return what is not undone yet, last first."""
        with self._lock:
            return [self._open[number] for number in sorted(self._open, reverse=True)]

    def _write(self, entry: Mapping[str, Json]) -> None:
        self._put((json.dumps(entry) + "\n").encode())

    def _put(self, line: bytes) -> None:
        try:
            # A full disk takes only a part; writing the rest then says what is wrong.
            while line:
                line = line[os.write(self._fd, line) :]
            os.fsync(self._fd)
        except OSError as error:
            raise DriverError(f"{self.path}: not written: {error.strerror}") from None

    def close(self) -> None:
        """Let others open it; safe to repeat."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1  # never one that somebody else is given next


def _read(text: bytes) -> dict[int, Undo]:
    """Return the open entries of a journal by their numbers; its last line may be torn."""
    entries: dict[int, Undo] = {}
    for line in text.split(b"\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if "undone" in entry:
            entries.pop(entry["undone"], None)
        else:
            undo = entry["undo"]
            entries[entry["id"]] = Undo(undo["method"], undo["arguments"])
    return entries


def undo(driver: Driver, entry: Undo, clones: Sequence[Driver] = ()) -> None:
    """Undo one fault by the driver's method of that name.

    Args:
        driver: of the run's own cluster, and of what serves all clusters.
        entry: what to undo.
        clones: the drivers of the run's other clusters; one undoes what is on its machines.
    """
    driver = who_has(entry, driver, clones)
    if entry.method == "s3":
        storage.keeper(driver, "heal").s3(**entry.arguments)  # type: ignore[arg-type]
    elif entry.method == "mend":
        driver.mend(links_of(entry))
    elif entry.method == "quicken":
        driver.quicken(str(entry.arguments["node"]))
    elif entry.method == "thaw":
        driver.thaw(**entry.arguments)  # type: ignore[arg-type]
    else:
        driver.start(**entry.arguments)  # type: ignore[arg-type]


def who_has(entry: Undo, driver: Driver, clones: Sequence[Driver]) -> Driver:
    """Return the driver of the cluster that an undo is about."""
    machines = set(machines_of(entry))
    return next((one for one in clones if machines & {*targets.machines(one)}), driver)


def machines_of(entry: Undo) -> Sequence[str]:
    """Return the machines that an undo is about: those that the fault hit."""
    nodes = entry.arguments.get("nodes")
    found = nodes if isinstance(nodes, list) else [entry.arguments.get("node")]
    return [str(name) for name in found if name is not None]


def links_of(entry: Undo) -> Sequence[Link]:
    """Return the links that an undo mends; none if it is no mending."""
    links = entry.arguments.get("links")
    return [Link(**link) for link in links] if isinstance(links, list) else []


def moot(machine: str) -> Iterator[Undo]:
    """Yield what need not be undone on a machine that was destroyed, or made anew since."""
    yield Undo("start", {"node": machine})
    yield Undo("quicken", {"node": machine})
    for process in get_args(Process):
        yield Undo("thaw", {"node": machine, "process": process})


def words(entry: Undo) -> str:
    """Return an undo for people: `mend pg-1 to etcd-1, pg-1 to etcd-2`."""
    links = ", ".join(f"{link.source} to {link.destination}" for link in links_of(entry))
    facts = (str(v) for k, v in entry.arguments.items() if v and k not in ("nodes", "links"))
    return " ".join([entry.method, *facts, *([links] if links else [])])


def heal(
    journal: Journal,
    driver: Driver,
    says: Callable[[str], None],
    *,
    undone: Callable[[Undo], None] = lambda _: None,
    clones: Sequence[Driver] = (),
) -> Sequence[str]:
    """Undo all that is open, last first; one failure does not stop the rest.

    Args:
        journal: what is open is read from it, and struck there.
        driver, clones: what undoes it.
        says: is told of each entry once it is undone.
        undone: likewise, for who keeps a record.

    Returns:
        What could not be undone, one sentence each.
    """
    failures: list[str] = []
    for entry in journal.open:
        try:
            undo(driver, entry, clones)
        except DriverError as error:
            failures.append(f"{words(entry)}: {error}")
        except Exception as error:  # noqa: BLE001 - not even a bug may keep the rest from being undone
            failures.append(f"{words(entry)}: {type(error).__name__}: {error}")
        else:
            journal.strike(entry)
            undone(entry)
            says(f"undone: {words(entry)}")
    return failures
