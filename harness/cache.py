"""What is fetched or compiled once and kept for all runs of a user."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    """Return the project's folder in the user's cache, made if it was missing."""
    parent = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(parent) / "drill"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def made_once(place: Path, lock: Path, make: Callable[[], None]) -> Path:
    """Return a file, made by `make` if it is not there yet.

    Whoever comes second waits at the lock, and then finds it.
    """
    if not place.is_file():
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            if not place.is_file():
                make()
    return place
