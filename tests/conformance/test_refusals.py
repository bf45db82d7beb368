"""What cannot be restored is refused: in clear words, nothing is made, and nothing is lost.

One cluster is the source of all. A clone of it without a defect comes first: where none would
live, a refusal shows nothing. Then the clone's only node is made anew for each case, with an empty
disk, a scope of its own, and what is wrong.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from random import Random

import pytest

from harness import drivers, storage
from harness.clock import WallClock
from harness.drivers.docker.driver import DockerDriver
from harness.drivers.docker.machines import (
    AWS_REGION,
    BUCKET,
    CA,
    KMS_KEY,
    REGION,
    S3,
    S3_PORT,
    SCOPE,
    SECRETS,
)
from harness.drivers.docker.stack import Stack
from harness.drivers.docker.vault import NODES, UIDS, Share
from harness.protocols import RecoveryTarget
from harness.scenario import Backups, Cluster
from tests.conformance.conftest import leader, wait_steady

pytestmark = pytest.mark.docker

CLOCK = WallClock()
# Nothing comes by itself while a listing is compared with another.
CLUSTER = Cluster(
    nodes=1, azs=("a",), backups=Backups(schedule="0 0 29 2 *", archive_timeout="24h")
)
ROWS = "SELECT count(*), sum(i) FROM kept"
POINTS = ("first", "middle", "last")
REFUSAL = re.compile(r"(found: refused|post_init: refused|configure): .+")
REFUSED_S = 150
# Where the source is, as a message names it.
PLACE = f"'{SCOPE}' in s3://{BUCKET}/spilo/{SCOPE}"


@dataclass
class Bench:
    """A source, and a clone of it whose only node is to be refused again and again.

    Attributes:
        source: a cluster that nothing may happen to.
        clone: what is made from it.
        segments: the names of those that end with each of `POINTS`, in its archive.
        bare: the variables of the clone's node when nothing was wrong.
    """

    source: DockerDriver
    clone: DockerDriver
    segments: Sequence[str]
    bare: Mapping[str, str]
    numbers: Iterator[int] = field(default_factory=partial(count, 1))

    @property
    def node(self) -> str:
        return self.clone.nodes[0].name

    @property
    def needed(self) -> str:
        """Return the key of a segment that every target but the first needs."""
        return key_of(self.source, self.source.prefix, self.segments[1])

    def make_node(self, environment: Mapping[str, str]) -> None:
        """Make the clone's node anew, its disk empty, with these variables."""
        spec = self.clone._machines[self.node]
        self.clone._machines[self.node] = replace(spec, environment=environment)
        self.clone.renew(self.node)

    def refusal(self, *without: str, **with_: str) -> str:
        """Return what the clone's node says when it is made with, and without, these variables.

        Fails unless it gives up, nobody ever leads, and the source is as it was: its listing in S3
        and its rows.
        """
        kept = {k: v for k, v in self.bare.items() if not k.startswith(without)}
        environment = {**kept, "SCOPE": f"case-{next(self.numbers)}", **with_}
        before = listing(self.source, self.source.prefix)
        rows = self.source.query(leader(self.source), ROWS, deadline_s=5)
        self.make_node(environment)
        CLOCK.wait_for(self.gave_up, timeout_s=REFUSED_S, what="a refusal", every_s=0.1)
        said = self.refusals()
        print(*said, sep="\n")  # noqa: T201 - for whoever runs this with -s, or sees it fail
        assert said, self.log()[-20:]
        assert leaders(self.clone, environment["SCOPE"]) == [], "the clone had a leader"
        assert listing(self.source, self.source.prefix) == before
        assert self.source.query(leader(self.source), ROWS, deadline_s=5) == rows
        return "\n".join(dict.fromkeys(said))

    def refusals(self) -> list[str]:
        """Return the lines by which the node has refused so far; it tries again for ever."""
        return [match[0] for match in map(REFUSAL.match, self.log()) if match]

    def gave_up(self) -> bool:
        """Return whether the node's Patroni has ended, or the node itself."""
        return self.exit_code is not None or any(
            re.match(r"supervisor: patroni .* ended with 1", line) for line in self.log()
        )

    def log(self) -> list[str]:
        return self.clone._containers[self.node].logs().decode().splitlines()

    @property
    def exit_code(self) -> int | None:
        """Return what the node ended with; None while it runs."""
        container = self.clone._containers[self.node]
        container.reload()
        state = container.attrs["State"]
        return int(state["ExitCode"]) if state["Status"] == "exited" else None


