"""image/spilo/storage.py: what is said of S3, whole or not at all."""

import pytest
from storage import (
    Clone,
    Endpoint,
    Keys,
    Place,
    Schedule,
    Storage,
    Threshold,
    lsn_as_number,
)

from tests.unit.image.node import CLONE, GOOD, KEYS, S3, mistakes, settings


def storage(**changes):
    found = settings(**{**S3, **changes}).storage
    assert found is not None
    return found


def test_defaults():
    """A bucket, a key and a region are all that a cluster on AWS needs."""
    assert storage() == Storage(
        endpoint=Endpoint(
            region="eu-central-1",
            host="s3.eu-central-1.amazonaws.com",
            port=443,
            path_style=False,
            ca_file=None,
            keys=None,  # the machine's role has some
        ),
        own=Place("backups", "my-cluster"),
        kms_key="alias/backups",
        schedule=Schedule("0 1 * * *", incrementals=6, retain=5),
        threshold=Threshold(megabytes=102400, percentage=30),
        restore_timeout_s=10,
        archive_timeout_s=60,
        lost_cluster_returns=False,
        clone=None,
    )


def test_without_s3_there_is_no_storage():
    assert settings().storage is None
    assert settings(AWS_REGION="eu-central-1", AWS_CA_BUNDLE="/c/ca.crt").storage is None  # KMS's


def test_keys_with_and_without_a_session():
    assert storage(**KEYS).endpoint.keys == Keys("AKIDEXAMPLE", "s3/secret+key=", None)
    with_token = storage(**KEYS, AWS_SESSION_TOKEN_FILE="/s/s3-token").endpoint.keys
    assert with_token == Keys("AKIDEXAMPLE", "s3/secret+key=", "token==")


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://minio.example:9000", "minio.example", 9000),
        ("https://198.18.9.2:9000/", "198.18.9.2", 9000),
        ("https://s3.example", "s3.example", 443),
    ],
)
def test_endpoints(url, host, port):
    found = storage(AWS_ENDPOINT=url).endpoint
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize(
    "region", ["eu-central-1", "us-gov-west-1", "ap-southeast-4", "cn-north-1"]
)
def test_regions(region):
    assert storage(AWS_REGION=region).endpoint.region == region


@pytest.mark.parametrize(
    ("changes", "clone"),
    [
        ({}, ("latest", "", "latest", True)),
        ({"CLONE_TARGET_TIME": "2026-11-23T10:00:00+01:00", "CLONE_TARGET_INCLUSIVE": "false"},
         ("time", "2026-11-23 09:00:00.000000+00:00", "latest", False)),
        ({"CLONE_TARGET_LSN": "0/3000060"}, ("lsn", "0/3000060", "latest", True)),
        ({"CLONE_TARGET_XID": "744", "CLONE_TARGET_TIMELINE": "3"}, ("xid", "744", "3", True)),
        ({"CLONE_TARGET_NAME": "before-x", "CLONE_TARGET_TIMELINE": "current"},
         ("name", "before-x", "current", True)),
    ],
)  # fmt: skip
def test_clones(changes, clone):
    assert storage(**CLONE, **changes).clone == Clone(Place("others", "source"), *clone)


def test_a_namesake_in_another_bucket_may_be_cloned():
    found = storage(CLONE_SCOPE="my-cluster", CLONE_WAL_S3_BUCKET="others").clone
    assert found is not None
    assert found.source != storage().own


