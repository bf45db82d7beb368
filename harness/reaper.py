"""Who owns what a run made, and when nobody needs it any more.

Every container, network and volume carries its run, its owner and an expiry. Expiry alone would
kill the living or spare the dead (traps 22), so an object is ours to remove when its owner's
process is gone or its time is over.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.clock import wall_epoch_s

LABEL_RUN = "drill.run"
LABEL_OWNER = "drill.owner"
LABEL_KEPT = "drill.kept"
LABEL_EXPIRES = "drill.expires"
LABEL_JOURNAL = "drill.journal"
LABEL_MACHINE = "drill.machine"

_LIFETIME_S = 6 * 3600


def _horizon() -> str:
    """Return what this process can see of others: its machine and its namespace of process ids."""
    return f"{os.uname().nodename}:{Path('/proc/self/ns/pid').stat().st_ino}"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _stat(pid: int) -> Sequence[str]:
    """Return what the kernel tells of a process that runs: its state, its parent, ...; or nothing.

    Source: proc(5), /proc/pid/stat, from field 3 on.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    # The name in parentheses may hold spaces.
    fields = stat.rpartition(")")[2].split()
    # A zombie runs no more, however long its parent takes to notice.
    return () if fields[0] == "Z" else fields


def _start_time(pid: int) -> str | None:
    """Return a process's start time, in the kernel's ticks since boot; None when it has ended."""
    fields = _stat(pid)
    return fields[19] if fields else None


def _name(pid: int) -> str:
    return f"{_horizon()}:{_boot_id()}:{pid}:{_start_time(pid)}"


def owner() -> str:
    """Return who this process is: machine, boot, process id, start time; never the same twice."""
    return _name(os.getpid())


def family() -> frozenset[str]:
    """Return this process and all that it descends from, by the names that `owner` gives them."""
    names, pid = set[str](), os.getpid()
    while fields := _stat(pid):
        names.add(_name(pid))
        pid = int(fields[1])
    return frozenset(names)


def is_alive(name: str) -> bool:
    """Return whether the owner of that name still runs, as far as can be seen from here.

    An owner on another machine, or in a container of its own, that uses the same engine cannot be
    seen; it counts as alive, and what it made as needed until its expiry.
    """
    host, space, boot, pid, start = (*name.split(":"), *[""] * 5)[:5]
    if f"{host}:{space}" != _horizon():
        return bool(name)
    return boot == _boot_id() and pid.isdigit() and _start_time(int(pid)) == start


def labels(run: str, journal: Path, *, kept: bool = False) -> dict[str, str]:
    """Return what marks an object as made by this run.

    Args:
        run: its name.
        journal: where the run's faults are noted before they are made.
        kept: the object outlives this process (`--keep`, `drill up`) until it expires.
    """
    return {
        LABEL_RUN: run,
        LABEL_OWNER: owner(),
        **({LABEL_KEPT: "yes"} if kept else {}),
        LABEL_EXPIRES: str(int(wall_epoch_s()) + _LIFETIME_S),
        LABEL_JOURNAL: str(journal.resolve()),
    }


def is_orphan(marks: Mapping[str, str]) -> bool:
    """Return whether whoever made the object with these labels is gone, kept or not."""
    return not is_alive(marks.get(LABEL_OWNER, ""))


def expires_in_s(marks: Mapping[str, str]) -> float:
    """Return how long the object with these labels may still be kept; negative when it is over."""
    text = marks.get(LABEL_EXPIRES, "")
    return (int(text) if text.isdigit() else 0) - wall_epoch_s()


def is_abandoned(marks: Mapping[str, str]) -> bool:
    """Return whether nobody needs the object with these labels any more."""
    return expires_in_s(marks) < 0 or (LABEL_KEPT not in marks and is_orphan(marks))