def listing(driver: DockerDriver, prefix: str) -> set[tuple[str, str]]:
    """Return the keys and tags of all that S3 holds of a cluster."""
    return {(one.key, one.etag) for one in driver.objects(prefix)}


def key_of(driver: DockerDriver, prefix: str, segment: str) -> str:
    """Return where the archive has this segment; its name goes on with a checksum."""
    keys = [one.key for one in driver.objects(f"{prefix}archive/")]
    return next(key for key in keys if f"/{segment}-" in key)


# Prints all changes of the keys that begin with a name, up to one that is made now: where that is
# missing, the list is not whole, however slow the machine.
CHANGES = """
told=$(mktemp)
asked=$0-asked-${told##*/}
etcdctl put "$asked" "" >/dev/null || exit 1
etcdctl watch --prefix --rev=1 "$0" >"$told" & watch=$!
until grep -qx "$asked" "$told"; do kill -0 $watch || exit 1; sleep 0.05; done
kill $watch
cat "$told"
rm "$told"
"""


def leaders(driver: DockerDriver, scope: str) -> list[str]:
    """Return who ever held the leader key of a scope: etcd remembers each change."""
    key = f"/service/{scope}/leader"
    command = ["sh", "-c", CHANGES, key]
    told = driver._containers.exec(driver.dcs_members[0].name, command).splitlines()
    changes = zip(*[iter(told)] * 3, strict=False)
    return [value for event, name, value in changes if (event, name) == ("PUT", key)]


def stored(driver: DockerDriver, key: str) -> bytes:
    return base64.b64decode(str(driver._console(REGION).call("s3_get", key=key)))


def store(driver: DockerDriver, key: str, content: bytes) -> None:
    packed = base64.b64encode(content).decode()
    driver._console(REGION).call("s3_put", key=key, content=packed, kms_key=KMS_KEY)


@contextmanager
def changed(driver: DockerDriver, contents: Mapping[str, bytes | None]) -> Iterator[None]:
    """Let objects in S3 be others inside the block, or away where that is None."""
    kept = {key: stored(driver, key) for key in contents}
    try:
        for key, content in contents.items():
            if content is None:
                driver._console(REGION).call("s3_remove", key=key)
            else:
                store(driver, key, content)
        yield
    finally:
        for key, whole in kept.items():
            store(driver, key, whole)