ENDPOINT = "AWS_ENDPOINT: {}; expected https://host or https://host:port"
CRON = "BACKUP_SCHEDULE: {!r}; expected cron's five fields, like 0 1 * * *"
REGION = "AWS_REGION: {!r}; expected a region like eu-central-1"
# (what is changed in a good environment with S3, the one mistake); None removes a variable.
BAD = [
    ({"WALG_S3_SSE_KMS_ID": None}, "WALG_S3_SSE_KMS_ID: missing; expected the id of a KMS key"),
    ({"WALG_S3_SSE_KMS_ID": ""}, "WALG_S3_SSE_KMS_ID: ''; expected the id of a KMS key"),
    ({"WALG_S3_SSE_KMS_ID": "a\nb"}, r"WALG_S3_SSE_KMS_ID: 'a\nb'; expected the id of a KMS key"),
    ({"AWS_REGION": None}, "AWS_REGION: missing; expected a region like eu-central-1"),
    ({"AWS_REGION": "europe"}, REGION.format("europe")),
    ({"AWS_REGION": "EU-CENTRAL-1"}, REGION.format("EU-CENTRAL-1")),
    ({"AWS_REGION": "eu central 1"}, REGION.format("eu central 1")),  # once, not of the endpoint
    ({"WAL_S3_BUCKET": "s3://backups"}, "WAL_S3_BUCKET: 's3://backups'; expected a bucket's name"),
    ({"WAL_S3_BUCKET": "Backups"}, "WAL_S3_BUCKET: 'Backups'; expected a bucket's name"),
    ({"WAL_S3_BUCKET": "ab"}, "WAL_S3_BUCKET: 'ab'; expected a bucket's name"),
    ({"WAL_S3_BUCKET": "a" * 64}, f"WAL_S3_BUCKET: '{'a' * 64}'; expected a bucket's name"),
    ({"AWS_ENDPOINT": "http://minio:9000"}, ENDPOINT.format("'http://minio:9000'")),
    ({"AWS_ENDPOINT": "minio:9000"}, ENDPOINT.format("'minio:9000'")),
    ({"AWS_ENDPOINT": "https://"}, ENDPOINT.format("'https://'")),
    ({"AWS_ENDPOINT": "https://["}, ENDPOINT.format("'https://['")),
    ({"AWS_ENDPOINT": "https://minio:0"}, ENDPOINT.format("'https://minio:0'")),
    ({"AWS_ENDPOINT": "https://minio:65536"}, ENDPOINT.format("'https://minio:65536'")),
    ({"AWS_ENDPOINT": "https://minio/bucket"}, ENDPOINT.format("'https://minio/bucket'")),
    ({"AWS_ENDPOINT": "https://minio?x=1"}, ENDPOINT.format("'https://minio?x=1'")),
    ({"AWS_ENDPOINT": "https://minio\nrepo1-path=/"},
     ENDPOINT.format(r"'https://minio\nrepo1-path=/'")),
    ({"AWS_ENDPOINT": "https://key:secret@minio:9000"},
     ENDPOINT.format("'https://...@minio:9000'")),
    ({"AWS_S3_FORCE_PATH_STYLE": "yes"}, "AWS_S3_FORCE_PATH_STYLE: 'yes'; expected true or false"),
    ({"AWS_CA_BUNDLE": "/c/none"},
     "AWS_CA_BUNDLE: cannot read '/c/none': No such file or directory; expected a readable file"),
    ({"AWS_ACCESS_KEY_ID_FILE": "/s/s3-key"},
     "AWS_SECRET_ACCESS_KEY_FILE: missing; expected the path of a file that holds the secret"),
    ({"AWS_SECRET_ACCESS_KEY_FILE": "/s/s3-secret"},
     "AWS_ACCESS_KEY_ID_FILE: missing; expected the path of a file that holds the secret"),
    ({"AWS_ACCESS_KEY_ID": "aws:kms:x"},
     "AWS_SECRET_ACCESS_KEY_FILE: missing; expected the path of a file that holds the secret"),
    ({**KEYS, "AWS_SECRET_ACCESS_KEY_FILE": "/s/empty"},
     "AWS_SECRET_ACCESS_KEY_FILE: empty; expected one word"),
    ({**KEYS, "AWS_SESSION_TOKEN_FILE": "/s/lines"},
     "AWS_SESSION_TOKEN_FILE: blanks, line breaks or other than ASCII; expected one word"),
    ({"BACKUP_SCHEDULE": ""}, CRON.format("")),
    ({"BACKUP_SCHEDULE": "0 1 * *"}, CRON.format("0 1 * *")),
    ({"BACKUP_SCHEDULE": "0 1 * * * *"}, CRON.format("0 1 * * * *")),  # seconds, says croniter
    ({"BACKUP_SCHEDULE": "@daily"}, CRON.format("@daily")),
    ({"BACKUP_SCHEDULE": "60 1 * * *"}, CRON.format("60 1 * * *")),
    ({"BACKUP_SCHEDULE": "*/0 * * * *"}, CRON.format("*/0 * * * *")),
    ({"BACKUP_SCHEDULE": "R 1 * * *"}, CRON.format("R 1 * * *")),  # a dice, says croniter
    ({"BACKUP_SCHEDULE": "0 r(1-3) * * *"}, CRON.format("0 r(1-3) * * *")),
    ({"BACKUP_SCHEDULE": "0 0 30 2 *"}, CRON.format("0 0 30 2 *")),  # never
    ({"BACKUP_SCHEDULE": "0 1 * * *\n"}, CRON.format("0 1 * * *\n")),
    ({"BACKUP_SCHEDULE": "every night at one"}, CRON.format("every night at one")),
    ({"BACKUP_NUM_TO_RETAIN": "0"},
     "BACKUP_NUM_TO_RETAIN: '0'; expected a whole number from 1 to 10000"),
    ({"BACKUP_INCREMENTALS": "-1"},
     "BACKUP_INCREMENTALS: '-1'; expected a whole number from 0 to 1000"),
    ({"WALE_BACKUP_THRESHOLD_PERCENTAGE": "30%"},
     "WALE_BACKUP_THRESHOLD_PERCENTAGE: '30%'; expected a whole number from 0 to 1000000"),
    ({"WAL_RESTORE_TIMEOUT": "0"},
     "WAL_RESTORE_TIMEOUT: '0'; expected a whole number from 1 to 3600"),
    ({"ARCHIVE_TIMEOUT": "60s"}, "ARCHIVE_TIMEOUT: '60s'; expected a whole number from 1 to 86400"),
    ({"BOOTSTRAP_FROM_S3": "True"}, "BOOTSTRAP_FROM_S3: 'True'; expected true or false"),
    ({"CLONE_SCOPE": "source"},
     "CLONE_WAL_S3_BUCKET: missing; expected the bucket that the source archives to"),
    ({"CLONE_WAL_S3_BUCKET": "others"},
     "CLONE_SCOPE: missing; expected the scope of the cluster to be cloned"),
    ({**CLONE, "CLONE_SCOPE": ""},
     "CLONE_SCOPE: ''; expected the scope of the cluster to be cloned"),
    ({**CLONE, "CLONE_SCOPE": "a/../b"},
     "CLONE_SCOPE: 'a/../b'; expected the scope of the cluster to be cloned"),
    ({"CLONE_SCOPE": "my-cluster", "CLONE_WAL_S3_BUCKET": "backups"},
     "CLONE_SCOPE: 'my-cluster'; expected another scope than the clone's own"),
    ({**CLONE, "BOOTSTRAP_FROM_S3": "true"},
     "BOOTSTRAP_FROM_S3: 'true'; expected not both this and a clone"),
    ({**CLONE, "CLONE_TARGET_TIME": "2026-11-23T10:00:00Z", "CLONE_TARGET_LSN": "0/3000060"},
     "CLONE_TARGET_LSN: a second target; expected one; CLONE_TARGET_TIME is given, too"),
    ({**CLONE, "CLONE_TARGET_TIME": "2026-11-23 10:00:00"},
     "CLONE_TARGET_TIME: '2026-11-23 10:00:00'; "
     "expected a time with its zone, like 2026-11-23T10:00:00.5+00:00"),
    ({**CLONE, "CLONE_TARGET_LSN": "3000060"},
     "CLONE_TARGET_LSN: '3000060'; expected a position in the WAL like 0/3000060"),
    ({**CLONE, "CLONE_TARGET_LSN": "0/300006g"},
     "CLONE_TARGET_LSN: '0/300006g'; expected a position in the WAL like 0/3000060"),
    ({**CLONE, "CLONE_TARGET_XID": "0"}, "CLONE_TARGET_XID: '0'; expected a transaction's id"),
    ({**CLONE, "CLONE_TARGET_NAME": "it's"},
     'CLONE_TARGET_NAME: "it\'s"; expected the name of a restore point'),
    ({**CLONE, "CLONE_TARGET_NAME": "x" * 64},
     f"CLONE_TARGET_NAME: '{'x' * 64}'; expected the name of a restore point"),
    ({**CLONE, "CLONE_TARGET_NAME": ""},
     "CLONE_TARGET_NAME: ''; expected the name of a restore point"),
    ({**CLONE, "CLONE_TARGET_TIMELINE": "newest"},
     "CLONE_TARGET_TIMELINE: 'newest'; expected latest or a number"),
    ({**CLONE, "CLONE_TARGET_TIMELINE": "0"},
     "CLONE_TARGET_TIMELINE: '0'; expected latest or a number"),
    ({**CLONE, "CLONE_TARGET_NAME": "x", "CLONE_TARGET_INCLUSIVE": "false"},
     "CLONE_TARGET_INCLUSIVE: 'false'; expected it only with a time, an LSN or an xid"),
    ({**CLONE, "CLONE_TARGET_INCLUSIVE": "false"},
     "CLONE_TARGET_INCLUSIVE: 'false'; expected it only with a time, an LSN or an xid"),
    ({**CLONE, "CLONE_TARGET_XID": "7", "CLONE_TARGET_INCLUSIVE": "no"},
     "CLONE_TARGET_INCLUSIVE: 'no'; expected true or false"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "mistake"), BAD, ids=[str(changes) for changes, _ in BAD])
