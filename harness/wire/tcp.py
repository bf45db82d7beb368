"""Bare TCP: can a machine be reached from here, and how does a connection to it end."""

import errno
import select
import socket
from typing import Literal, TypeAlias

from harness.clock import NS, monotonic_ns

Reach: TypeAlias = Literal["open", "refused", "timeout", "unreachable"]


def reach(address: str, port: int, *, deadline_s: float) -> Reach:
    """Return what became of one new connection.

    `timeout` is what a link that drops packets looks like; a rejecting one shows `refused` or
    `unreachable`, by the ICMP message it answers with.
    """
    try:
        socket.create_connection((address, port), timeout=deadline_s).close()
    except TimeoutError:
        return "timeout"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        # A peer that closes in the moment of accepting was reached all the same.
        return "open" if error.errno == errno.ECONNRESET else "unreachable"
    return "open"


class HeldConnection:
    """An idle connection that tells how its peer goes away: in silence, by EOF or by a reset."""

    def __init__(self, address: str, port: int, *, deadline_s: float) -> None:
        """Connect.

        Raises:
            OSError: when the peer does not accept within `deadline_s`.
        """
        self._socket = socket.create_connection((address, port), timeout=deadline_s)

    def broken_within(self, seconds: float) -> Literal["eof", "reset"] | None:
        """Return how the connection ended, or None when it was silent for so long."""
        until_ns = monotonic_ns() + int(seconds * NS)
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        while (left_ms := (until_ns - monotonic_ns()) // 1_000_000) > 0 or seconds == 0:
            if not poller.poll(max(0, left_ms)):
                return None
            try:
                if not self._socket.recv(4096):
                    return "eof"
            except OSError:
                return "reset"
        return None

    def close(self) -> None:
        self._socket.close()
