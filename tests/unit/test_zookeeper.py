"""ZooKeeper's protocol: reads, watches and terms, from members that may be gone."""

import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import NamedTuple

import pytest

from harness.clock import NS, WallClock, monotonic_ns
from harness.errors import DriverError
from harness.protocols import Change
from harness.wire import zookeeper
from harness.wire.zookeeper import ZooKeeper

PREFIX = "/service/demo/"
# All of 127/8 is this machine, so the members can share one port as the real ones do.
MEMBERS = {"zookeeper-1": "127.0.0.1", "zookeeper-2": "127.0.0.2", "zookeeper-3": "127.0.0.3"}
FIRST = 1 << 32  # the first epoch's transactions begin here
CREATED, DELETED, CHANGED = 1, 2, 3


class Znode(NamedTuple):
    """A znode of a member: its data, and the transactions that its Stat tells."""

    data: str
    mzxid: int
    cversion: int = 0
    pzxid: int = 0


def keys(**found: tuple[str, int]) -> dict[str, Znode]:
    """Return a cluster's znodes, and the folder that they are in."""
    newest = max((zxid for _, zxid in found.values()), default=0)
    below = {f"/service/demo/{name}": Znode(*each) for name, each in found.items()}
    return {"/service/demo": Znode("", 1, len(found), newest), **below}


