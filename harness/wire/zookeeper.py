"""ZooKeeper in its own protocol: what the cluster agreed on, and each change to it.

A follower may lag, so every answer here is of a session that was just created, or of one that is
told of changes as they are applied: to create a session is a write, which the member answers once a
quorum has it and it has itself applied all that came before (docs/adr/0020).

Source: zookeeper.jute and ZooDefs.OpCode of ZooKeeper 3.9, the oldest whose notifications carry
the transaction that caused them (ZOOKEEPER-4655).
"""

import json
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.clock import NS, monotonic_ns
from harness.errors import DriverError
from harness.protocols import Change
from harness.wire.http import FAILURES, left_s
from harness.wire.members import LOST_AFTER_S, TERM_EVERY_S, first_answer

# How long a member keeps a session of ours that ended without a word.
SESSION_S = 10.0

_GET_DATA, _PING, _GET_CHILDREN, _ADD_WATCH, _CLOSE = 4, 11, 12, 106, -11
_NOTIFICATION_ID, _PING_ID = -1, -2
_NO_NODE = -101
_RECURSIVE = 1
_DELETED = 2
# czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, data length, children, pzxid
_STAT = ">qqqqiiiqiiq"
_PASSWORD = bytes(16)  # of a new session
_LARGEST = 1 << 24  # a frame; beyond this it is no ZooKeeper that answers


class _AbsentError(ValueError):
    """There is no such znode."""


class _Stat(NamedTuple):
    """What is known of a znode besides its data: transactions, and how many children it had.

    Attributes:
        mzxid: the last one that wrote its data. pzxid: that added or removed a child.
        cversion: how often a child was added or removed.
    """

    mzxid: int
    cversion: int
    children: int
    pzxid: int


class _Event(NamedTuple):
    """A znode was made, written or deleted, by this transaction."""

    path: str
    is_deletion: bool
    zxid: int


