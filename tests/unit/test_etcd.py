"""etcd's JSON gateway: quorum reads, watches and terms, from members that may be gone."""

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.clock import NS, monotonic_ns
from harness.errors import DriverError
from harness.history import Json
from harness.protocols import Change
from harness.wire import etcd
from harness.wire.etcd import Etcd

PREFIX = "/service/demo/"
# All of 127/8 is this machine, so the members can share one port as the real ones do.
MEMBERS = {"etcd-1": "127.0.0.1", "etcd-2": "127.0.0.2", "etcd-3": "127.0.0.3"}


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def pair(key: str, value: str, revision: int) -> dict[str, Json]:
    return {"key": b64(PREFIX + key), "value": b64(value), "mod_revision": str(revision)}


def deletion(key: str, revision: int) -> dict[str, Json]:
    gone = {"key": b64(PREFIX + key), "mod_revision": str(revision)}
    return {"type": "DELETE", "kv": gone}


class Member:
    """One member's answers: the keys it holds, the lines of its watch, its status."""

    def __init__(self, *pairs: Json, revision: int = 7, leader: str = "22", term: int = 2) -> None:
        self.asked: list[tuple[str, Mapping[str, Json]]] = []
        self.watch: list[Json] = [{"result": {"created": True}}]
        self.keeps_watching = True
        self.ended = threading.Event()
        self.refusing: dict[str, bool] = {}  # the next request to this path
        self.answers: dict[str, Json] = {
            "/v3/kv/range": {"header": {"revision": str(revision)}, "kvs": list(pairs)},
            "/v3/maintenance/status": {"leader": leader, "raftTerm": str(term)},
            "/v3/cluster/member/list": {"members": [{"ID": "22", "name": "etcd-2"}]},
        }

    def handler(self) -> type[BaseHTTPRequestHandler]:
        member = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(member.answers[self.path]).encode())
                self.close_connection = True

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                member.asked.append((self.path, asked))
                refused = member.refusing.pop(self.path, False)
                self.send_response(503 if refused else 200)
                if self.path == "/v3/watch":
                    self._stream()
                    return
                body = json.dumps(member.answers[self.path]).encode()
                self.send_header("Content-Length", str(len(body)))
                with suppress(BrokenPipeError):  # who asked may have given up
                    self.end_headers()
                    self.wfile.write(body)

            def _stream(self) -> None:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for line in member.watch:
                    piece = json.dumps(line).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                if member.keeps_watching:
                    member.ended.wait(2)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextmanager
def members(*found: Member) -> Iterator[Etcd]:
    """Run the members, the first as etcd-1; the others' addresses refuse."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    servers = []
    for member, address in zip(found, MEMBERS.values(), strict=False):
        server = ThreadingHTTPServer((address, port), member.handler())
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
    yield Etcd(MEMBERS, PREFIX, port)
    for member, server in zip(found, servers, strict=True):
        member.ended.set()
        server.shutdown()
        server.server_close()


def take(etcd_: Etcd, n: int, since: int | None = None) -> list[Change]:
    """Return the first changes that etcd-1 tells, without terms."""
    found: list[Change] = []
    for change in etcd_.changes("etcd-1", since):
        if change is not None and change.key != "term":
            found.append(change)
        if len(found) == n:
            break
    return found


def test_read_strips_the_prefix():
    """Keys carry the cluster's own names; another cluster's are not asked for."""
    member = Member(pair("leader", "pg-1", 5), pair("members/pg-1", "{}", 6))
    with members(member) as cluster:
        assert cluster.read(deadline_s=30) == {"leader": "pg-1", "members/pg-1": "{}"}
    ((_, asked),) = member.asked
    assert asked == {"key": b64("/service/demo/"), "range_end": b64("/service/demo0")}


def test_read_is_a_quorum_read():
    """`serializable` would let a member that is cut off tell old news."""
    member = Member()
    with members(member) as cluster:
        assert cluster.read(deadline_s=30) == {}
    assert "serializable" not in member.asked[0][1]


def test_read_takes_the_first_member_that_answers():
    """One that is frozen, and one that refuses, cost nothing."""
    frozen = socket.create_server(("127.0.0.1", 0))
    port = frozen.getsockname()[1]
    server = ThreadingHTTPServer(("127.0.0.2", port), Member(pair("leader", "x", 1)).handler())
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    begin_ns = monotonic_ns()
    try:
        assert Etcd(MEMBERS, PREFIX, port).read(deadline_s=60) == {"leader": "x"}
        assert (monotonic_ns() - begin_ns) / NS < 10
    finally:
        server.shutdown()
        server.server_close()
        frozen.close()


def test_read_without_a_quorum_says_so_in_time():
    """Silence from all is an error, and names what each said."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        cluster = Etcd({"etcd-1": "127.0.0.1"}, PREFIX, frozen.getsockname()[1])
        with pytest.raises(
            DriverError, match=r"no answer from a quorum: (silence|etcd-1: Timeout)"
        ):
            cluster.read(deadline_s=0.05)


