"""image/spilo/environment.py: how one variable is taken out of an environment."""

import pytest
from environment import PREFIXES, REFUSALS, VARIABLES, Reader, _is_secret
from kms import KeyServiceError

from tests.unit.image.node import read, unwrap


def reader(**environment):
    return Reader(environment, read, unwrap)


@pytest.mark.parametrize(
    ("value", "number"),
    [("1", 1), ("007", 7), ("1000000000", 10**9), (None, 5)],
)
def test_whole_numbers(value, number):
    one = reader() if value is None else reader(X=value)
    assert one.whole("X", 5, 1, 10**9) == number
    assert one.mistakes == []


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "1000000001",
        "-1",
        "+1",
        "1.5",
        "1e3",
        "",
        " 1",
        "1\n",
        "1_0",
        "\u0661",
        "9" * 30,
        "5MB",
    ],
)
def test_what_is_no_whole_number_is_refused(value):
    one = reader(X=value)
    one.whole("X", 5, 1, 10**9)
    assert one.mistakes == [f"X: {value!r}; expected a whole number from 1 to 1000000000"]


@pytest.mark.parametrize(("value", "on"), [("true", True), ("false", False)])
def test_switches(value, on):
    one = reader(X=value)
    assert one.switch("X", default=not on) is on
    assert reader().switch("X", default=on) is on
    assert one.mistakes == []


@pytest.mark.parametrize("value", ["True", "FALSE", "yes", "no", "on", "1", "0", "", "true ", "t"])
def test_what_is_no_switch_is_refused(value):
    """Spilo would take each of them, and "false" itself, for true."""
    one = reader(X=value)
    one.switch("X", default=False)
    assert one.mistakes == [f"X: {value!r}; expected true or false"]


def test_paths_are_of_files_that_can_be_read():
    one = reader(X="/c/ca.crt")
    assert one.path("X") == "/c/ca.crt"
    assert one.path("Y") is None
    assert one.mistakes == []


@pytest.mark.parametrize(
    ("path", "mistake"),
    [
        ("/c/none", "cannot read '/c/none': No such file or directory; expected a readable file"),
        ("ca.crt", "no absolute path; expected the path of a file"),
        ("", "no absolute path; expected the path of a file"),
        ("/c/ca.crt\nrepo1-path=/", "no absolute path; expected the path of a file"),
    ],
)
def test_what_is_no_path_is_refused(path, mistake):
    """A line break would be a setting of its own in pgBackRest's file."""
    one = reader(X=path)
    one.path("X")
    assert one.mistakes == [f"X: {mistake}"]


def test_a_file_that_is_no_text_is_refused():
    def broken(_):
        return b"\xff".decode()

    one = Reader({"X": "/c/der"}, broken, unwrap)
    one.path("X")
    assert one.mistakes == ["X: cannot read '/c/der': not text; expected a readable file"]


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-11-23T10:00:00Z", "2026-11-23 10:00:00.000000+00:00"),
        ("2026-11-23T10:00:00.5+00:00", "2026-11-23 10:00:00.500000+00:00"),
        ("2026-11-23 10:00:00+01:00", "2026-11-23 09:00:00.000000+00:00"),
        ("2026-01-01T00:30:00.000001+05:30", "2025-12-31 19:00:00.000001+00:00"),
    ],
)
def test_moments_are_told_in_utc(value, moment):
    one = reader(X=value)
    assert one.moment("X") == moment
    assert reader(X=moment).moment("X") == moment
    assert one.mistakes == []


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-23 10:00:00",  # whose?
        "2026-11-23T10:00:00",
        "2026-11-23",
        "2026-13-01T00:00:00Z",
        "2026-11-23 10:00:00 UTC",
        "yesterday",
        "1795437027",
        "",
        "0001-01-01T00:00:00+14:00",  # before the first year of UTC
        "9999-12-31T23:59:59-01:00",
    ],
)
def test_a_moment_without_a_zone_is_nobodys(value):
    one = reader(X=value)
    one.moment("X")
    expected = "a time with its zone, like 2026-11-23T10:00:00.5+00:00"
    assert one.mistakes == [f"X: {value!r}; expected {expected}"]


@pytest.mark.parametrize(
    ("environment", "secret"),
    [
        ({"S_FILE": "/s/super"}, "superuser-secret"),  # less the newline of `echo`
        ({"S_FILE": "/s/wrapped"}, "unwrapped-secret"),
        ({"S": "aws:kms:c2VjcmV0"}, "unwrapped-secret"),
    ],
)
def test_secrets_come_from_a_file_or_wrapped(environment, secret):
    one = reader(**environment)
    assert one.is_secret_given("S_FILE")
    assert one.secret("S_FILE") == secret
    assert one.mistakes == []


