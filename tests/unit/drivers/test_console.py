"""Tests for harness.drivers.docker.console: Docker's frames, and a client that may be gone."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pytest

from harness.clock import WallClock
from harness.drivers.docker import console as module
from harness.drivers.docker.console import Console, DockerClient
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import Job

STDOUT, STDERR = 1, 2


def frame(payload: bytes, kind: int = STDOUT) -> bytes:
    """Return what Docker makes of it: stream, three zeros, size, payload."""
    return struct.pack(">BxxxL", kind, len(payload)) + payload


def answer(number: int, **what: Json) -> bytes:
    return json.dumps({"id": number, **what}).encode() + b"\n"


class Far:
    """The other end: a client container's program, as the engine passes it on."""

    def __init__(self) -> None:
        self.socket, near = socket.socketpair()
        self.socket.settimeout(10)
        self._lines = self.socket.makefile("rb")
        self.console = Console(near.makefile("rb", buffering=0), "a")

    def hear(self) -> Mapping[str, Json]:
        request = json.loads(self._lines.readline())
        assert isinstance(request, dict)
        return request

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hang_up(self) -> None:
        self._lines.close()
        self.socket.close()


@pytest.fixture
def far() -> Iterator[Far]:
    made = Far()
    yield made
    made.hang_up()
    made.console.close()


class Call:
    """A call that is under way."""

    def __init__(self, work: Callable[[], Json]) -> None:
        self._got: list[Json] = []
        self._task = WallClock().spawn(lambda: self._got.append(work()), "call")

    def result(self) -> Json:
        self._task.join()
        return self._got[0]


def test_a_call_is_a_line_and_gets_its_answer(far: Far) -> None:
    """The request carries its name, its deadline and its arguments."""
    call = Call(lambda: far.console.call("sql", node="pg-1", deadline_s=2))
    assert far.hear() == {"id": 0, "do": "sql", "deadline_s": 2, "node": "pg-1"}
    far.send(frame(answer(0, ok=[[1]])))
    assert call.result() == [[1]]


def test_hello_comes_as_it_is(far: Far) -> None:
    """The facts of the client's place, without a deadline."""
    call = Call(lambda: far.console.hello(vantage="a", port=5432))
    assert far.hear() == {"id": 0, "do": "hello", "vantage": "a", "port": 5432}
    far.send(frame(answer(0, ok=True)))
    call.result()


def test_each_call_waits_for_its_own_answer(far: Far) -> None:
    """Answers come in any order, and one frame may hold several."""
    calls = []
    for node in ("pg-1", "pg-2", "pg-3"):
        calls.append(Call(lambda node=node: far.console.call("sql", node=node)))  # type: ignore[misc]
        assert far.hear()["node"] == node
    far.send(frame(answer(2, ok="third") + answer(0, ok="first")) + frame(answer(1, ok=None)))
    assert [call.result() for call in calls] == ["first", None, "third"]


def test_calls_of_many_threads_do_not_mix(far: Far) -> None:
    """Whole lines, each number once."""
    calls = [Call(lambda n=n: far.console.call("sql", sql="x" * 9000, n=n)) for n in range(20)]  # type: ignore[misc]
    for _ in calls:
        request = far.hear()
        far.send(frame(answer(int(str(request["id"])), ok=request["n"])))
    assert [call.result() for call in calls] == list(range(20))


@pytest.mark.parametrize("size", [1, 3, 7, 11])
def test_torn_frames_and_torn_lines_are_put_together(far: Far, size: int) -> None:
    """A read may end in mid-header, a frame in mid-line, a character in mid-frame."""
    call = Call(lambda: far.console.call("sql"))
    far.hear()
    line = json.dumps({"id": 0, "ok": "née"}, ensure_ascii=False).encode() + b"\n"
    cut = line.index(b"\xc3") + 1
    data = frame(line[:cut]) + frame(b"a warning", STDERR) + frame(b"") + frame(line[cut:])
    for start in range(0, len(data), size):
        far.send(data[start : start + size])
    assert call.result() == "née"


def test_an_error_is_the_drivers(far: Far) -> None:
    """With the name of the client that said it."""
    call = Call(lambda: far.console.call("sql"))
    far.hear()
    far.send(frame(answer(0, error="42703: no such column")))
    with pytest.raises(DriverError, match="client a: 42703: no such column"):
        call.result()


