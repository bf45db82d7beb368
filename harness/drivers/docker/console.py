"""Talking to the client program in its container: JSON lines over an attached exec."""

import json
import socket
import struct
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import asdict
from socket import SocketIO

from harness.errors import DriverError
from harness.history import Json
from harness.protocols import Job

# How much longer than a call's own deadline its answer may take before the client is given up.
_GRACE_S = 10.0


class Console:
    """One client program. Calls may come from several threads; each waits for its own answer."""

    def __init__(self, stream: SocketIO, name: str) -> None:
        """Take over the stream of an attached exec."""
        self._stream = stream
        # The socket below: the wrapper can only read (traps 11).
        self._socket: socket.socket = stream._sock  # type: ignore[attr-defined] # noqa: SLF001
        # The engine's client gives up after two minutes of silence; ours may be idle for longer.
        self._socket.settimeout(None)
        self._name = name
        self._lock = threading.Lock()
        self._next = 0
        self._waiting: dict[int, Future[Json]] = {}
        self._words = b""  # the last that it said besides answers
        self._gone = ""  # why nothing can come any more
        self._reader = threading.Thread(target=self._read, name=f"console-{name}", daemon=True)
        self._reader.start()

    def hello(self, **facts: Json) -> None:
        """Tell the client where it stands; must come first."""
        self._ask({"do": "hello", **facts}, wait_s=30.0)

    def call(self, do: str, *, deadline_s: float = 30.0, **arguments: Json) -> Json:
        """Send one request and return its answer.

        Raises:
            DriverError: when the client answers with an error, is gone, or stays silent.
        """
        return self._ask(
            {"do": do, "deadline_s": deadline_s, **arguments}, wait_s=deadline_s + _GRACE_S
        )

    def _ask(self, request: Mapping[str, Json], *, wait_s: float) -> Json:
        future: Future[Json] = Future()
        with self._lock:
            if self._gone:
                raise DriverError(self._gone)
            number, self._next = self._next, self._next + 1
            self._waiting[number] = future
        try:
            line = json.dumps({"id": number, **request}) + "\n"
            with self._lock:
                self._socket.sendall(line.encode())
            return future.result(wait_s)
        except FutureTimeoutError:  # first, for it is an OSError too
            raise DriverError(
                f"client {self._name}: no answer to {request['do']!r} within {wait_s:g} s"
            ) from None
        except OSError as error:
            raise DriverError(f"client {self._name}: gone ({error})") from None
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        """End the client program: it stops when its input ends, and then its output does."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            self._reader.join(_GRACE_S)
            self._socket.shutdown(socket.SHUT_RDWR)  # ends the reader of one that never ended
        self._reader.join(1)
        self._stream.close()
        self._socket.close()

    def _read(self) -> None:
        """Split Docker's frames (8 bytes of header, traps 11) into lines of answers."""
        pending, out = b"", b""
        try:
            while chunk := self._socket.recv(65536):
                pending += chunk
                while len(pending) >= 8:
                    kind, size = struct.unpack(">BxxxL", pending[:8])
                    if len(pending) < 8 + size:
                        break
                    payload, pending = pending[8 : 8 + size], pending[8 + size :]
                    if kind == 1:
                        *lines, out = (out + payload).split(b"\n")
                        for line in lines:
                            self._hear(line)
                    else:
                        self._words = (self._words + payload)[-4000:]
        except OSError:
            pass
        words = self._words.decode(errors="replace").strip().splitlines()
        with self._lock:
            self._gone = f"client {self._name}: gone{': ' + words[-1] if words else ''}"
            waiting = list(self._waiting.values())
        for future in waiting:
            if not future.done():
                future.set_exception(DriverError(self._gone))

    def _hear(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if isinstance(message, dict):
            self._answer(message)
        else:  # somebody printed; no reason to become deaf to the answers
            self._words = (self._words + line + b"\n")[-4000:]

    def _answer(self, message: Mapping[str, Json]) -> None:
        number = message.get("id")
        future = self._waiting.get(number) if isinstance(number, int) else None
        if future is None or future.done():
            return
        if "error" in message:
            future.set_exception(DriverError(f"client {self._name}: {message['error']}"))
        else:
            future.set_result(message.get("ok"))


class DockerClient:
    """`protocols.Client` over the console of a client container."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def prepare(self, through: str) -> None:
        self._console.call("prepare", through=through, deadline_s=30)

    def start(self, job: Job) -> None:
        self._console.call("start", job=asdict(job))

    def stop(self, name: str) -> None:
        self._console.call("stop", name=name, deadline_s=60)

    def hold(self, name: str) -> None:
        self._console.call("hold_job", name=name, deadline_s=20)

    def release(self, name: str) -> None:
        self._console.call("release_job", name=name)

    def final_read(self, job: Job, *, reader: str = "final") -> None:
        self._console.call("final_read", job=asdict(job), reader=reader, deadline_s=60)


class Held:
    """`protocols.Silence` over a connection that a client container holds."""

    def __init__(self, console: Console, handle: Json) -> None:
        self._console = console
        self._handle = handle

    def broken_within(self, seconds: float) -> str | None:
        seen = self._console.call(
            "held", handle=self._handle, seconds=seconds, deadline_s=seconds + 5
        )
        return None if seen is None else str(seen)
