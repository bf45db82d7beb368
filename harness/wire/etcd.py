"""etcd through its JSON gateway: what the cluster agreed on, and each change to it.

Source: etcd documentation, "gRPC gateway"; keys and values are base64, 64-bit integers are text.
"""

import base64
import json
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TypeAlias

from harness.errors import DriverError
from harness.history import Json
from harness.protocols import Change
from harness.wire.http import FAILURES, exchange
from harness.wire.members import LOST_AFTER_S, TERM_EVERY_S, first_answer

PEER_PORT = 2380

_Lines: TypeAlias = "queue.SimpleQueue[Mapping[str, Json] | Change | None]"


class _CompactedError(Exception):
    """The changes asked for are no longer kept."""


@dataclass(frozen=True, slots=True)
class Etcd:
    """The DCS of one cluster.

    Attributes:
        members: addresses by the members' names.
        prefix: what the cluster's keys begin with, `/service/<scope>/`; stripped from them here.
    """

    members: Mapping[str, str]
    prefix: str
    port: int = 2379

    def read(self, *, deadline_s: float, member: str | None = None) -> Mapping[str, str]:
        """Return the cluster's keys as a quorum holds them, from the first member that answers.

        With a member, from this one alone.

        Raises:
            DriverError: when none answers in time; a member without a quorum does not answer.
        """

        def ask(one: str) -> Mapping[str, str]:
            _, present = self._range(one, deadline_s)
            return {change.key: change.value or "" for change in present}

        asked = self.members if member is None else [member]
        return first_answer(asked, ask, deadline_s=deadline_s)

    def leader(self, *, deadline_s: float) -> str:
        """Return the member that leads etcd.

        Raises:
            DriverError: when none that answers in time knows one.
        """

        def ask(one: str) -> str:
            found = str(self._call(one, "/v3/maintenance/status", {}, deadline_s).get("leader"))
            names = self._member_names(one)
            if found not in names:
                raise ValueError(f"leader {found}; expected one of {', '.join(names)}")
            return names[found]

        return first_answer(self.members, ask, deadline_s=deadline_s)

    def readmit(self, member: str, *, deadline_s: float) -> None:
        """Take a member that lost its disk off the list and put it there anew; one try.

        With its old identity it could vote twice in one term, for it forgot its votes. Whoever
        starts it must say that the cluster exists already.

        Raises:
            DriverError: when the others refuse, as until they have noticed that it is gone.

        Source: etcd documentation, "Runtime reconfiguration".
        """
        via = self.leader(deadline_s=deadline_s)
        peer = f"http://{self.members[member]}:{PEER_PORT}"
        try:
            listed = self._call(via, "/v3/cluster/member/list", {}, deadline_s)
            for its in _objects(listed.get("members")):
                urls = its.get("peerURLs")
                if its.get("name") == member or (isinstance(urls, list) and peer in urls):
                    old: Json = {"ID": its.get("ID")}
                    self._call(via, "/v3/cluster/member/remove", old, deadline_s)
            self._call(via, "/v3/cluster/member/add", {"peerURLs": [peer]}, deadline_s)
        except FAILURES as error:
            raise DriverError(f"{member}: not taken in anew: {via}: {error}") from None

    def changes(self, member: str, since: int | None = None) -> Iterator[Change | None]:
        """Yield what changes, as `Stage.dcs_changes` describes; end when the member is lost."""
        try:
            if since is not None:
                try:
                    yield from self._watch(member, since)
                except _CompactedError:
                    pass  # so begin anew, with what is there
                else:
                    return
            revision, present = self._range(member, LOST_AFTER_S)
            yield from present
            yield from self._watch(member, revision)
        except (*FAILURES, _CompactedError):
            return

    def version(self, *, deadline_s: float) -> str:
        """Return what runs: `etcd 3.5.16`.

        Raises:
            DriverError: when no member answers in time.
        """

        def ask(member: str) -> str:
            return f"etcd {self._call(member, '/version', None, deadline_s).get('etcdserver')}"

        return first_answer(self.members, ask, deadline_s=deadline_s)

    def _call(self, member: str, path: str, body: Json, deadline_s: float) -> Mapping[str, Json]:
        """Return its answer to a question, or without a body to a plain GET."""
        address = self.members[member]
        method = "GET" if body is None else "POST"
        status, content = exchange(
            address, self.port, path, deadline_s=deadline_s, method=method, body=body
        )
        decoded: Json = json.loads(content)
        if status != 200 or not isinstance(decoded, Mapping):
            raise ValueError(f"{path}: {status} {content[:80]!r}; expected 200 and an object")
        return decoded

    def _keys(self) -> dict[str, Json]:
        """Return the range of all keys below the prefix, as etcd wants it said."""
        begin = self.prefix.encode()
        end = begin[:-1] + bytes([begin[-1] + 1])
        return {
            "key": base64.b64encode(begin).decode(),
            "range_end": base64.b64encode(end).decode(),
        }

    def _range(self, member: str, deadline_s: float) -> tuple[int, list[Change]]:
        """Return the present revision and keys. Linearizable: that is etcd's default."""
        answer = self._call(member, "/v3/kv/range", self._keys(), deadline_s)
        pairs = _objects(answer.get("kvs"))
        return _number(_object(answer.get("header")), "revision"), [self._put(p) for p in pairs]

    def _put(self, pair: Mapping[str, Json]) -> Change:
        return Change(self._name(pair), _text(pair, "value"), _number(pair, "mod_revision"))

    def _name(self, pair: Mapping[str, Json]) -> str:
        return _text(pair, "key").removeprefix(self.prefix)

    def _watch(self, member: str, since: int) -> Iterator[Change | None]:
        """Yield the changes after a revision, until the member is lost.

        Two threads fill one queue: the stream may be silent for ever, from a lost member too,
        so that only asking the member something shows that it is still there.
        """
        lines: _Lines = queue.SimpleQueue()
        ended = threading.Event()
        connection = HTTPConnection(self.members[member], self.port, timeout=LOST_AFTER_S)
        stream: socket.socket | None = None
        try:
            connection.connect()
            stream = connection.sock
            for work in (
                lambda: self._read_stream(connection, since, lines),
                lambda: self._read_terms(member, lines, ended),
            ):
                threading.Thread(target=_until_lost, args=(work, lines), daemon=True).start()
            while True:
                try:
                    found = lines.get(timeout=TERM_EVERY_S)
                except queue.Empty:
                    yield None
                    continue
                if found is None:
                    return
                yield from [found] if isinstance(found, Change) else self._events(found)
        finally:
            ended.set()
            if stream:
                _hang_up(stream)

    def _read_stream(self, connection: HTTPConnection, since: int, lines: _Lines) -> None:
        create: Json = {"create_request": {**self._keys(), "start_revision": since + 1}}
        with closing(connection):
            connection.request("POST", "/v3/watch", body=json.dumps(create))
            response = connection.getresponse()
            if connection.sock:
                connection.sock.settimeout(None)  # from here on, silence is no sign of a loss
            while line := response.readline():
                decoded: Json = json.loads(line)
                lines.put(_object(_object(decoded).get("result")))

    def _events(self, result: Mapping[str, Json]) -> Iterator[Change]:
        if result.get("canceled"):
            raise _CompactedError(str(result.get("compact_revision")))
        for event in _objects(result.get("events")):
            pair = _object(event.get("kv"))
            if event.get("type") == "DELETE":
                yield Change(self._name(pair), None, _number(pair, "mod_revision"))
            else:
                yield self._put(pair)

    def _read_terms(self, member: str, lines: _Lines, ended: threading.Event) -> None:
        """Ask again and again who leads etcd, in which term; tell it when that is another one."""
        last: tuple[int, str] | None = None
        names: Mapping[str, str] = {}
        while True:
            status = self._call(member, "/v3/maintenance/status", {}, LOST_AFTER_S)
            leader = str(status.get("leader", "0"))
            now = (_number(status, "raftTerm"), leader)
            # Without a quorum the terms climb and nobody leads: that is told when it is over.
            if leader != "0" and now != last:
                if leader not in names:
                    names = self._member_names(member)
                value = json.dumps({"term": now[0], "leader": names.get(leader, leader)})
                lines.put(Change("term", value, now[0]))
                last = now
            if ended.wait(TERM_EVERY_S):
                return

    def _member_names(self, member: str) -> Mapping[str, str]:
        listed = self._call(member, "/v3/cluster/member/list", {}, LOST_AFTER_S)
        return {str(its.get("ID")): str(its.get("name")) for its in _objects(listed.get("members"))}


def _until_lost(work: Callable[[], None], lines: _Lines) -> None:
    """Work, and tell the reader of the lines when the member is lost."""
    try:
        work()
    except FAILURES:
        pass
    finally:
        lines.put(None)


def _hang_up(stream: socket.socket) -> None:
    """End a connection under the thread that reads from it, and so that thread."""
    with suppress(OSError):  # it may have ended by itself
        stream.shutdown(socket.SHUT_RDWR)


# --- the shape of its answers ------------------------------------------------------------------


def _object(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r}; expected a JSON object")  # noqa: TRY004 - a broken answer
    return value


def _objects(value: Json) -> list[Mapping[str, Json]]:
    """Return the members of a list; the gateway leaves empty ones out."""
    return [_object(member) for member in value] if isinstance(value, list) else []


def _number(holder: Mapping[str, Json], name: str) -> int:
    return int(str(holder.get(name, 0)))


def _text(holder: Mapping[str, Json], name: str) -> str:
    return base64.b64decode(str(holder.get(name, ""))).decode(errors="replace")