def test_a_client_that_dies_ends_every_call(far: Far) -> None:
    """With its last words, which it said on its other stream."""
    calls = [Call(lambda: far.console.call("sql")) for _ in range(2)]
    for _ in calls:
        far.hear()
    far.send(frame(b"Traceback ...\nMemoryError: no", STDERR) + frame(b" room\n", STDERR))
    far.hang_up()
    for call in calls:
        with pytest.raises(DriverError, match=r"^client a: gone: MemoryError: no room$"):
            call.result()


def test_a_client_that_is_gone_is_not_waited_for(far: Far) -> None:
    """Nobody is there to answer, so the call fails at once."""
    far.hang_up()
    far.console._reader.join()
    begun = WallClock().now_ns()
    with pytest.raises(DriverError, match=r"^client a: gone$"):
        far.console.call("sql")
    assert WallClock().now_ns() - begun < 1e9


def test_a_silent_client_is_given_up(far: Far, monkeypatch) -> None:
    """Past the call's own deadline and some grace; its late answer harms nobody."""
    monkeypatch.setattr(module, "_GRACE_S", 0.01)
    with pytest.raises(DriverError, match=r"client a: no answer to 'sql' within 0.02 s"):
        far.console.call("sql", deadline_s=0.01)
    far.hear()
    call = Call(lambda: far.console.call("dcs"))
    assert far.hear()["id"] == 1
    far.send(frame(answer(0, ok="late")) + frame(answer(1, ok={})))
    assert call.result() == {}


def test_what_somebody_prints_makes_nobody_deaf(far: Far) -> None:
    """A line that is no answer is kept for the last words."""
    call = Call(lambda: far.console.call("sql"))
    far.hear()
    odd = b"hello\n[1]\n" + answer(7, ok=1) + b'{"id": null}\n\xff\n'
    far.send(frame(odd) + frame(answer(0, ok=1)))
    assert call.result() == 1


def test_an_idle_client_is_not_gone() -> None:
    """The engine's client gives its sockets a timeout; a run may be silent for longer."""
    there, near = socket.socketpair()
    near.settimeout(0.001)
    console = Console(near.makefile("rb", buffering=0), "a")
    assert near.gettimeout() is None
    there.close()
    console.close()


def test_close_ends_the_input_and_waits_for_the_end(far: Far) -> None:
    """The client program stops when its input ends; its last events are written by then."""
    ended = threading.Event()

    def program() -> None:
        assert far.socket.recv(10) == b""
        ended.set()
        far.hang_up()

    task = WallClock().spawn(program, "program")
    far.console.close()
    assert ended.is_set()
    task.join()
    far.console.close()


def test_close_gives_up_a_client_that_does_not_end(far: Far, monkeypatch) -> None:
    """A cluster is removed even if its clients hang."""
    monkeypatch.setattr(module, "_GRACE_S", 0.01)
    far.console.close()
    assert not far.console._reader.is_alive()


# --- protocols.Client over it ------------------------------------------------------------------


def test_jobs_are_held_by_name(far: Far) -> None:
    """Longer than an operation may take to end by itself; not what holds a connection."""
    client = DockerClient(far.console)
    for method, do, deadline in (("hold", "hold_job", 20), ("release", "release_job", 30)):
        call = Call(partial(getattr(client, method), "append"))
        request = far.hear()
        assert (request["do"], request["name"]) == (do, "append")
        assert request["deadline_s"] == deadline
        far.send(frame(answer(int(str(request["id"])), ok=True)))
        call.result()


@pytest.mark.parametrize(
    ("more", "reader"), [({}, "final"), ({"reader": "restored/x"}, "restored/x")]
)
def test_a_final_read_says_who_reads(far: Far, more: dict[str, str], reader: str) -> None:
    """The survivor's, unless told otherwise."""
    job = Job("append", "workloads", "append", {}, "pg-1", 7)
    call = Call(lambda: DockerClient(far.console).final_read(job, **more))
    request = far.hear()
    assert (request["do"], request["reader"]) == ("final_read", reader)
    far.send(frame(answer(0, ok=3)))
    call.result()