def half_of(driver: DockerDriver, key: str) -> bytes:
    whole = stored(driver, key)
    return whole[: len(whole) // 2]


def fill(driver: DockerDriver, prefix: str) -> Sequence[str]:
    """Write rows, each third of them up to a restore point; return the segments that these end.

    Returns when the first backup and all of the WAL are below this prefix.
    """
    node = driver.nodes[0].name

    def is_backed_up() -> bool:
        return bool(storage.finished_backups(prefix, driver.objects(prefix)))

    CLOCK.wait_for(is_backed_up, timeout_s=60, what="a backup", every_s=0.2)
    driver.query(node, "CREATE TABLE IF NOT EXISTS kept (i int)", deadline_s=5)
    segments: list[str] = []
    for point in POINTS:
        driver.query(node, "INSERT INTO kept SELECT generate_series(1, 1000)", deadline_s=5)
        driver.query(node, f"SELECT pg_create_restore_point('{point}')", deadline_s=5)
        named = "SELECT pg_walfile_name(pg_switch_wal())"
        segments.append(str(driver.query(node, named, deadline_s=5)[0][0]))

    def is_archived() -> bool:
        keys = " ".join(one.key for one in driver.objects(prefix))
        return all(f"/{segment}-" in keys for segment in segments)

    CLOCK.wait_for(is_archived, timeout_s=60, what="the archive of all of it", every_s=0.2)
    return segments


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Yield a source, and a clone of it that lives."""
    if "docker" not in drivers.available():
        pytest.skip("no Docker engine answers")
    driver = DockerDriver(
        f"{Random().getrandbits(32):08x}",
        tmp_path_factory.mktemp("refusals"),
        CLOCK,
        stack=Stack(dcs_members=1),
    )
    try:
        driver.up(CLUSTER)
        wait_steady(driver, CLUSTER)
        segments = fill(driver, driver.prefix)
        clone = driver.clone("sound", CLUSTER, RecoveryTarget("name", "last"))
        wait_steady(clone, CLUSTER)
        bare = clone._machines[clone.nodes[0].name].environment
        yield Bench(driver, clone, segments, bare)
    finally:
        driver.down()


def test_the_clone_lives_where_nothing_is_wrong(bench: Bench) -> None:
    """All that is refused below is refused for its defect; and who leads would be seen."""
    node = bench.source.nodes[0].name
    assert leaders(bench.clone, "sound") == [bench.node]
    assert bench.clone.query(bench.node, ROWS, deadline_s=5) == bench.source.query(
        node, ROWS, deadline_s=5
    )
    bench.make_node({**bench.bare, "SCOPE": "sound-again"})

    def leads() -> bool:
        return leaders(bench.clone, "sound-again") == [bench.node]

    CLOCK.wait_for(leads, timeout_s=REFUSED_S, what="a leader after the node was made anew")


# --- targets -----------------------------------------------------------------------------------

NEVER = f"was never reached: the archive of {PLACE} ends before it, or never held it"


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("time", "2020-01-01T00:00:00+00:00", "target time 2020.*: before the first backup, 2.*"),
        ("name", "nobody-made-this", rf"target name nobody-made-this {NEVER}"),
        pytest.param(
            "lsn", "0/1", "target lsn 0/1: before the first backup, 2.*", marks=pytest.mark.slow
        ),
        pytest.param(
            "time", "2199-01-01T00:00:00+00:00", rf"target time 2199-01-01 .* {NEVER}",
            marks=pytest.mark.slow,
        ),
        pytest.param("lsn", "FF/0", rf"target lsn FF/0 {NEVER}", marks=pytest.mark.slow),
        pytest.param("xid", "4000000", rf"target xid 4000000 {NEVER}", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_target_that_cannot_be_reached(bench: Bench, kind: str, value: str, words: str) -> None:
    """Neither an empty cluster, nor one that is longer or shorter than was asked for."""
    said = bench.refusal("CLONE_TARGET_", **{f"CLONE_TARGET_{kind.upper()}": value})
    assert re.fullmatch(f"found: refused: {words}", said)


# --- what S3 holds -----------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["name", pytest.param("latest", marks=pytest.mark.slow)])
def test_a_truncated_segment(bench: Bench, target: str) -> None:
    """It lies before the target; what is left of it must not pass for the end of the archive."""
    dropped = ["CLONE_TARGET_NAME"] if target == "latest" else []
    with changed(bench.source, {bench.needed: half_of(bench.source, bench.needed)}):
        said = bench.refusal(*dropped)
    segment = bench.segments[1]
    assert re.match(f"found: refused: recovery failed: .*{segment}.* from archive", said)


@pytest.mark.slow  # as a target that never was
def test_a_missing_segment(bench: Bench) -> None:
    """It lies before the target."""
    with changed(bench.source, {bench.needed: None}):
        said = bench.refusal()
    assert re.fullmatch(f"found: refused: target name last {NEVER}", said)


def test_a_missing_segment_before_the_latest(bench: Bench) -> None:
    """All that the archive holds: a hole must not pass for its end."""
    with changed(bench.source, {bench.needed: None}):
        said = bench.refusal("CLONE_TARGET_NAME")
    missing = bench.needed.rpartition("/")[2][:24]
    where = (
        f"between [0-9F-]+ and the end of the archive, {bench.segments[-1]}, {missing} is missing"
    )
    assert re.match(f"found: refused: {where}", said)


@pytest.mark.slow  # a cluster lives first, and is refused twice
def test_a_hole_in_ones_own_archive_is_refused_for_good(bench: Bench) -> None:
    """A lost cluster that cannot come back whole: no attempt may make the next one succeed.

    What the first one would archive, of a timeline that begins at the hole, the second would take
    for the newest there is.
    """
    scope, prefix = "lost", "spilo/lost/"
    bench.make_node({**bench.bare, "SCOPE": scope})
    CLOCK.wait_for(lambda: leaders(bench.clone, scope), timeout_s=REFUSED_S, what="a leader")
    hole = key_of(bench.clone, prefix, fill(bench.clone, prefix)[1])
    bench.clone.destroy(bench.node)
    forget = ["etcdctl", "del", "--prefix", f"/service/{scope}/"]
    bench.clone._containers.exec(bench.clone.dcs_members[0].name, forget)
    led = leaders(bench.clone, scope)
    with changed(bench.clone, {hole: None}):
        before = listing(bench.clone, prefix)
        kept = {k: v for k, v in bench.bare.items() if not k.startswith("CLONE_")}
        bench.make_node({**kept, "SCOPE": scope, "BOOTSTRAP_FROM_S3": "true"})

        def is_decided() -> bool:
            return len(bench.refusals()) > 1 or leaders(bench.clone, scope) != led

        CLOCK.wait_for(is_decided, timeout_s=REFUSED_S, what="a second attempt", every_s=0.2)
        assert leaders(bench.clone, scope) == led, "\n".join(bench.log())
        assert listing(bench.clone, prefix) == before


def test_a_corrupt_manifest(bench: Bench) -> None:
    """Both of a backup's manifest and its copy are cut in half."""
    keys = [one.key for one in bench.source.objects(f"{bench.source.prefix}backup/")]
    manifests = [key for key in keys if re.search(r"/backup\.manifest(\.copy)?$", key)]
    assert len(manifests) == 2
    with changed(bench.source, {key: half_of(bench.source, key) for key in manifests}):
        said = bench.refusal()
    found = r"unable to load backup manifest file '\S+/backup\.manifest' or '\S+\.copy': Format"
    assert re.match(rf"found: refused: \[029\]: {found}", said)


# --- the way to S3 -----------------------------------------------------------------------------


def hand_out(bench: Bench, **secrets: str) -> Mapping[str, str]:
    """Write secrets that are wrong, below the nodes' folder; return where each is."""
    files = {f"wrong/{name}": text for name, text in secrets.items()}
    bench.clone._containers.hand_out({NODES: Share(UIDS[NODES], files)})
    return {name: f"{SECRETS}/wrong/{name}" for name in secrets}


def test_a_wrong_key(bench: Bench) -> None:
    """The secret is not that of the access key."""
    files = hand_out(bench, secret="0" * 40)
    said = bench.refusal(AWS_SECRET_ACCESS_KEY_FILE=files["secret"])
    assert re.fullmatch(f"found: refused: {PLACE}: .* 403 .*: SignatureDoesNotMatch: .*", said)


def test_a_missing_bucket(bench: Bench) -> None:
    """The source's bucket is named wrong. S3 tells nobody who may not see it that there is none."""
    said = bench.refusal(CLONE_WAL_S3_BUCKET="absent")
    place = PLACE.replace(f"s3://{BUCKET}", "s3://absent")
    assert re.fullmatch(f"found: refused: {place}: .* 403 .*: AccessDenied: .*", said)


def test_denied_access(bench: Bench) -> None:
    """S3 knows the nodes' user, and refuses all that it asks."""
    bench.source.s3("deny")
    try:
        said = bench.refusal()
    finally:
        bench.source.s3("well")
    assert re.fullmatch(f"found: refused: {PLACE}: .* 403 .*: Your account is disabled; .*", said)


# Makes a user, temporary credentials of it, shows that they are good, and removes the user.
TEMPORARY = f"""
import json
from pathlib import Path
from minio import Minio
from minio.credentials import AssumeRoleProvider
from harness.wire.s3 import S3, Keys

admin = Keys(*(Path("{SECRETS}", name).read_text() for name in ("s3-admin-key", "s3-admin-secret")))
guest = Keys("guest", "a-guests-secret")
s3 = S3("{S3}", {S3_PORT}, "{AWS_REGION}", "{BUCKET}", guest, Path("{CA}"), admin)
s3.make_user(guest)
given = AssumeRoleProvider(
    sts_endpoint="https://{S3}:{S3_PORT}", access_key=guest.access, secret_key=guest.secret,
    region="{AWS_REGION}", http_client=s3._connections,
).retrieve()
words = {{"key": given.access_key, "secret": given.secret_key, "token": given.session_token}}
asked = Minio(
    "{S3}:{S3_PORT}", given.access_key, given.secret_key, given.session_token,
    region="{AWS_REGION}", http_client=s3._connections,
)
assert any(asked.list_objects("{BUCKET}"))
s3._admin.user_remove(guest.access)
print(json.dumps(words))
"""


def test_expired_credentials(bench: Bench) -> None:
    """Temporary credentials that were good, and that the server takes no more.

    MinIO gives none for less than 15 minutes. The user whom they were given to is removed instead,
    and they with it: MinIO forgets those that have expired, too, and knows neither any more.
    """
    command = ["/opt/client/bin/python", "-c", TEMPORARY]
    given = json.loads(bench.source._containers.exec(f"client-{REGION}", command))
    files = hand_out(bench, **given)
    said = bench.refusal(
        AWS_ACCESS_KEY_ID_FILE=files["key"],
        AWS_SECRET_ACCESS_KEY_FILE=files["secret"],
        AWS_SESSION_TOKEN_FILE=files["token"],
    )
    assert re.fullmatch(f"found: refused: {PLACE}: .* 403 .*: AccessDenied: .*", said)
    for secret in ("secret", "token"):
        assert given[secret] not in "\n".join(bench.log())


@pytest.mark.slow
def test_s3_does_not_answer(bench: Bench) -> None:
    """Nobody listens at the endpoint; it takes pgBackRest a minute and a half to be sure of it."""
    said = bench.refusal(AWS_ENDPOINT=f"https://{S3}:{S3_PORT + 1}")
    found = f"unable to connect to '{S3}:{S3_PORT + 1} .*Connection refused"
    assert re.match(f"found: refused: {PLACE}: .*{found}", said)


# --- another cluster ---------------------------------------------------------------------------


@pytest.mark.slow  # its image is made first
def test_another_major_version(bench: Bench) -> None:
    """The source is of PostgreSQL 17, the clone's image has 15 alone."""
    older = CLUSTER.model_copy(update={"postgres": 15})
    clone = bench.source.clone("older", older, RecoveryTarget("latest"))
    bare = clone._machines[clone.nodes[0].name].environment
    said = replace(bench, clone=clone, bare=bare).refusal()
    assert said == f"found: refused: {PLACE} is of PostgreSQL 17; expected 15"


def test_half_a_clone(bench: Bench) -> None:
    """Spilo would make an empty cluster of it. All that is wrong is told at once."""
    said = bench.refusal("CLONE_WAL_S3_BUCKET", CLONE_TARGET_TIME="2026-11-23T10:00:00")
    assert bench.exit_code == 2
    assert re.findall("^configure: (.*?): (.*?); expected ", said, re.MULTILINE) == [
        ("CLONE_WAL_S3_BUCKET", "missing"),
        ("CLONE_TARGET_NAME", "a second target"),
        ("CLONE_TARGET_TIME", "'2026-11-23T10:00:00'"),
    ]


def test_a_scope_of_another_cluster(bench: Bench) -> None:
    """A new cluster, with initdb, whose prefix in S3 is the source's."""
    said = bench.refusal("CLONE_", SCOPE=SCOPE)
    found = "backup and archive info files exist but do not match the database"
    assert re.match(f"post_init: refused: the prefix of '{SCOPE}' in S3: .*{found}", said)


def test_a_clone_into_the_prefix_of_another_cluster(bench: Bench) -> None:
    """The prefix that the clone would archive to has backups; these are copies of the source's."""
    for key in [one.key for one in bench.source.objects(bench.source.prefix)]:
        if key.endswith(".info"):
            copied = key.replace(SCOPE, "taken")
            store(bench.source, copied, stored(bench.source, key))
    said = bench.refusal(SCOPE="taken")
    found = "the prefix of 'taken' holds what cluster [0-9]+ archived; expected an empty one"
    assert re.match(f"found: refused: {found}", said)
