"""Who owns what a run made, and removing what a dead run left.

Every container, network and volume carries its run, its owner and an expiry. Expiry alone would
kill the living or spare the dead (traps 22), so an object is ours to remove when its owner's
process is gone or its time is over.
"""

import os
from pathlib import Path

from harness.clock import wall_epoch_s

LABEL_RUN = "drill.run"
LABEL_OWNER = "drill.owner"
LABEL_EXPIRES = "drill.expires"
LABEL_JOURNAL = "drill.journal"
LABEL_MACHINE = "drill.machine"

_LIFETIME_S = 6 * 3600


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _start_time(pid: int) -> str | None:
    """Return the kernel's start time of a process, in clock ticks since boot; None when gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    # The name in parentheses may hold spaces; field 22 counts from after it. Source: proc(5).
    return stat.rpartition(")")[2].split()[19]


def owner() -> str:
    """Return who this process is: boot, process id and start time, never the same twice."""
    pid = os.getpid()
    return f"{_boot_id()}:{pid}:{_start_time(pid)}"


def is_alive(name: str) -> bool:
    """Return whether the owner of that name still runs on this machine."""
    boot, _, rest = name.partition(":")
    pid, _, start = rest.partition(":")
    return boot == _boot_id() and pid.isdigit() and _start_time(int(pid)) == start


def labels(run: str, journal: Path, *, kept: bool = False) -> dict[str, str]:
    """Return what marks an object as made by this run.

    Args:
        kept: the object outlives this process (`--keep`, `drill up`) until it expires.
    """
    return {
        LABEL_RUN: run,
        LABEL_OWNER: "kept" if kept else owner(),
        LABEL_EXPIRES: str(int(wall_epoch_s()) + _LIFETIME_S),
        LABEL_JOURNAL: str(journal.resolve()),
    }


def is_abandoned(marks: dict[str, str]) -> bool:
    """Return whether nobody needs the object with these labels any more."""
    name = marks.get(LABEL_OWNER, "")
    expired = int(marks.get(LABEL_EXPIRES, "0")) < wall_epoch_s()
    return expired or (name != "kept" and not is_alive(name))