class _Memory:
    """What is known of each key, whichever member told it: there is no history to ask for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, Change] = {}

    def keep(self, change: Change) -> bool:
        """Return whether this is newer than what was known; if so, it is known from now on."""
        with self._lock:
            last = self._last.get(change.key)
            newer = last is None or last.revision < change.revision
            if newer:
                self._last[change.key] = change
            return newer

    def all(self) -> list[Change]:
        with self._lock:
            return list(self._last.values())


@dataclass(frozen=True, slots=True)
class ZooKeeper:
    """The DCS of one cluster.

    Attributes:
        members: addresses by the members' names.
        prefix: the path above the cluster's keys, `/service/<scope>/`; stripped from them here.
    """

    members: Mapping[str, str]
    prefix: str
    port: int = 2181
    _memory: _Memory = field(default_factory=_Memory, init=False, repr=False, compare=False)

    def read(self, *, deadline_s: float, member: str | None = None) -> Mapping[str, str]:
        """Return the cluster's keys as a quorum holds them, from the first member that answers.

        With a member, from this one alone. None is older than the call; they are read one after
        the other, not at one instant.

        Raises:
            DriverError: when none answers in time; a member without a quorum does not answer.
        """

        def ask(one: str) -> Mapping[str, str]:
            with self._session(one, deadline_s) as session:
                return {each.key: each.value or "" for each in self._present(session)}

        asked = self.members if member is None else [member]
        return first_answer(asked, ask, deadline_s=deadline_s)

    def leader(self, *, deadline_s: float) -> str:
        """Return the member that says that it leads ZooKeeper.

        Raises:
            DriverError: when none that answers in time says so.
        """

        def ask(member: str) -> str:
            said = self._status(member, deadline_s)
            # A member without a quorum says that it serves nobody.
            if "Mode: leader" not in said:
                raise ValueError("does not lead")
            return member

        return first_answer(self.members, ask, deadline_s=deadline_s)

    def readmit(self, member: str, *, deadline_s: float) -> None:
        """Do nothing: the others know a member by its address, and send a new one all they hold."""

    def changes(self, member: str, since: int | None = None) -> Iterator[Change | None]:
        """Yield what changes, as `Stage.dcs_changes` describes; end when the member is lost."""
        told: dict[str, int] = {}
        try:
            with self._session(member, LOST_AFTER_S) as session:
                # First, so that nothing can happen between the listing and the watch.
                session.watch(self._root)
                for change in self._begin(session, since):
                    told[change.key] = change.revision
                    yield change
                for found in self._follow(session):
                    if found is None or told.get(found.key) != found.revision:
                        yield found
                    if found is not None:
                        told[found.key] = found.revision
        except FAILURES:
            return

    def version(self, *, deadline_s: float) -> str:
        """Return what runs: `zookeeper 3.9.3`.

        Raises:
            DriverError: when no member answers in time.
        """

        def ask(member: str) -> str:
            said = self._status(member, deadline_s)
            if not (found := re.search(r"version: ([\d.]+)", said)):
                raise ValueError(f"srvr: {said[:80]!r}; expected a version")
            return f"zookeeper {found[1]}"

        return first_answer(self.members, ask, deadline_s=deadline_s)

    @property
    def _root(self) -> str:
        return self.prefix.rstrip("/")

    @contextmanager
    def _session(self, member: str, deadline_s: float) -> Iterator["_Session"]:
        session = _Session(self.members[member], self.port, deadline_s)
        try:
            yield session
        finally:
            session.close()

    # --- keys ----------------------------------------------------------------------------------

    def _begin(self, session: "_Session", since: int | None) -> Iterator[Change]:
        """Yield the keys as they are now, or what changed in them after a revision."""
        present = self._present(session)
        for change in present:
            self._memory.keep(change)
            if since is None or change.revision > since:
                yield change
        if since is not None:
            there = {change.key for change in present}
            for last in self._memory.all():
                if last.key not in there:
                    yield from self._missed(session, last, since)

    def _missed(self, session: "_Session", last: Change, since: int) -> Iterator[Change]:
        """Yield the deletion of a key that is not there, if it was after a revision.

        One that nobody watched is dated by the last one among its siblings: not before it, and
        before the key's next creation.
        """
        if last.value is None:
            if last.revision > since:
                yield last
            return
        parent, _, name = f"{self.prefix}{last.key}".rpartition("/")
        try:
            siblings, stat = session.children(parent)
        except _AbsentError:  # with all that was in it; nothing in it can be dated
            return
        gone = Change(last.key, None, stat.pzxid)
        if name not in siblings and self._memory.keep(gone):
            yield gone

    def _present(self, session: "_Session") -> list[Change]:
        found: list[Change] = []
        ahead = deque([self._root])
        while ahead:
            path = ahead.popleft()
            # Gone since its parent was read: as if it had not been there.
            with suppress(_AbsentError):
                data, stat = session.data(path)
                if path != self._root and _is_key(data, stat):
                    found.append(self._change(path, data, stat))
                if stat.children:
                    names, _ = session.children(path)
                    ahead.extend(f"{path}/{name}" for name in sorted(names))
        return found

    def _change(self, path: str, data: bytes, stat: _Stat) -> Change:
        return Change(path.removeprefix(self.prefix), data.decode(errors="replace"), stat.mzxid)

    # --- what becomes of them ------------------------------------------------------------------

    def _follow(self, session: "_Session") -> Iterator[Change | None]:
        """Yield each change and each term, and None each second; a lost member raises.

        A watch is silent while nothing changes, and when its member is gone: a ping shows which.
        """
        term = 0
        while True:
            session.within(LOST_AFTER_S)
            zxid = session.ping()
            if zxid >> 32 != term and (leader := self._leader(zxid >> 32)):
                term = zxid >> 32
                yield Change("term", json.dumps({"term": term, "leader": leader}), term)
            until_ns = monotonic_ns() + int(TERM_EVERY_S * NS)
            while event := session.event(until_ns):
                if change := self._told(session, event):
                    self._memory.keep(change)
                    yield change
            yield None

    def _told(self, session: "_Session", event: _Event) -> Change | None:
        if not event.path.startswith(self.prefix):
            return None  # the cluster's own folder
        if event.is_deletion:
            return Change(event.path.removeprefix(self.prefix), None, event.zxid)
        session.within(LOST_AFTER_S)
        try:
            data, stat = session.data(event.path)
        except _AbsentError:  # its deletion is told next
            return None
        return self._change(event.path, data, stat) if _is_key(data, stat) else None

    def _leader(self, epoch: int) -> str | None:
        """Return who says that it leads in this epoch; None when nobody does yet."""

        def ask(member: str) -> str:
            said = self._status(member, LOST_AFTER_S)
            zxid = re.search(r"^Zxid: 0x([0-9a-f]+)$", said, re.MULTILINE)
            # One that was frozen does not know yet that another leads.
            if "Mode: leader" not in said or zxid is None or int(zxid[1], 16) >> 32 != epoch:
                raise ValueError("does not lead")
            return member

        with suppress(DriverError):
            return first_answer(self.members, ask, deadline_s=LOST_AFTER_S)
        return None

    def _status(self, member: str, deadline_s: float) -> str:
        """Return the answer to the four-letter word `srvr`."""
        until_ns = monotonic_ns() + int(deadline_s * NS)
        with socket.create_connection((self.members[member], self.port), deadline_s) as connection:
            connection.sendall(b"srvr")
            said = b""
            while piece := _received(connection, until_ns):
                said += piece
        return said.decode(errors="replace")


def _is_key(data: bytes, stat: _Stat) -> bool:
    """Return whether this is a key of the cluster, and not a folder of keys."""
    return bool(data) or not stat.cversion


# --- the protocol --------------------------------------------------------------------------------


class _Session:
    """A session with one member. All calls share a deadline; after one that fails it is of no use.

    Raises:
        TimeoutError: when the member does not answer in time.
        OSError: when it hangs up, as one without a quorum does.
        ValueError: when it answers with an error, or something else than ZooKeeper answers.
    """

    def __init__(self, address: str, port: int, deadline_s: float) -> None:
        self._until_ns = 0
        self.within(deadline_s)
        self._received = bytearray()
        self._events: deque[_Event] = deque()
        self._next_id = 1
        self._socket = socket.create_connection((address, port), deadline_s)
        try:
            hello = struct.pack(">iqiq", 0, 0, int(SESSION_S * 1000), 0) + _buffer(_PASSWORD)
            self._send(hello + b"\0")  # not to be served by a member without a quorum
            self._frame(self._until_ns)  # what was granted: nothing of it is of interest
        except BaseException:
            self._socket.close()
            raise

    def within(self, deadline_s: float) -> None:
        """Let the calls to come, all of them together, take this long from now on."""
        self._until_ns = monotonic_ns() + int(deadline_s * NS)

    def data(self, path: str) -> tuple[bytes, _Stat]:
        answer = self._ask(_GET_DATA, _buffer(path.encode()) + b"\0")
        return answer.buffer(), answer.stat()

    def children(self, path: str) -> tuple[list[str], _Stat]:
        answer = self._ask(_GET_CHILDREN, _buffer(path.encode()) + b"\0")
        (count,) = answer.numbers(">i")
        return [answer.buffer().decode() for _ in range(count)], answer.stat()

    def watch(self, path: str) -> None:
        """Have all changes at and below a path told from now on; it need not exist."""
        self._ask(_ADD_WATCH, _buffer(path.encode()) + struct.pack(">i", _RECURSIVE))

    def ping(self) -> int:
        """Return the last transaction that the member has applied."""
        self._send(struct.pack(">ii", _PING_ID, _PING))
        return self._reply(_PING_ID)[0]

    def event(self, until_ns: int) -> _Event | None:
        """Return the next event, or None when none comes until then."""
        while not self._events:
            try:
                frame = self._frame(until_ns)
            except TimeoutError:
                return None
            self._hear(frame)
        return self._events.popleft()

    def close(self) -> None:
        """End the session, if the member can be told; by itself it ends after `SESSION_S`."""
        with suppress(OSError):
            self._send(struct.pack(">ii", self._next_id, _CLOSE))
        self._socket.close()

    def _ask(self, operation: int, body: bytes) -> "_Answer":
        number, self._next_id = self._next_id, self._next_id + 1
        self._send(struct.pack(">ii", number, operation) + body)
        return self._reply(number)[1]

    def _reply(self, number: int) -> tuple[int, "_Answer"]:
        """Return the transaction and the body of the reply to a request."""
        while (found := self._hear(self._frame(self._until_ns))) is None or found[0] != number:
            pass
        return found[1:]

    def _hear(self, frame: bytes) -> tuple[int, int, "_Answer"] | None:
        """Return (request, transaction, body) of a reply; an event is kept for `event`."""
        answer = _Answer(frame)
        number, zxid, error = answer.numbers(">iqi")
        if number == _NOTIFICATION_ID:
            kind, _ = answer.numbers(">ii")
            path = answer.buffer().decode(errors="replace")
            self._events.append(_Event(path, kind == _DELETED, zxid))
            return None
        if error:
            raise (_AbsentError if error == _NO_NODE else ValueError)(f"error {error}; expected 0")
        return number, zxid, answer

    def _send(self, body: bytes) -> None:
        self._socket.settimeout(left_s(self._until_ns))
        self._socket.sendall(_buffer(body))

    def _frame(self, until_ns: int) -> bytes:
        """Return the next message; one that has come in part is kept when the time is over."""
        while True:
            if len(self._received) >= 4:
                (size,) = struct.unpack_from(">i", self._received)
                if not 0 <= size <= _LARGEST:
                    raise ValueError(f"a message of {size} bytes; expected at most {_LARGEST}")
                if len(self._received) >= 4 + size:
                    frame = bytes(self._received[4 : 4 + size])
                    del self._received[: 4 + size]
                    return frame
            piece = _received(self._socket, until_ns)
            if not piece:
                raise ConnectionError("hung up")
            self._received += piece


def _received(connection: socket.socket, until_ns: int) -> bytes:
    connection.settimeout(left_s(until_ns))
    return connection.recv(1 << 16)


def _buffer(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


class _Answer:
    """What came, read from its beginning to its end."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def numbers(self, layout: str) -> tuple[int, ...]:
        try:
            found = struct.unpack_from(layout, self._content, self._at)
        except struct.error as error:
            raise ValueError(f"a message that ends early: {error}") from None
        self._at += struct.calcsize(layout)
        return tuple(map(int, found))

    def buffer(self) -> bytes:
        """Return bytes or a text; ZooKeeper has a size of -1 for none, which is empty here."""
        (size,) = self.numbers(">i")
        begin, self._at = self._at, self._at + max(0, size)
        if self._at > len(self._content):
            raise ValueError(f"a message that ends early: {size} bytes are to come")
        return self._content[begin : self._at]

    def stat(self) -> _Stat:
        _, mzxid, _, _, _, cversion, _, _, _, children, pzxid = self.numbers(_STAT)
        return _Stat(mzxid, cversion, children, pzxid)
