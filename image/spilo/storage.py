"""What the environment says of S3: where backups and WAL go, and what a new cluster is made from.

The bucket is shared by many clusters; each has a prefix of its own, `spilo/<scope>/`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from croniter import CroniterError, croniter
from environment import NAME, Reader

BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
ENDPOINT = r"https://(?P<host>[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)(:(?P<port>[0-9]{1,5}))?/?"
LSN = "[0-9A-F]{1,8}/[0-9A-F]{1,8}"
# PostgreSQL cuts a restore point's name at 63 bytes (MAXFNAMELEN); letters that no shell minds.
POINT = "[A-Za-z0-9_.:+-]{1,63}"
TARGETS = ("CLONE_TARGET_TIME", "CLONE_TARGET_LSN", "CLONE_TARGET_XID", "CLONE_TARGET_NAME")


@dataclass(frozen=True, slots=True)
class Keys:
    """Credentials that somebody handed out; without them the machine's role is asked for some."""

    key: str
    secret: str
    token: str | None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to reach S3; the same for reading a source and for writing one's own."""

    region: str
    host: str
    port: int
    path_style: bool
    ca_file: str | None
    keys: Keys | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where one cluster's backups are. The stanza, pgBackRest's word, is the scope."""

    bucket: str
    scope: str

    @property
    def path(self) -> str:
        return f"/spilo/{self.scope}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """When base backups are made, and how many are kept.

    Attributes:
        cron: five fields, UTC.
        incrementals: so many follow each full backup.
        retain: full backups, each with what depends on it.
    """

    cron: str
    incrementals: int
    retain: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """Up to how much WAL since the last backup a replica is made from S3, not from the leader."""

    megabytes: int
    percentage: int


@dataclass(frozen=True, slots=True)
class Clone:
    """Which state of which cluster a new one begins with.

    Attributes:
        kind: `time`, `lsn`, `xid`, `name` or `latest`, which has no target.
        timeline: `latest`, `current` or a number.
    """

    source: Place
    kind: str
    target: str
    timeline: str
    inclusive: bool


@dataclass(frozen=True, slots=True)
class Storage:
    """All that concerns S3."""

    endpoint: Endpoint
    own: Place
    kms_key: str
    schedule: Schedule
    threshold: Threshold
    restore_timeout_s: int
    archive_timeout_s: int
    lost_cluster_returns: bool
    clone: Clone | None


def read_storage(reader: Reader, environment: Mapping[str, str], scope: str) -> Storage | None:
    """Return what is said of S3, or None where nothing is; mistakes go to the reader."""
    bucketless = sorted(name for name in environment if name.startswith(_NEED_A_BUCKET))
    if not reader.given("WAL_S3_BUCKET"):
        if bucketless:
            reader.refuse("WAL_S3_BUCKET", "missing", f"a bucket, as {bucketless[0]} is given")
        return None
    own = Place(reader.text("WAL_S3_BUCKET", BUCKET, "a bucket's name"), scope)
    return Storage(
        endpoint=_endpoint(reader, environment),
        own=own,
        # S19: what leaves the machine is encrypted under a key that somebody owns.
        kms_key=reader.text("WALG_S3_SSE_KMS_ID", r"[A-Za-z0-9:/_.-]+", "the id of a KMS key"),
        schedule=_schedule(reader),
        threshold=Threshold(
            reader.whole("WALE_BACKUP_THRESHOLD_MEGABYTES", 102400, 0, 10**9),
            reader.whole("WALE_BACKUP_THRESHOLD_PERCENTAGE", 30, 0, 10**6),
        ),
        restore_timeout_s=reader.whole("WAL_RESTORE_TIMEOUT", 10, 1, 3600),
        archive_timeout_s=reader.whole("ARCHIVE_TIMEOUT", 60, 1, 86400),
        lost_cluster_returns=reader.switch("BOOTSTRAP_FROM_S3", default=False),
        clone=_clone(reader, environment, own),
    )


# Beginnings of names. AWS_REGION and AWS_CA_BUNDLE may also be for KMS alone.
_NEED_A_BUCKET = (
    *("CLONE_", "BACKUP_", "WAL_", "WALG_", "WALE_", "ARCHIVE_", "BOOTSTRAP_FROM_S3"),
    *("AWS_ACCESS_", "AWS_SECRET_", "AWS_SESSION_", "AWS_S3_"),
)


def _endpoint(reader: Reader, environment: Mapping[str, str]) -> Endpoint:
    region = reader.text("AWS_REGION", "[a-z]{2}(-[a-z]+)+-[0-9]", "a region like eu-central-1")
    host, port = f"s3.{region}.amazonaws.com", 443
    if (url := environment.get("AWS_ENDPOINT")) is not None:
        parts = re.fullmatch(ENDPOINT, url)
        if parts is None or not 1 <= int(parts["port"] or 443) <= 65535:
            # Who writes a user's name into it writes the password, too.
            found = repr(re.sub("//.*@", "//...@", url))
            reader.refuse("AWS_ENDPOINT", found, "https://host or https://host:port")
        else:
            host, port = parts["host"], int(parts["port"] or 443)
    return Endpoint(
        region=region,
        host=host,
        port=port,
        path_style=reader.switch("AWS_S3_FORCE_PATH_STYLE", default=False),
        ca_file=reader.path("AWS_CA_BUNDLE"),
        keys=_keys(reader),
    )


def _keys(reader: Reader) -> Keys | None:
    """Return the keys, or None where none of their parts is given: then the role has some."""
    names = ("AWS_ACCESS_KEY_ID_FILE", "AWS_SECRET_ACCESS_KEY_FILE", "AWS_SESSION_TOKEN_FILE")
    key, secret, token = names
    if not any(reader.is_secret_given(name) for name in names):
        return None
    return Keys(
        key=reader.key(key),
        secret=reader.key(secret),
        token=reader.key(token) if reader.is_secret_given(token) else None,
    )


def _schedule(reader: Reader) -> Schedule:
    return Schedule(
        cron=_cron(reader, "BACKUP_SCHEDULE"),
        incrementals=reader.whole("BACKUP_INCREMENTALS", 6, 0, 1000),
        retain=reader.whole("BACKUP_NUM_TO_RETAIN", 5, 1, 10000),
    )


def _cron(reader: Reader, name: str) -> str:
    expected = "cron's five fields, like 0 1 * * *"
    told = len(reader.mistakes)
    cron = reader.text(name, ".*", expected, "0 1 * * *")
    if len(reader.mistakes) > told:
        return cron
    try:
        croniter(cron).get_next(float)
        # croniter also knows a sixth field (seconds), names like @daily, and R for "at random".
        comes = len(cron.split()) == 5 and not re.search(r"\b[RH]\b", cron, re.IGNORECASE)
    except CroniterError:
        comes = False  # never, like the 30th of February, or no schedule at all
    if not comes:
        reader.refuse(name, repr(cron), expected)
    return cron


def _clone(reader: Reader, environment: Mapping[str, str], own: Place) -> Clone | None:
    """Return the source of a new cluster. Half of one is refused: Spilo makes an empty cluster."""
    if not any(name.startswith("CLONE_") for name in environment):
        return None
    source = Place(
        reader.text("CLONE_WAL_S3_BUCKET", BUCKET, "the bucket that the source archives to"),
        reader.text("CLONE_SCOPE", NAME, "the scope of the cluster to be cloned"),
    )
    if source == own:
        reader.refuse("CLONE_SCOPE", repr(source.scope), "another scope than the clone's own")
    if reader.given("BOOTSTRAP_FROM_S3") and environment["BOOTSTRAP_FROM_S3"] == "true":
        reader.refuse("BOOTSTRAP_FROM_S3", "'true'", "not both this and a clone")
    given = [name for name in TARGETS if reader.given(name)]
    for name in given[1:]:
        reader.refuse(name, "a second target", f"one; {given[0]} is given, too")
    kind = given[0].removeprefix("CLONE_TARGET_").lower() if given else "latest"
    inclusive = reader.switch("CLONE_TARGET_INCLUSIVE", default=True)
    if not inclusive and kind not in ("time", "lsn", "xid"):
        reader.refuse("CLONE_TARGET_INCLUSIVE", "'false'", "it only with a time, an LSN or an xid")
    return Clone(
        source=source,
        kind=kind,
        target=_target(reader, kind),
        timeline=reader.text(
            "CLONE_TARGET_TIMELINE", "latest|current|[1-9][0-9]*", "latest or a number", "latest"
        ),
        inclusive=inclusive,
    )


def _target(reader: Reader, kind: str) -> str:
    if kind == "time":
        return reader.moment("CLONE_TARGET_TIME") or ""
    if kind == "lsn":
        return reader.text("CLONE_TARGET_LSN", LSN, "a position in the WAL like 0/3000060")
    if kind == "xid":
        return reader.text("CLONE_TARGET_XID", "[1-9][0-9]{0,19}", "a transaction's id")
    if kind == "name":
        return reader.text("CLONE_TARGET_NAME", POINT, "the name of a restore point")
    return ""


def lsn_as_number(lsn: str) -> int:
    """Return `X/Y` as a number of bytes."""
    match = re.fullmatch("([0-9A-F]+)/([0-9A-F]+)", lsn)
    assert match is not None, lsn
    return int(match[1], 16) << 32 | int(match[2], 16)