def packed(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


class Member:
    """One member: the znodes it holds, what it says of itself, and what it tells a watcher."""

    def __init__(
        self, znodes: Mapping[str, Znode], mode: str = "leader", zxid: int = FIRST
    ) -> None:
        self.znodes = dict(znodes)
        self.mode, self.zxid = mode, zxid
        self.asked: list[int] = []
        self.answers_pings = self.serves = True
        self.oddity: bytes | None = None  # instead of the reply to the first request
        self.watched = threading.Event()
        self._watchers: list[socket.socket] = []

    def tell(self, kind: int, path: str, zxid: int) -> None:
        """Send what a persistent watch sends: an event, and the transaction that caused it."""
        assert self.watched.wait(2)
        body = struct.pack(">iqi", -1, zxid, 0) + struct.pack(">ii", kind, 3)
        for watcher in self._watchers:
            watcher.sendall(packed(body + packed(f"/service/demo/{path}".encode())))

    def hang_up(self) -> None:
        for watcher in self._watchers:
            with suppress(OSError):
                watcher.shutdown(socket.SHUT_RDWR)

    def serve(self, connection: socket.socket) -> None:
        beginning = connection.recv(4)
        if beginning == b"srvr":
            self.asked.append(0)
            version = "Zookeeper version: 3.9.3-abc, built on 2024-10-17"
            connection.sendall(f"{version}\nZxid: {self.zxid:#x}\nMode: {self.mode}\n".encode())
            return
        _exactly(connection, struct.unpack(">i", beginning)[0])
        if not self.serves:
            return
        connection.sendall(packed(struct.pack(">iiq", 0, 10000, 7) + packed(bytes(16)) + b"\0"))
        while True:
            (size,) = struct.unpack(">i", _exactly(connection, 4))
            request = _exactly(connection, size)
            number, operation = struct.unpack_from(">ii", request)
            self.asked.append(operation)
            if operation == -11:
                return
            if operation == 11 and not self.answers_pings:
                continue
            if self.oddity is not None and operation != 106:
                connection.sendall(self.oddity)
                continue
            error, body = self._reply(operation, request[8:], connection)
            connection.sendall(packed(struct.pack(">iqi", number, self.zxid, error) + body))

    def _reply(self, operation: int, body: bytes, connection: socket.socket) -> tuple[int, bytes]:
        if operation == 11:
            return 0, b""
        (size,) = struct.unpack_from(">i", body)
        path = body[4 : 4 + size].decode()
        if operation == 106:
            self._watchers.append(connection)
            self.watched.set()
            return 0, struct.pack(">i", 0)
        if path not in self.znodes:
            return -101, b""
        znode = self.znodes[path]
        names = [p.rpartition("/")[2] for p in self.znodes if p.rpartition("/")[0] == path]
        stat = struct.pack(
            ">qqqqiiiqiiq",
            *(1, znode.mzxid, 0, 0, 0, znode.cversion, 0, 0, len(znode.data), len(names)),
            znode.pzxid,
        )
        if operation == 4:
            return 0, packed(znode.data.encode()) + stat
        listed = b"".join(packed(name.encode()) for name in names)
        return 0, struct.pack(">i", len(names)) + listed + stat


def _exactly(connection: socket.socket, size: int) -> bytes:
    content = connection.recv(size, socket.MSG_WAITALL)
    if len(content) < size:
        raise ConnectionError
    return content


@contextmanager
def members(*found: Member) -> Iterator[ZooKeeper]:
    """Run the members, the first as zookeeper-1; the others' addresses refuse."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    servers = []
    for member, address in zip(found, MEMBERS.values(), strict=False):

        class Handler(BaseRequestHandler):
            of = member

            def handle(self) -> None:
                with suppress(OSError):  # who asked may have given up
                    self.of.serve(self.request)

        server = ThreadingTCPServer((address, port), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
    yield ZooKeeper(MEMBERS, PREFIX, port)
    for member, server in zip(found, servers, strict=True):
        member.hang_up()
        server.shutdown()
        server.server_close()


def take(store: ZooKeeper, n: int, since: int | None = None) -> list[Change]:
    """Return the first changes that zookeeper-1 tells, without terms."""
    found: list[Change] = []
    for change in store.changes("zookeeper-1", since):
        if change is not None and change.key != "term":
            found.append(change)
        if len(found) == n:
            break
    return found


def test_read_strips_the_prefix_and_leaves_folders_out():
    """Keys are named as etcd names them, where there are no folders; an empty key is one."""
    znodes = keys(leader=("pg-1", 5), failover=("", 6))
    znodes["/service/demo/members"] = Znode("", 3, cversion=1)
    znodes["/service/demo/members/pg-1"] = Znode("{}", 4)
    with members(Member(znodes)) as store:
        assert store.read(deadline_s=30) == {"leader": "pg-1", "failover": "", "members/pg-1": "{}"}


def test_read_before_there_is_a_cluster():
    """Patroni makes the folder; until then there are no keys, and that is no error."""
    with members(Member({})) as store:
        assert store.read(deadline_s=30) == {}


def test_read_takes_the_first_member_that_answers():
    """One that is frozen, and one that refuses, cost nothing."""
    frozen = socket.create_server(("127.0.0.3", 0))
    try:
        with members(Member(keys(leader=("pg-1", 5)))) as store:
            places = {**MEMBERS, "zookeeper-3": "127.0.0.3"}
            begin_ns = monotonic_ns()
            found = ZooKeeper(places, PREFIX, store.port).read(deadline_s=60)
            assert found == {"leader": "pg-1"}
            assert (monotonic_ns() - begin_ns) / NS < 10
    finally:
        frozen.close()


def test_read_of_a_frozen_member_ends_in_time():
    """It accepts the connection, and no more."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        store = ZooKeeper({"zookeeper-1": "127.0.0.1"}, PREFIX, frozen.getsockname()[1])
        with pytest.raises(DriverError, match=r"no answer from a quorum: (silence|zookeeper-1: T)"):
            store.read(deadline_s=0.05)


def test_a_member_without_a_quorum_is_no_answer():
    """It hangs up on whoever wants a session."""
    member = Member(keys(leader=("pg-1", 5)))
    member.serves = False
    with members(member) as store, pytest.raises(DriverError, match="zookeeper-1: Connection"):
        store.read(deadline_s=1)


@pytest.mark.parametrize(
    ("oddity", "said"),
    [
        (b"HTTP/1.1 400", "bytes; expected at most"),
        (packed(b"\0\0"), "ends early"),
        (packed(struct.pack(">iqi", 1, 1, 0) + struct.pack(">i", 99)), "99 bytes are to come"),
        (packed(struct.pack(">iqi", 1, 1, -4)), "error -4; expected 0"),
    ],
)
def test_what_is_no_answer_is_refused(oddity, said):
    """Whatever is sent, nothing but an answer is taken for one."""
    member = Member(keys(leader=("pg-1", 5)))
    member.oddity = oddity
    with members(member) as store, pytest.raises(DriverError, match=said):
        store.read(deadline_s=1)


def test_version():
    """As the member says it."""
    with members(Member({})) as store:
        assert store.version(deadline_s=30) == "zookeeper 3.9.3"


def test_changes_begin_with_what_is_there_and_go_on():
    """The watch is set before the listing; a change carries its own transaction."""
    member = Member(keys(leader=("pg-1", FIRST + 5)))
    with members(member) as store:
        changes = store.changes("zookeeper-1")
        assert next(changes) == Change("leader", "pg-1", FIRST + 5)
        assert member.asked.index(106) < member.asked.index(4)
        assert next(changes).key == "term"  # type: ignore[union-attr]
        member.tell(DELETED, "leader", FIRST + 7)
        member.znodes["/service/demo/leader"] = Znode("pg-2", FIRST + 9)
        member.tell(CREATED, "leader", FIRST + 9)
        assert [next(changes), next(changes)] == [
            Change("leader", None, FIRST + 7),
            Change("leader", "pg-2", FIRST + 9),
        ]


def test_a_change_is_told_once():
    """Written twice before it was read, or listed and told: the revision is the same."""
    member = Member(keys(leader=("pg-1", FIRST + 5)))
    with members(member) as store:
        changes = (change for change in store.changes("zookeeper-1") if change)
        assert [next(changes).key, next(changes).key] == ["leader", "term"]
        member.tell(CHANGED, "leader", FIRST + 5)
        member.tell(CREATED, "sync", FIRST + 6)  # gone again: its deletion will follow
        member.tell(DELETED, "sync", FIRST + 7)
        assert next(changes) == Change("sync", None, FIRST + 7)


def test_changes_after_a_revision():
    """Who was there before is told what is newer, and what is gone."""
    znodes = keys(leader=("pg-1", FIRST + 5), sync=("{}", FIRST + 6), history=("[]", FIRST + 2))
    member = Member(znodes)
    with members(member) as store:
        assert len(take(store, 3)) == 3
        del member.znodes["/service/demo/leader"]
        member.znodes["/service/demo/sync"] = Znode("{1}", FIRST + 8)
        member.znodes["/service/demo"] = Znode("", 1, 4, FIRST + 9)
        assert take(store, 2, since=FIRST + 6) == [
            Change("sync", "{1}", FIRST + 8),
            Change("leader", None, FIRST + 9),
        ]
        # Once dated, a deletion has that date for everybody, whatever happens beside it.
        member.znodes["/service/demo"] = Znode("", 1, 5, FIRST + 11)
        assert take(store, 1, since=FIRST + 8) == [Change("leader", None, FIRST + 9)]


def test_a_deletion_that_somebody_saw_keeps_its_date():
    """Another member's watcher told it exactly."""
    one, two = Member(keys(leader=("pg-1", FIRST + 5))), Member(keys(leader=("pg-1", FIRST + 5)))
    with members(one, two) as store:
        assert take(store, 1) == [Change("leader", "pg-1", FIRST + 5)]
        others = (change for change in store.changes("zookeeper-2") if change)
        assert [next(others).key, next(others).key] == ["leader", "term"]
        two.tell(DELETED, "leader", FIRST + 7)
        assert next(others) == Change("leader", None, FIRST + 7)
        one.znodes = keys(sync=("{}", FIRST + 8))
        assert take(store, 2, since=FIRST + 5) == [
            Change("sync", "{}", FIRST + 8),
            Change("leader", None, FIRST + 7),
        ]


def test_changes_end_when_the_member_hangs_up():
    """The caller is told by the end, and may ask again."""
    member = Member(keys(leader=("pg-1", FIRST + 5)))
    with members(member) as store:
        changes = store.changes("zookeeper-1")
        next(changes)
        member.hang_up()
        assert all(change is None or change.key == "term" for change in changes)


def test_changes_of_a_member_that_is_away_are_none():
    """It ends at once."""
    with members() as store:
        assert list(store.changes("zookeeper-1")) == []


def test_changes_end_when_the_member_falls_silent(monkeypatch):
    """A frozen member's watch stays open and silent: only a ping shows that."""
    monkeypatch.setattr(zookeeper, "LOST_AFTER_S", 0.05)
    monkeypatch.setattr(zookeeper, "TERM_EVERY_S", 0.02)
    member = Member(keys(leader=("pg-1", FIRST + 5)))
    member.answers_pings = False
    with members(member) as store:
        begin_ns = monotonic_ns()
        assert take(store, 99) == [Change("leader", "pg-1", FIRST + 5)]
        assert (monotonic_ns() - begin_ns) / NS < 10


def test_terms_name_the_leader_and_come_once(monkeypatch):
    """An epoch is told when its own leader says so; one that was frozen still claims an old one."""
    monkeypatch.setattr(zookeeper, "TERM_EVERY_S", 0.01)
    one, two = Member({}, mode="follower"), Member({}, mode="leader")
    with members(one, two) as store:
        changes = store.changes("zookeeper-1")
        term = json.dumps({"term": 1, "leader": "zookeeper-2"})
        assert [next(changes), next(changes)] == [Change("term", term, 1), None]
        one.zxid = FIRST * 2
        assert [next(changes) for _ in range(3)] == [None] * 3
        two.zxid = FIRST * 2
        told = next(change for change in changes if change is not None)
    assert json.loads(told.value or "") == {"term": 2, "leader": "zookeeper-2"}
    assert told.revision == 2


def test_the_session_is_closed():
    """None is left for the member to time out."""
    member = Member(keys(leader=("pg-1", 5)))
    with members(member) as store:
        store.read(deadline_s=1)
        WallClock().wait_for(lambda: -11 in member.asked, timeout_s=2, what="the close")


def test_one_member_alone_is_asked():
    """The others would answer, too."""
    with members(Member({}), Member(keys(leader=("pg-1", 5)))) as store:
        assert store.read(deadline_s=30, member="zookeeper-2") == {"leader": "pg-1"}
        assert store.read(deadline_s=30, member="zookeeper-1") == {}
        with pytest.raises(DriverError, match="zookeeper-3: Conn"):
            store.read(deadline_s=1, member="zookeeper-3")


def test_the_leader_says_so():
    """Followers do not."""
    with members(Member({}, "follower"), Member({})) as store:
        assert store.leader(deadline_s=30) == "zookeeper-2"
    with (
        members(Member({}, "follower")) as store,
        pytest.raises(DriverError, match="does not lead"),
    ):
        store.leader(deadline_s=1)


def test_nothing_need_be_done_for_a_member_that_lost_its_disk():
    """Nobody is asked: none of them runs."""
    ZooKeeper(MEMBERS, PREFIX).readmit("zookeeper-1", deadline_s=1)
