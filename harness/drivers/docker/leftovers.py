"""What dead runs left behind: undoing their faults from their journals, removing their objects."""

import os
import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import docker

from harness import journal
from harness.clock import WallClock
from harness.drivers.docker.driver import DockerDriver
from harness.drivers.docker.engine import connect, remove_run, things
from harness.errors import DriverError, HarnessError
from harness.history import merge_logs
from harness.reaper import LABEL_JOURNAL, LABEL_KEPT, is_abandoned, is_orphan

# Beside the journal of a cluster that `drill up` is still making.
UNFINISHED = "unfinished"


def folder_of(name: str) -> Path:
    """Return where the files of a cluster that `drill up` made are: its passwords, its journal."""
    state = os.environ.get("XDG_STATE_HOME", "")
    # The standard has a relative path ignored. Source: XDG Base Directory Specification.
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "drill" / name


def is_needless(marks: Mapping[str, str]) -> bool:
    """Return whether nobody needs the object with these labels: a half-made cluster is no use."""
    return is_abandoned(marks) or (
        LABEL_KEPT in marks
        and is_orphan(marks)
        and Path(marks.get(LABEL_JOURNAL, "")).with_name(UNFINISHED).exists()
    )


def _runs(
    engine: docker.DockerClient,
    of: Callable[[Mapping[str, str]], bool],
    only: Collection[str] | None,
) -> Mapping[str, Path]:
    """Return the runs all of whose objects are of this kind, with their journals."""
    found: dict[str, Path] = {}
    others: set[str] = set()
    for thing in things(engine):
        if of(thing.marks):
            found[thing.run] = Path(thing.marks.get(LABEL_JOURNAL, ""))
        else:
            others.add(thing.run)
    return {
        run: path
        for run, path in found.items()
        if run not in others and (only is None or run in only)
    }


def heal(says: Callable[[str], None], *, only: Collection[str] | None = None) -> int:
    """Undo the faults of dead runs from their journals, and merge their histories.

    Args:
        says: is told what is done.
        only: these runs; None is all.

    Returns:
        How many faults could not be undone.

    Raises:
        DriverError: when no Docker engine answers.
    """
    failures = 0
    engine = connect()
    try:
        # Kept clusters too: they are to be kept without the faults of whoever died.
        dead = _runs(engine, is_orphan, only)
    finally:
        engine.close()
    for run, path in dead.items():
        if not path.is_file():
            says(f"{run}: its journal {path} is gone; ./drill reap removes the cluster")
            continue
        tell = partial(_prefixed, says, run)
        try:
            undone = _heal(run, path, tell)
        except DriverError as error:
            undone = [str(error)]
        for failure in undone:
            tell(f"NOT undone: {failure}")
        failures += len(undone)
        _gather(path.parent, tell)
    return failures


def _heal(run: str, path: Path, tell: Callable[[str], None]) -> list[str]:
    """Undo what one run left open; return what could not be undone."""
    book = journal.Journal(path)
    try:
        if not book.open:
            return []
        driver = DockerDriver.attach(run, path.parent, WallClock())
        try:
            failures = list(journal.heal(book, driver, tell))
            with suppress(DriverError, OSError):
                driver.logs(path.parent / "logs")
            return failures
        finally:
            driver.detach()
    finally:
        book.close()


def _gather(folder: Path, tell: Callable[[str], None]) -> None:
    """Merge the clients' logs of a run that died before it could; once made, it stays."""
    logs, history = folder / "clients", folder / "history.jsonl"
    if history.exists() or not any(logs.glob("*.jsonl")):
        return
    try:
        merge_logs(logs, history)
    except (HarnessError, OSError) as error:
        tell(f"its history cannot be merged: {error}")
    else:
        tell(f"its history is {history}")


def reap(says: Callable[[str], None], *, only: Collection[str] | None = None) -> int:
    """Remove the containers, networks and volumes of dead runs.

    Args:
        says: is told what is done.
        only: these runs; None is all.

    Returns:
        How many objects were removed.

    Raises:
        DriverError: when no Docker engine answers, or some could not be removed; the others are.
    """
    removed = 0
    refused: list[str] = []
    engine = connect()
    try:
        for run, path in _runs(engine, is_needless, only).items():
            if path.is_file():
                _gather(path.parent, partial(_prefixed, says, run))
            try:
                count = remove_run(engine, run, says)
            except DriverError as error:
                refused.append(str(error))
                continue
            if path.parent == folder_of(run):
                shutil.rmtree(path.parent, ignore_errors=True)
            says(f"{run}: {count} objects removed")
            removed += count
    finally:
        engine.close()
    if refused:
        raise DriverError("; ".join(refused))
    return removed


def _prefixed(says: Callable[[str], None], run: str, text: str) -> None:
    says(f"{run}: {text}")
