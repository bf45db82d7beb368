"""Programs of the host that a build needs, run to their end; one that fails is quoted."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event
from typing import TypeAlias

from harness.errors import DriverError

Progress: TypeAlias = Callable[[str], None]  # is told a line at each long step

LINES_OF_OUTPUT = 20
_LOOK_EVERY_S = 0.5


def run(
    command: list[str],
    where: str,
    environment: Mapping[str, str] | None = None,
    *,
    abandoned: Event | None = None,
) -> str:
    """Run a program, without input, and return all that it said.

    Args:
        where: begins the error's message.
        environment: in the place of this process's.
        abandoned: when set, meanwhile, by another thread, the program is ended.

    Raises:
        DriverError: when it fails or is abandoned, with the end of its output.
    """
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
        # A group of its own only where we end it: Ctrl-C is for all others at once.
        process_group=0 if abandoned else None,
    ) as process:  # fmt: skip
        said = _last_words(process, abandoned) if abandoned else process.communicate()[0]
    if process.returncode:
        program = " ".join(command[:4])
        raise DriverError(f"{where}: `{program} ...` ended with {process.returncode}\n{tail(said)}")
    return said


def _last_words(process: "subprocess.Popen[str]", abandoned: Event) -> str:
    while True:
        try:
            return process.communicate(timeout=_LOOK_EVERY_S)[0]
        except subprocess.TimeoutExpired:
            if abandoned.is_set():
                # With its children: a compiler's workers would go on without it.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)


def tail(output: str) -> str:
    """Return the last lines."""
    return "\n".join(output.splitlines()[-LINES_OF_OUTPUT:])
