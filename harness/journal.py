"""Write-ahead undo: how each fault is undone is on disk before the fault is made.

One JSON line an entry, fsynced: `{"id", "undo": {"method", "arguments"}}`, later `{"undone": id}`.
What is not undone yet is undone last first, on every way out of a run; after the death of the
harness `drill heal` does it from the file alone.
"""

import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import DriverError
from harness.protocols import Driver, Link, Undo


class Journal:
    """The undo journal of one run. Steps and background heals may write at the same time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.RLock()
        self._open = dict(_read(path)) if path.exists() else {}
        self._next = max(self._open, default=-1) + 1
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def intend(self, undo: Undo) -> None:
        """Put an undo on disk; return when it is there."""
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

    def _write(self, entry: object) -> None:
        os.write(self._fd, (json.dumps(entry) + "\n").encode())
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def _read(path: Path) -> list[tuple[int, Undo]]:
    """Return the open entries of a journal; its last line may be torn."""
    entries: dict[int, Undo] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if "undone" in entry:
            entries.pop(entry["undone"], None)
        else:
            undo = entry["undo"]
            entries[entry["id"]] = Undo(undo["method"], undo["arguments"])
    return sorted(entries.items())


def undo(driver: Driver, entry: Undo) -> None:
    """Undo one fault by the driver's method of that name."""
    if entry.method == "mend":
        driver.mend(Link(**entry.arguments))  # type: ignore[arg-type]
    elif entry.method == "thaw":
        driver.thaw(**entry.arguments)  # type: ignore[arg-type]
    else:
        driver.start(**entry.arguments)  # type: ignore[arg-type]


def heal(journal: Journal, driver: Driver, says: Callable[[str], None]) -> Sequence[str]:
    """Undo all that is open, last first; one failure does not stop the rest.

    Returns:
        What could not be undone, one sentence each.
    """
    failures: list[str] = []
    for entry in journal.open:
        words = f"{entry.method} {' '.join(str(v) for v in entry.arguments.values() if v)}"
        try:
            undo(driver, entry)
        except DriverError as error:
            failures.append(f"{words}: {error}")
        else:
            says(f"undone: {words}")
            journal.strike(entry)
    return failures
