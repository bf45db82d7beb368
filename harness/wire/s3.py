"""S3: what a bucket holds and how it is encrypted; and, of MinIO, who may use it.

Source: Amazon S3 API reference (ListObjectsV2, HeadObject); MinIO's admin API by its own library.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import HarnessError
from harness.history import Json
from harness.protocols import StoredObject

# The library is imported where it is first used: it takes a quarter of a second, and a client of
# a cluster that keeps nothing in S3 starts without it.
if TYPE_CHECKING:
    from minio import Minio, MinioAdmin
    from urllib3 import PoolManager

TIMEOUT_S = 5.0
# A listing shows no encryption, so every object is asked for its own; so many at a time.
CONNECTIONS = 8

_NO_OBJECT = ("NoSuchKey", "NoSuchObject")
_BUCKET_IS_THERE = "BucketAlreadyOwnedByYou"
_SSE = "x-amz-server-side-encryption"
_KMS_KEY = f"{_SSE}-aws-kms-key-id"
_ADMIN_ERROR = re.compile(r'"Code":"([^"]+)","Message":"([^"]+)"')
_LONGEST = 300
# Before the names of MinIO's own keys; a whole ARN, with its account, is a name of AWS's.
_MINIO_KEYS = "arn:aws:kms:"


class Keys(NamedTuple):
    """Who asks: an access key and its secret."""

    access: str
    secret: str


@dataclass(frozen=True)  # no slots: its connections are made when they are first used
class S3:
    """One bucket, over TLS.

    Attributes:
        host: as its certificate names it, and as it resolves here.
        keys: the cluster's own, that its nodes read and write with.
        admin: who may make and refuse users, of a MinIO; None where nobody may. Then the objects
            are looked at as this one, so that what is refused to the nodes is seen all the same.
        ca_file: of the CA whose certificate the server must show.
        timeout_s: how long one request may be without an answer; none is repeated.
    """

    host: str
    port: int
    region: str
    bucket: str
    keys: Keys = field(repr=False)
    ca_file: Path
    admin: Keys | None = field(default=None, repr=False)
    timeout_s: float = TIMEOUT_S

    # --- objects -------------------------------------------------------------------------------

    def listing(self, prefix: str = "") -> Sequence[StoredObject]:
        """Return the objects whose keys begin with `prefix`, without their encryption.

        Raises:
            HarnessError: when S3 does not answer, or refuses.
        """
        with self._saying(f"listing of {prefix!r}"):
            found = self._objects.list_objects(self.bucket, prefix, recursive=True)
            return [StoredObject(o.object_name, o.size or 0, o.etag or "") for o in found]

    def head(self, key: str) -> StoredObject | None:
        """Return the object with its encryption, or None when there is none.

        Raises:
            HarnessError: when S3 does not answer, or refuses.
        """
        from minio.error import S3Error

        with self._saying(f"HEAD of {key!r}"):
            try:
                found = self._objects.stat_object(self.bucket, key)
            except S3Error as error:
                if error.code in _NO_OBJECT:
                    return None
                raise
        sse, kms_key = encryption(found.metadata or {})
        return StoredObject(key, found.size or 0, found.etag or "", sse, kms_key)

    def heads(self, keys: Iterable[str]) -> Mapping[str, StoredObject]:
        """Return those of the objects that are there, with their encryption, by key.

        Raises:
            HarnessError: when S3 does not answer to one of them, or refuses it.
        """
        with ThreadPoolExecutor(max_workers=CONNECTIONS, thread_name_prefix="head") as pool:
            # The first failure ends it all: `map` takes back what has not begun.
            return {found.key: found for found in pool.map(self.head, keys) if found}

    def get(self, key: str) -> bytes:
        """Return an object's content.

        Raises:
            HarnessError: when there is none, or S3 does not answer, or refuses.
        """
        with (
            self._saying(f"GET of {key!r}"),
            closing(self._objects.get_object(self.bucket, key)) as answer,
        ):
            return answer.read()

    def put(self, key: str, content: bytes, kms_key: str | None = None) -> None:
        """Write an object; encrypted only when a key is named, as S3 does for every client.

        Raises:
            HarnessError: when S3 does not answer, or refuses.
        """
        from minio.sse import SseKMS

        sse = SseKMS(kms_key, {}) if kms_key else None
        with self._saying(f"PUT of {key!r}"):
            self._objects.put_object(self.bucket, key, BytesIO(content), len(content), sse=sse)

    def remove(self, key: str) -> None:
        """Remove an object; S3 does not say whether there was one.

        Raises:
            HarnessError: when S3 does not answer, or refuses.
        """
        with self._saying(f"DELETE of {key!r}"):
            self._objects.remove_object(self.bucket, key)

    def make_bucket(self) -> None:
        """Make the bucket if it is not there.

        Raises:
            HarnessError: when S3 does not answer, or refuses.
        """
        from minio.error import S3Error

        with self._saying(f"making of bucket {self.bucket!r}"):
            try:
                self._objects.make_bucket(self.bucket, self.region)
            except S3Error as error:
                if error.code != _BUCKET_IS_THERE:
                    raise

    # --- users, of MinIO -----------------------------------------------------------------------

    def make_user(self, user: Keys) -> None:
        """Make, or make anew, a user who may do everything in this bucket, and nothing else.

        Raises:
            HarnessError: when there is no admin, or MinIO does not answer, or refuses.
        """
        admin = self._admin
        with self._saying(f"making of user {user.access!r}"):
            admin.user_add(user.access, user.secret)
            admin.policy_add(user.access, policy=bucket_policy(self.bucket))
            admin.policy_set(user.access, user=user.access)

    def deny(self, user: str) -> None:
        """Refuse every request of this user from now on.

        Raises:
            HarnessError: when there is no admin, or MinIO does not answer, or refuses.
        """
        with self._saying(f"disabling of user {user!r}"):
            self._admin.user_disable(user)

    def allow(self, user: str) -> None:
        """Serve this user again.

        Raises:
            HarnessError: when there is no admin, or MinIO does not answer, or refuses.
        """
        with self._saying(f"enabling of user {user!r}"):
            self._admin.user_enable(user)

    # --- the library ---------------------------------------------------------------------------

    @contextmanager
    def _saying(self, what: str) -> Iterator[None]:
        """Tell in one sentence what of the library's many errors came of `what`."""
        from minio.error import MinioAdminException, MinioException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (MinioException, MinioAdminException, HTTPError, OSError, ValueError) as error:
            raise HarnessError(
                f"s3 {self.host}:{self.port}: {what}: {sentence(error)}; expected success "
                f"within {self.timeout_s:g} s"
            ) from error

    @cached_property
    def _objects(self) -> "Minio":
        from minio import Minio

        return Minio(
            f"{self.host}:{self.port}",
            *(self.admin or self.keys),
            region=self.region,
            http_client=self._connections,
        )

    @cached_property
    def _admin(self) -> "MinioAdmin":
        from minio import MinioAdmin
        from minio.credentials.providers import StaticProvider

        if self.admin is None:
            raise HarnessError(
                f"s3 {self.host}:{self.port}: no admin's keys; expected those of a MinIO"
            )
        return MinioAdmin(
            endpoint=f"{self.host}:{self.port}",
            credentials=StaticProvider(*self.admin),
            region=self.region,
            http_client=self._connections,
        )

    @cached_property
    def _connections(self) -> "PoolManager":
        from urllib3 import PoolManager, Timeout

        return PoolManager(
            timeout=Timeout(total=self.timeout_s),
            retries=False,  # the caller wants to know that S3 failed, and when
            maxsize=CONNECTIONS,
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(self.ca_file),
        )


def bucket_policy(bucket: str) -> dict[str, Json]:
    """Return the document that allows everything in one bucket."""
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    statement = {"Effect": "Allow", "Action": ["s3:*"], "Resource": resources}
    return {"Version": "2012-10-17", "Statement": [statement]}


def encryption(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return how the headers of an answer say that the object is encrypted, and by which key."""
    given = {name.lower(): value for name, value in headers.items()}
    sse, key = given.get(_SSE), given.get(_KMS_KEY)
    if key and key.count(":") == _MINIO_KEYS.count(":"):
        key = key.removeprefix(_MINIO_KEYS)
    return sse, key


def sentence(error: Exception) -> str:
    """Return what S3, MinIO's admin API (in JSON) or the network said, without any preamble."""
    code, message = getattr(error, "code", None), getattr(error, "message", None)
    if not code and (found := _ADMIN_ERROR.search(str(error))):
        code, message = found.groups()
    if code and message:
        return f"{code}: {str(message).strip().rstrip('.')}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_LONGEST]