def test_read_that_all_refuse():
    """The reasons are told without waiting for the deadline."""
    with members() as cluster, pytest.raises(DriverError, match="etcd-3: ConnectionRefused"):
        cluster.read(deadline_s=30)


def test_an_error_body_is_no_answer():
    """Without a leader the answer is an error object: nothing was read."""
    member = Member()
    member.answers["/v3/kv/range"] = {"error": "etcdserver: no leader", "code": 14}
    with members(member) as cluster, pytest.raises(DriverError, match="etcd-1"):
        cluster.read(deadline_s=1)


def test_version():
    """As the member says it."""
    member = Member()
    member.answers["/version"] = {"etcdserver": "3.5.16", "etcdcluster": "3.5.0"}
    with members(member) as cluster:
        assert cluster.version(deadline_s=30) == "etcd 3.5.16"


def test_changes_begin_with_what_is_there():
    """First the keys as they are, then each change after that revision, deletions as None."""
    member = Member(pair("leader", "pg-1", 5), revision=7)
    member.watch += [
        {"result": {"events": [{"kv": pair("sync", "{}", 8)}, {"kv": pair("leader", "pg-2", 8)}]}},
        {"result": {"events": [deletion("leader", 9)]}},
    ]
    with members(member) as cluster:
        assert take(cluster, 4) == [
            Change("leader", "pg-1", 5),
            Change("sync", "{}", 8),
            Change("leader", "pg-2", 8),
            Change("leader", None, 9),
        ]
    created = next(asked for path, asked in member.asked if path == "/v3/watch")
    assert created["create_request"]["start_revision"] == 8  # type: ignore[index,call-overload]


def test_changes_after_a_revision():
    """Who was there before asks for what it missed, not for the present state."""
    member = Member(pair("leader", "pg-2", 8), revision=9)
    member.watch.append({"result": {"events": [{"kv": pair("leader", "pg-2", 8)}]}})
    with members(member) as cluster:
        assert take(cluster, 1, since=7) == [Change("leader", "pg-2", 8)]
    assert "/v3/kv/range" not in [path for path, _ in member.asked]


def test_changes_that_are_compacted_away():
    """Then the present state is the best that can be told."""
    member = Member(pair("leader", "pg-2", 8), revision=9)
    member.watch.append({"result": {"canceled": True, "compact_revision": "8"}})
    with members(member) as cluster:
        assert take(cluster, 1, since=3) == [Change("leader", "pg-2", 8)]


def test_changes_end_when_the_member_hangs_up():
    """The caller is told by the end, and may ask again."""
    member = Member(pair("leader", "pg-1", 5))
    member.keeps_watching = False
    with members(member) as cluster:
        assert take(cluster, 99) == [Change("leader", "pg-1", 5)]


def test_changes_of_a_member_that_is_away_are_none():
    """It ends at once."""
    with members() as cluster:
        assert list(cluster.changes("etcd-1")) == []


def test_changes_end_when_the_member_falls_silent(monkeypatch):
    """A frozen member's stream stays open and silent: only asking it something shows that."""
    monkeypatch.setattr(etcd, "LOST_AFTER_S", 0.05)
    monkeypatch.setattr(etcd, "TERM_EVERY_S", 0.02)
    member = Member(pair("leader", "pg-1", 5))
    status: Callable[[], Json] = lambda: member.ended.wait(60) or {}  # noqa: E731

    class Frozen(dict[str, Json]):
        def __getitem__(self, path: str) -> Json:
            return status() if path == "/v3/maintenance/status" else super().__getitem__(path)

    member.answers = Frozen(member.answers)
    with members(member) as cluster:
        begin_ns = monotonic_ns()
        assert take(cluster, 99) == [Change("leader", "pg-1", 5)]
        assert (monotonic_ns() - begin_ns) / NS < 10