@pytest.mark.parametrize(
    ("environment", "mistake"),
    [
        ({}, "missing; expected the path of a file that holds the secret"),
        ({"S": "plain"}, "missing; expected the path of a file that holds the secret"),
        ({"S": "AWS:KMS:c2VjcmV0"}, "missing; expected the path of a file that holds the secret"),
        ({"S_FILE": "plain"}, "no absolute path; expected the path of a file"),
        ({"S_FILE": "aws:kms:c2VjcmV0"}, "no absolute path; expected the path of a file"),
        ({"S": "aws:kms:x", "S_FILE": "/s/super"}, "S is given, too; expected one of the two"),
    ],
)
def test_other_places_of_a_secret_are_refused(environment, mistake):
    one = reader(**environment)
    assert one.secret("S_FILE") == ""
    assert one.mistakes == [f"S_FILE: {mistake}"]


def test_a_secret_that_kms_keeps_to_itself_is_a_mistake():
    def denied(_):
        raise KeyServiceError("KMS: AccessDeniedException")

    one = Reader({"S": "aws:kms:x"}, read, denied)
    assert one.password("S_FILE") == ""
    assert one.mistakes == [
        "S_FILE: KMS: AccessDeniedException; expected a secret that this node's role can decrypt"
    ]


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        ("AKID\n", None),
        ("a/b+c==", None),
        ("", "empty; expected one word"),
        ("\n", "empty; expected one word"),
        ("key\nrepo1-path=/", "blanks, line breaks or other than ASCII; expected one word"),
        ("key ", "blanks, line breaks or other than ASCII; expected one word"),
        ("k\u00e9y", "blanks, line breaks or other than ASCII; expected one word"),
    ],
)
def test_keys_are_one_word(content, mistake):
    """Each stands in a line of its own in pgBackRest's file, which trims and splits."""
    one = Reader({"K_FILE": "/k"}, lambda _: content, unwrap)
    one.key("K_FILE")
    assert one.mistakes == ([] if mistake is None else [f"K_FILE: {mistake}"])


def told(**environment):
    one = reader(**environment)
    one.refuse_unknown()
    return one.mistakes


def test_what_is_known_passes():
    assert told(**dict.fromkeys(VARIABLES, "x")) == []


@pytest.mark.parametrize("name", sorted(name for name in VARIABLES if name.endswith("_FILE")))
def test_a_plain_secret_is_refused_and_a_wrapped_one_is_not(name):
    """The planted leak: the variable without `_FILE`, for all to see; never quoted."""
    plain = name.removesuffix("_FILE")
    (mistake,) = told(**{plain: "my-own-secret"})
    assert mistake.startswith(f"{plain}: ")
    assert "my-own-secret" not in mistake
    if _is_secret(plain):
        assert mistake.endswith(f"expected {name}, the path of a file")
        assert "a secret, for all to see" in mistake
        assert told(**{plain: "aws:kms:x"}) == []
    else:
        assert told(**{plain: "aws:kms:x"}) != []


@pytest.mark.parametrize(
    "name",
    [
        "SCOP",
        "SCOPE_",
        "ETCD3_HOST",
        "WATCHDG",
        "AWS_REGIONS",
        "AWS_ACCESS_KEY_FILE",
        "AWS_SECRET_KEY_FILE",
        "CLONE_TARGET_TIMELIN",
        "CLONE_WAL_BUCKET",
        "WAL_BUCKET",
        "BACKUP_SCHEDUL",
        "BACKUP_NUM_TO_RETAINS",
        "WALG_S3_SSE_KMS",
        "WALE_S3_PREFIX",
        "LOG_S3_BUCKET",
        "USE_WALE",
        "STANDBY_HOST",
        "CALLBACK_SCRIPT",
        "PGSSLMODE",
        *REFUSALS,
        *(prefix + "X" for prefix in PREFIXES),
    ],
)
def test_near_misses_and_what_spilo_would_act_upon_are_refused(name):
    (mistake,) = told(**{name: "x"})
    assert mistake.startswith(f"{name}: ")


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "LC_ALL", "TZ", "AWS_EC2_METADATA_DISABLED", "AWS_DEFAULT_REGION"]
)
def test_what_is_others_business_passes(name):
    assert told(**{name: "x"}) == []
