"""The S3 of the backups: what it holds, how it is encrypted, and what becomes of a failure."""

import json
import re
import socket
from dataclasses import replace

import pytest

from harness.clock import NS, monotonic_ns
from harness.errors import HarnessError
from harness.protocols import StoredObject
from harness.wire import s3
from tests.unit.bucket import BUCKET, NODES, ROOT, Kept, MemoryS3, bucket, serving
from tests.unit.trust import Trust, trust

KMS = "x-amz-server-side-encryption-aws-kms-key-id"


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Trust:
    return trust(tmp_path_factory.mktemp("ours"))


@pytest.fixture
def memory():
    return MemoryS3()


@pytest.fixture
def stored(memory, ours):
    """The bucket as its nodes' user sees it."""
    with serving(memory, ours) as port:
        yield bucket(port, ours.ca_file)


def test_encryption_is_asked_of_each_object(stored, memory):
    """A listing shows none, so what it says must not pass for `not encrypted`."""
    memory.objects = {
        "spilo/a/archive 1": Kept(b"wal", "aws:kms", "drill-key"),
        "spilo/a/plain": Kept(b"oops"),
        "spilo/b/other": Kept(b""),
    }
    listed = stored.listing("spilo/a/")
    assert [(each.key, each.size, each.sse) for each in listed] == [
        ("spilo/a/archive 1", 3, None),
        ("spilo/a/plain", 4, None),
    ]
    found = stored.heads([*(each.key for each in listed), "spilo/a/gone"])
    assert found["spilo/a/archive 1"] == StoredObject(
        "spilo/a/archive 1", 3, listed[0].etag, "aws:kms", "drill-key"
    )
    assert found["spilo/a/plain"] == listed[1]
    assert len(found) == 2
    assert len(stored.listing()) == 3
    assert stored.head("spilo/a/gone") is None


def test_objects_are_written_read_and_removed(stored, memory):
    """The nodes' own tools encrypt, or the object is not encrypted: the bucket does not."""
    stored.put("plain", b"one")
    stored.put("secret", b"two", "drill-key")
    assert memory.objects == {
        "plain": Kept(b"one"),
        "secret": Kept(b"two", "aws:kms", "drill-key"),
    }
    assert stored.get("secret") == b"two"
    stored.remove("secret")
    stored.remove("secret")  # S3 does not say that it is gone already
    with pytest.raises(HarnessError, match="GET of 'secret': NoSuchKey: That is NoSuchKey; exp"):
        stored.get("secret")


def test_a_bucket_may_be_there_already(stored, memory):
    """Setting up is done again when it was interrupted."""
    memory.has_bucket = False
    stored.make_bucket()
    assert memory.has_bucket
    stored.make_bucket()


def test_a_user_is_refused_and_served_again(stored):
    """What is refused to the nodes, whoever watches still sees."""
    watching = replace(stored, admin=ROOT)
    stored.put("key", b"")
    watching.deny(NODES.access)
    for call in (stored.listing, lambda: stored.put("key", b"")):
        with pytest.raises(HarnessError, match="InvalidAccessKeyId: "):
            call()
    with pytest.raises(HarnessError, match="HEAD of 'key': AccessDenied: "):
        stored.head("key")
    assert [each.key for each in watching.listing()] == ["key"]
    watching.allow(NODES.access)
    assert [each.key for each in stored.listing()] == ["key"]


def test_a_user_is_made_for_one_bucket(stored, memory):
    """The document goes as it is; the secret does not."""
    memory.users = {ROOT.access: True}
    replace(stored, admin=ROOT).make_user(NODES)
    assert memory.users == {ROOT.access: True, NODES.access: True}
    (statement,) = json.loads(memory.put_bodies["add-canned-policy"])["Statement"]
    assert statement["Resource"] == [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    assert NODES.secret.encode() not in memory.put_bodies["add-user"]


def test_users_need_an_admin(stored):
    with pytest.raises(HarnessError, match="no admin's keys; expected those of a MinIO"):
        stored.deny(NODES.access)
    with pytest.raises(HarnessError, match="'nobody': XMinioAdminNoSuchUser: The specified user"):
        replace(stored, admin=ROOT).deny("nobody")


def test_nothing_is_asked_twice(stored, memory):
    """Whoever asks wants to know when S3 failed, not that it did well in the end."""
    memory.failing = 1
    with pytest.raises(HarnessError, match="listing of 'x': SlowDown: That is SlowDown; expected"):
        stored.listing("x")
    assert len(memory.asked) == 1


def test_silence_ends_at_the_time_out(stored, memory):
    """And the first of many that fails ends them all: each would wait for its own."""
    memory.silent.set()
    begin_ns = monotonic_ns()
    patient = replace(stored, timeout_s=0.1)
    with pytest.raises(HarnessError, match=r"HEAD of '0': ReadTimeoutError: .* within 0.1 s"):
        patient.heads(str(number) for number in range(100))
    assert (monotonic_ns() - begin_ns) / NS < 5
    assert len(memory.asked) <= 3 * s3.CONNECTIONS


def test_another_server_learns_nothing(memory, ours, tmp_path):
    """One whose certificate is of no CA that we trust is not asked at all."""
    with (
        serving(memory, trust(tmp_path)) as port,
        pytest.raises(HarnessError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        bucket(port, ours.ca_file).listing()
    assert memory.asked == []


def test_nobody_there_is_a_sentence(ours):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(HarnessError, match=r"NewConnectionError: .*refused; expected success"):
        bucket(port, ours.ca_file).listing()


def test_secrets_are_not_shown(ours):
    """Whoever prints a bucket must not print the keys to it."""
    shown = repr(replace(bucket(1, ours.ca_file), admin=ROOT))
    assert BUCKET in shown
    assert not re.search(f"{NODES.secret}|{ROOT.secret}", shown)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, (None, None)),
        ({"X-Amz-Server-Side-Encryption": "AES256"}, ("AES256", None)),
        ({s3._SSE: "aws:kms", KMS: "arn:aws:kms:drill-key"}, ("aws:kms", "drill-key")),
        ({s3._SSE: "aws:kms", KMS: "drill-key"}, ("aws:kms", "drill-key")),
        (
            {s3._SSE: "aws:kms", KMS: "arn:aws:kms:eu-central-1:1:key/9-a"},
            ("aws:kms", "arn:aws:kms:eu-central-1:1:key/9-a"),
        ),
    ],
)
def test_encryption_is_what_s3_says(headers, found):
    """MinIO puts an ARN's beginning before the plain name of a key; AWS's ARN is the name."""
    assert s3.encryption(headers) == found