def test_a_bad_variable_is_one_mistake(changes, mistake):
    environment = {**GOOD, **S3, **changes}
    given = {name: value for name, value in environment.items() if value is not None}
    assert mistakes(given) == [mistake]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLONE_SCOPE", "source"),
        ("CLONE_TARGET_TIME", "2026-11-23T10:00:00Z"),
        ("BACKUP_SCHEDULE", "0 1 * * *"),
        ("BACKUP_NUM_TO_RETAIN", "5"),
        ("WALG_S3_SSE_KMS_ID", "alias/backups"),
        ("WALE_BACKUP_THRESHOLD_MEGABYTES", "1"),
        ("WAL_RESTORE_TIMEOUT", "10"),
        ("ARCHIVE_TIMEOUT", "60"),
        ("BOOTSTRAP_FROM_S3", "false"),
        ("AWS_ACCESS_KEY_ID_FILE", "/s/s3-key"),
        ("AWS_S3_FORCE_PATH_STYLE", "true"),
    ],
)
def test_what_is_said_of_backups_without_a_bucket_is_refused(name, value):
    """Spilo takes no backups then, and says nothing."""
    assert mistakes({**GOOD, name: value}) == [
        f"WAL_S3_BUCKET: missing; expected a bucket, as {name} is given"
    ]


def test_a_clone_of_nothing_is_told_whole():
    """Spilo makes an empty cluster of it."""
    assert mistakes({**GOOD, **S3, "CLONE_TARGET_TIME": "2026-11-23T10:00:00Z"}) == [
        "CLONE_WAL_S3_BUCKET: missing; expected the bucket that the source archives to",
        "CLONE_SCOPE: missing; expected the scope of the cluster to be cloned",
    ]


@pytest.mark.parametrize(
    ("lsn", "number"),
    [("0/0", 0), ("0/3000060", 0x3000060), ("1/0", 1 << 32), ("FFFFFFFF/FFFFFFFF", (1 << 64) - 1)],
)
def test_positions_are_numbers(lsn, number):
    assert lsn_as_number(lsn) == number


@pytest.mark.parametrize("text", ["", "3000060", "0/", "/1", "0/x", "0/1 ", "0/3a"])
def test_what_is_no_position_is_a_defect(text):
    with pytest.raises(AssertionError):
        lsn_as_number(text)