def test_caller_is_not_kept_waiting(monkeypatch):
    """Without changes it gets a None now and then, to look whether it should stop."""
    monkeypatch.setattr(etcd, "TERM_EVERY_S", 0.01)
    with members(Member()) as cluster:
        changes = cluster.changes("etcd-1")
        first = next(change for change in changes if change is not None)  # it may take a while
        assert first.key == "term"
        assert next(changes) is None


def test_terms_name_the_leader_and_come_once(monkeypatch):
    """A new term is told when somebody leads in it; without a leader nothing is."""
    monkeypatch.setattr(etcd, "TERM_EVERY_S", 0.01)
    member = Member(leader="22", term=2)
    with members(member) as cluster:
        changes = cluster.changes("etcd-1")
        first = next(change for change in changes if change is not None)
        assert (first.key, first.revision) == ("term", 2)
        assert json.loads(first.value or "") == {"term": 2, "leader": "etcd-2"}
        member.answers["/v3/maintenance/status"] = {"raftTerm": "3"}
        assert [next(changes) for _ in range(4)] == [None] * 4
        member.answers["/v3/maintenance/status"] = {"raftTerm": "3", "leader": "33"}
        told = next(change for change in changes if change is not None)
    assert json.loads(told.value or "") == {"term": 3, "leader": "33"}


# --- who leads, and who is taken in anew --------------------------------------------------------

LISTED: list[Json] = [
    {"ID": "11", "name": "etcd-1", "peerURLs": ["http://127.0.0.1:2380"]},
    {"ID": "22", "name": "etcd-2", "peerURLs": ["http://127.0.0.2:2380"]},
    {"ID": "33", "name": "etcd-3", "peerURLs": ["http://127.0.0.3:2380"]},
]


def leading(*listed: Json) -> Member:
    """Return etcd-1, which leads and knows these members."""
    member = Member(leader="11")
    member.answers["/v3/cluster/member/list"] = {"members": [*listed]}
    member.answers |= {"/v3/cluster/member/remove": {}, "/v3/cluster/member/add": {}}
    return member


def changes_to(member: Member) -> list[tuple[str, Mapping[str, Json]]]:
    asked = [(path.rpartition("/")[2], body) for path, body in member.asked]
    return [(what, body) for what, body in asked if what in ("remove", "add")]


def test_one_member_alone_is_asked():
    """The others would answer, too."""
    with members(Member(), Member(pair("leader", "pg-1", 5))) as cluster:
        assert cluster.read(deadline_s=30, member="etcd-2") == {"leader": "pg-1"}
        assert cluster.read(deadline_s=30, member="etcd-1") == {}
        with pytest.raises(DriverError, match="no answer from a quorum: etcd-3: Conn"):
            cluster.read(deadline_s=1, member="etcd-3")


def test_the_leader_is_told_by_name():
    """Also by members that follow."""
    with members(leading(*LISTED)) as cluster:
        assert cluster.leader(deadline_s=30) == "etcd-1"


def test_without_a_quorum_nobody_leads():
    """A member then names none."""
    member = leading(*LISTED)
    member.answers["/v3/maintenance/status"] = {"raftTerm": "9"}
    with members(member) as cluster, pytest.raises(DriverError, match="leader None; expected"):
        cluster.leader(deadline_s=1)


def test_a_member_is_taken_in_anew():
    """Its old identity goes before the new one comes; its address stays."""
    member = leading(*LISTED)
    with members(member) as cluster:
        cluster.readmit("etcd-3", deadline_s=1)
    added = {"peerURLs": ["http://127.0.0.3:2380"]}
    assert changes_to(member) == [("remove", {"ID": "33"}), ("add", added)]


@pytest.mark.parametrize(
    "listed", [LISTED[:2], [*LISTED[:2], {"ID": "44", "peerURLs": ["http://127.0.0.3:2380"]}]]
)
def test_a_try_that_ended_half_way_may_be_repeated(listed: list[Json]):
    """It is off the list already, or on it again without a name, for it was never started."""
    member = leading(*listed)
    with members(member) as cluster:
        cluster.readmit("etcd-3", deadline_s=1)
    assert [what for what, _ in changes_to(member)] == [*["remove"] * (len(listed) - 2), "add"]


def test_members_that_do_not_know_yet_refuse():
    """In their own words; nothing was changed."""
    member = leading(*LISTED)
    member.refusing = {"/v3/cluster/member/remove": True}
    with members(member) as cluster, pytest.raises(DriverError, match="etcd-3: not taken in anew"):
        cluster.readmit("etcd-3", deadline_s=1)
    assert [what for what, _ in changes_to(member)] == ["remove"]
