"""image/spilo/settings.py and environment.py: what an environment says, or every mistake in it."""

import os
import pickle
import stat

import pytest
from environment import VARIABLES, ConfigurationError, _is_secret
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from kms import KeyServiceError
from settings import judged, read_settings, write

from harness.reference.environment import REQUIRED
from harness.reference.environment import VARIABLES as DOCUMENTED
from tests.unit.image.node import (
    ADMIN,
    CLONE,
    GOOD,
    KEYS,
    REST,
    S3,
    TLS,
    VERSIONS,
    mistakes,
    read,
    settings,
    unwrap,
)

# (what is changed in a good environment, the one mistake that follows); None removes a variable.
BAD = [
    ({"SCOPE": None}, "SCOPE: missing; expected a name like my-cluster"),
    ({"SCOPE": ""}, "SCOPE: ''; expected a name like my-cluster"),
    ({"SCOPE": "-a"}, "SCOPE: '-a'; expected a name like my-cluster"),
    ({"SCOPE": "a/b"}, "SCOPE: 'a/b'; expected a name like my-cluster"),
    ({"SCOPE": "a\n"}, r"SCOPE: 'a\n'; expected a name like my-cluster"),
    ({"NAMESPACE": "service"}, "NAMESPACE: 'service'; expected a path like /service/"),
    ({"NAMESPACE": "//"}, "NAMESPACE: '//'; expected a path like /service/"),
    ({"ETCD3_HOSTS": None},
     "ETCD3_HOSTS or ZOOKEEPER_HOSTS: missing; expected exactly one coordination store"),
    ({"ZOOKEEPER_HOSTS": "a:2181"},
     "ETCD3_HOSTS or ZOOKEEPER_HOSTS: both given; expected exactly one coordination store"),
    ({"ETCD3_HOSTS": ""}, "ETCD3_HOSTS: ''; expected host:port,host:port,..."),
    ({"ETCD3_HOSTS": "a:2379,"}, "ETCD3_HOSTS: ''; expected host:port,host:port,..."),
    ({"ETCD3_HOSTS": "etcd-1"}, "ETCD3_HOSTS: 'etcd-1'; expected host:port,host:port,..."),
    ({"ETCD3_HOSTS": "a:0"}, "ETCD3_HOSTS: 'a:0'; expected host:port,host:port,..."),
    ({"ETCD3_HOSTS": "a:65536"}, "ETCD3_HOSTS: 'a:65536'; expected host:port,host:port,..."),
    ({"ETCD3_HOSTS": "http://a:1"}, "ETCD3_HOSTS: 'http://a:1'; expected host:port,host:port,..."),
    ({"ETCD_HOSTS": "a:2379"}, "ETCD_HOSTS: the v2 API; use ETCD3_HOSTS"),
    ({"ETCD3_HOST": "a:2379"},
     "ETCD3_HOST: unknown variable; expected one that this image knows; did you mean ETCD3_HOSTS?"),
    ({"CONSUL_HOST": "a"},
     "CONSUL_HOST: a store that this image does not know; use ETCD3_HOSTS or ZOOKEEPER_HOSTS"),
    ({"PATRONI_NAME": "x"},
     "PATRONI_NAME: would override the rendered file in silence; use SPILO_CONFIGURATION"),
    ({"ALLOW_NOSSL": "false"},
     "ALLOW_NOSSL: connections over the network are encrypted, whatever its value"),
    ({"USE_WALG_BACKUP": "true"},
     "USE_WALG_BACKUP: unknown variable; expected one that this image knows"),
    ({"WALG_S3_PREFIX": "s3://backups/x", **S3},
     "WALG_S3_PREFIX: unknown variable; expected one that this image knows"),
    ({"CLONE_TARGET_TYME": "2026-11-23T10:00:00Z", **S3, **CLONE},
     "CLONE_TARGET_TYME: unknown variable; expected one that this image knows; "
     "did you mean CLONE_TARGET_TIME?"),
    ({"SSL_CERTIFICATE": "text of one", **TLS},
     "SSL_CERTIFICATE: unknown variable; expected one that this image knows; "
     "did you mean SSL_CERTIFICATE_FILE?"),
    ({"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", **S3, **KEYS},
     "AWS_ACCESS_KEY_ID: a secret, for all to see in `docker inspect`; "
     "expected AWS_ACCESS_KEY_ID_FILE, the path of a file"),
    ({"RESTAPI_PASSWORD": "rest-secret-12", **REST},
     "RESTAPI_PASSWORD: a secret, for all to see in `docker inspect`; "
     "expected RESTAPI_PASSWORD_FILE, the path of a file"),
    ({"WATCHDOGS": "off"},
     "WATCHDOGS: unknown variable; expected one that this image knows; did you mean WATCHDOG?"),
    ({"SCOP": "a"},
     "SCOP: unknown variable; expected one that this image knows; did you mean SCOPE?"),
    ({"PGSSLMODE": "disable"}, "PGSSLMODE: unknown variable; expected one that this image knows"),
    ({"PGPASSWORD_STANDBY": "standby"},
     "PGPASSWORD_STANDBY: a secret, for all to see in `docker inspect`; "
     "expected PGPASSWORD_STANDBY_FILE, the path of a file"),
    ({"PGPASSWORD_SUPERUSER_FILE": None},
     "PGPASSWORD_SUPERUSER_FILE: missing; expected the path of a file that holds the secret"),
    ({"PGPASSWORD_STANDBY_FILE": "/s/none"},
     "PGPASSWORD_STANDBY_FILE: cannot read '/s/none': No such file or directory; "
     "expected a readable file"),
    ({"PGPASSWORD_STANDBY_FILE": "the-password-itself"},
     "PGPASSWORD_STANDBY_FILE: no absolute path; expected the path of a file"),
    ({"PGPASSWORD_STANDBY": "aws:kms:c2VjcmV0"},
     "PGPASSWORD_STANDBY_FILE: PGPASSWORD_STANDBY is given, too; expected one of the two"),
    ({"PGPASSWORD_STANDBY_FILE": "/s/empty"},
     "PGPASSWORD_STANDBY_FILE: an empty file; expected at least 12 characters"),
    ({"PGPASSWORD_STANDBY_FILE": "/s/newline"},
     "PGPASSWORD_STANDBY_FILE: an empty file; expected at least 12 characters"),
    ({"PGPASSWORD_STANDBY_FILE": "/s/short"},
     "PGPASSWORD_STANDBY_FILE: 11 characters; expected at least 12 characters"),
    ({"PGPASSWORD_STANDBY_FILE": "/s/lines"},
     "PGPASSWORD_STANDBY_FILE: line breaks or control characters; expected one line of text"),
    ({"PGPASSWORD_SUPERUSER_FILE": "/s/zalando"},
     "PGPASSWORD_SUPERUSER_FILE: one of Spilo's published defaults; "
     "expected a password of your own"),
    ({"PGPASSWORD_ADMIN_FILE": "/s/cola"},
     "PGPASSWORD_ADMIN_FILE: one of Spilo's published defaults; expected a password of your own"),
    ({"PGUSER_SUPERUSER": "Postgres"},
     "PGUSER_SUPERUSER: 'Postgres'; expected a role name in lower case"),
    ({"PGUSER_ADMIN": "boss"},
     "PGPASSWORD_ADMIN_FILE: missing; expected a file, as PGUSER_ADMIN is given"),
    ({"RESTAPI_USERNAME": "patroni"},
     "RESTAPI_PASSWORD_FILE: missing; expected the path of a file that holds the secret"),
    ({"RESTAPI_PASSWORD_FILE": "/s/rest"},
     "RESTAPI_USERNAME: missing; expected letters, digits, dots, dashes"),
    ({**REST, "RESTAPI_USERNAME": "a:b"},
     "RESTAPI_USERNAME: 'a:b'; expected letters, digits, dots, dashes"),
    ({"PGPORT": "80"}, "PGPORT: '80'; expected a port from 1024 to 65535"),
    ({"PGPORT": "+5432"}, "PGPORT: '+5432'; expected a port from 1024 to 65535"),
    ({"APIPORT": "\u0668\u0660\u0660\u0668"},
     "APIPORT: '\u0668\u0660\u0660\u0668'; expected a port from 1024 to 65535"),
    ({"APIPORT": "5432"}, "APIPORT: '5432'; expected another port than PGPORT"),
    ({"PGROOT": "pgdata"}, "PGROOT: 'pgdata'; expected an absolute path"),
    ({"PGDATA": "/"}, "PGDATA: '/'; expected an absolute path"),
    ({"PGVERSION": "9.6"}, "PGVERSION: '9.6'; expected one of 15, 17"),
    ({"PGHOST": "/tmp"}, "PGHOST: '/tmp'; expected /run/spilo, the image's own"),
    ({"PG_CONNECT_ADDRESS": "198.18.7.11"},
     "PG_CONNECT_ADDRESS: '198.18.7.11'; expected one host:port"),
    ({"RESTAPI_CONNECT_ADDRESS": "a:1,b:1"},
     "RESTAPI_CONNECT_ADDRESS: 'a:1,b:1'; expected one host:port"),
    ({"WATCHDOG": "on"}, "WATCHDOG: 'on'; expected off or required"),
    ({"WATCHDOG": "true"}, "WATCHDOG: 'true'; expected off or required"),
    ({"WATCHDOG": "Required"}, "WATCHDOG: 'Required'; expected off or required"),
    ({"SUPERVISE": "false"}, "SUPERVISE: 'false'; expected on or off"),
    ({"START_GATE": "gate"}, "START_GATE: 'gate'; expected an absolute path"),
    ({"SPILO_CONFIGURATION": "[1, 2]"},
     "SPILO_CONFIGURATION: a list; expected a YAML mapping with names as keys"),
    ({"SPILO_CONFIGURATION": "true"},
     "SPILO_CONFIGURATION: a bool; expected a YAML mapping with names as keys"),
    ({"SPILO_CONFIGURATION": ""},
     "SPILO_CONFIGURATION: a NoneType; expected a YAML mapping with names as keys"),
    ({"SPILO_CONFIGURATION": "1: 2"},
     "SPILO_CONFIGURATION: a dict; expected a YAML mapping with names as keys"),
    ({"SPILO_CONFIGURATION": "since: 2026-13-45"},
     "SPILO_CONFIGURATION: not YAML; expected a YAML mapping"),
    ({"SPILO_CONFIGURATION": "a: [1"},
     "SPILO_CONFIGURATION: not YAML (line 1, column 6); expected a YAML mapping"),
    ({"SPILO_CONFIGURATION": "watchdog: {mode: automatic}"},
     "SPILO_CONFIGURATION: a section 'watchdog'; expected WATCHDOG=off|required"),
    ({"SPILO_CONFIGURATION": "etcd: {host: localhost}"},
     "SPILO_CONFIGURATION: a section 'etcd'; expected one coordination store"),
    ({"SSL_CERTIFICATE_FILE": "/c/server.crt"},
     "SSL_PRIVATE_KEY_FILE: missing; expected a file, as another of SSL_* is given"),
    ({"SSL_PRIVATE_KEY_FILE": "/c/server.key"},
     "SSL_CERTIFICATE_FILE: missing; expected a file, as another of SSL_* is given"),
    ({**TLS, "SSL_PRIVATE_KEY_FILE": None},
     "SSL_PRIVATE_KEY_FILE: missing; expected a file, as another of SSL_* is given"),
    ({"SSL_RESTAPI_PRIVATE_KEY_FILE": "/c/rest.key"},
     "SSL_RESTAPI_CERTIFICATE_FILE: missing; "
     "expected a file, as another of SSL_RESTAPI_* is given"),
    ({**TLS, "SSL_CA_FILE": "/c/none.crt"},
     "SSL_CA_FILE: cannot read '/c/none.crt': No such file or directory; expected a readable file"),
    ({**TLS, "SSL_CA_FILE": "ca.crt"},
     "SSL_CA_FILE: no absolute path; expected the path of a file"),
    ({**TLS, "SSL_CRL_FILE": "/c/crl"},
     "SSL_CRL_FILE: unknown variable; expected one that this image knows; "
     "did you mean SSL_CA_FILE?"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "mistake"), BAD, ids=[str(changes) for changes, _ in BAD])
def test_a_bad_variable_is_one_mistake(changes, mistake):
    environment = {**GOOD, **changes}
    given = {name: value for name, value in environment.items() if value is not None}
    assert mistakes(given) == [mistake]


@pytest.mark.parametrize(("one", "other"), [("SUPERUSER", "STANDBY"), ("STANDBY", "ADMIN")])
def test_two_roles_of_one_name_are_two_mistakes(one, other):
    found = mistakes({**GOOD, **ADMIN, f"PGUSER_{one}": "same", f"PGUSER_{other}": "same"})
    expected = "'same'; expected another role than the others"
    assert found == [f"PGUSER_{one}: {expected}", f"PGUSER_{other}: {expected}"]


def test_all_mistakes_are_told_at_once():
    found = mistakes({"WATCHDOG": "yes", "PGPORT": "x", "ETCD_HOST": "a"})
    names = [mistake.partition(":")[0] for mistake in found]
    assert names == [
        "ETCD_HOST",
        "SCOPE",
        "ETCD3_HOSTS or ZOOKEEPER_HOSTS",
        "PGPASSWORD_SUPERUSER_FILE",
        "PGPASSWORD_STANDBY_FILE",
        "PGPORT",
        "WATCHDOG",
    ]


def test_what_belongs_to_others_is_not_ours_to_judge():
    """A shell's and Docker's own variables, and the image's."""
    others = {"PATH": "/bin", "HOSTNAME": "pg-1", "HOME": "/", "LANG": "C", "TZ": "UTC"}
    others |= {"TERM": "x", "AWS_REGION": "eu-central-1", "AWS_EC2_METADATA_DISABLED": "true"}
    others |= {"PATRONICTL_CONFIG_FILE": "/x", "PGHOST": "/run/spilo"}
    assert settings(**others) == settings()


def test_the_defaults_are_spilos():
    found = settings()
    assert (found.namespace, found.pgport, found.apiport) == ("/service/", 5432, 8008)
    assert found.pgdata == "/home/postgres/pgdata/pgroot/data"
    assert (found.superuser.username, found.standby.username) == ("postgres", "standby")
    assert (found.admin, found.restapi, found.watchdog) == (None, None, False)
    assert found.superuser.password == "superuser-secret"  # less the newline of `echo`
    assert settings(PGROOT="/data/root").pgdata == "/data/root/data"
    assert found.storage is None


def test_one_certificate_serves_both_unless_two_are_given():
    """Without any, the node signs its own, which nobody can verify."""
    own = settings()
    assert own.tls == own.restapi_tls
    assert own.tls.certificate == "/run/spilo/tls/server.crt"
    assert own.tls.ca is None
    one = settings(**TLS)
    assert (one.tls.ca, one.tls.certificate, one.tls.key) == tuple(TLS.values())
    assert one.restapi_tls == one.tls
    rest = {
        "SSL_RESTAPI_CERTIFICATE_FILE": "/c/rest.crt",
        "SSL_RESTAPI_PRIVATE_KEY_FILE": "/c/rest.key",
    }
    two = settings(**TLS, **rest)
    assert two.tls == one.tls
    assert (two.restapi_tls.certificate, two.restapi_tls.ca) == ("/c/rest.crt", None)


# --- secrets -----------------------------------------------------------------------------------

WRAPPED = "aws:kms:c2VjcmV0"


def test_a_wrapped_secret_may_stand_in_the_variable_or_in_the_file():
    """Nobody can read it in `docker inspect`."""
    given = {name: value for name, value in GOOD.items() if name != "PGPASSWORD_SUPERUSER_FILE"}
    plain = read_settings({**given, "PGPASSWORD_SUPERUSER": WRAPPED}, read, VERSIONS, unwrap)
    assert plain.superuser.password == "unwrapped-secret"
    assert settings(PGPASSWORD_STANDBY_FILE="/s/wrapped").standby.password == "unwrapped-secret"


def test_every_optional_secret_may_be_wrapped_in_its_variable():
    """The planted defect: an administrator, or keys, that are given and not seen."""
    found = settings(
        **S3,
        PGPASSWORD_ADMIN=WRAPPED,
        RESTAPI_USERNAME="patroni",
        RESTAPI_PASSWORD=WRAPPED,
        AWS_ACCESS_KEY_ID=WRAPPED,
        AWS_SECRET_ACCESS_KEY=WRAPPED,
        AWS_SESSION_TOKEN=WRAPPED,
    )
    assert found.admin is not None
    assert found.restapi is not None
    assert found.storage is not None
    keys = found.storage.endpoint.keys
    assert keys is not None
    assert {found.admin.password, found.restapi.password} == {"unwrapped-secret"}
    assert {keys.key, keys.secret, keys.token} == {"unwrapped-secret"}


def test_a_wrapped_password_without_its_user_is_half_a_login():
    assert mistakes({**GOOD, "RESTAPI_PASSWORD": WRAPPED}) == [
        "RESTAPI_USERNAME: missing; expected letters, digits, dots, dashes"
    ]


SECRETS = sorted(
    name for name in VARIABLES if name.endswith("_FILE") and not name.startswith("SSL_")
)
MARK = "\N{CURRENCY SIGN}"  # in every secret here, and in no message of ours


def complaint(environment, read, unwrap) -> str:
    """Return all that is told of an environment; nothing of a good one."""
    try:
        read_settings(environment, read, VERSIONS, unwrap)
    except ConfigurationError as error:
        return str(error)
    return ""


def test_all_secrets_are_known_here():
    assert len(SECRETS) == 7
    assert all(_is_secret(name) for name in SECRETS)


@settings_of_hypothesis(max_examples=200)
@given(
    name=st.sampled_from(SECRETS),
    place=st.sampled_from(["file", "variable", "path", "wrapped", "wrapped in the file"]),
    secret=st.text(st.characters(exclude_categories=["Cs"])).map(lambda text: MARK + text),
    opens=st.booleans(),
    others=st.sampled_from(
        [{}, S3, {**S3, **KEYS}, {**REST, **ADMIN}, {"SCOPE": "", "PGPORT": "x"}]
    ),
)
def test_no_mistake_ever_quotes_a_secret(name, place, secret, opens, others):
    """Wherever it stands, whatever is wrong with it, and whether or not KMS opens it."""
    environment = {**GOOD, **others, name: "/planted"}
    text = secret
    if place == "variable":
        environment[name.removesuffix("_FILE")] = secret
    elif place == "path":
        environment[name] = secret
    elif place == "wrapped":
        del environment[name]
        environment[name.removesuffix("_FILE")] = "aws:kms:" + secret
    elif place == "wrapped in the file":
        text = "aws:kms:" + secret

    def opened(_):
        if not opens:
            raise KeyServiceError("KMS: it is not yours")
        return secret

    told = complaint(environment, lambda path: text if path == "/planted" else read(path), opened)
    assert MARK not in told
    assert told or place not in ("variable", "path")


@given(before=st.text("{}[]:-&*!|>'\"%@`#,? \nab"), after=st.text("{}[]:-&*!|>'\"%@`#,? \nab"))
def test_no_mistake_quotes_the_overlay(before, after):
    """It may hold a password; a parser's own words quote what they stumble upon."""
    told = complaint({**GOOD, "SPILO_CONFIGURATION": f"{before}{MARK}{after}"}, read, unwrap)
    assert MARK not in told


# --- written and read back ---------------------------------------------------------------------


def test_a_file_is_its_owners_alone(tmp_path):
    """It holds the passwords, and may not be readable for even a moment."""
    path = tmp_path / "patroni.yml"
    path.write_text("from an earlier start")
    path.chmod(0o644)
    previous = os.umask(0)
    try:
        write(b"secret", path)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"secret"


def test_what_was_judged_is_read_back(tmp_path, monkeypatch):
    """A script that Patroni runs sees the same settings, without asking KMS again."""
    found = settings(**S3, **KEYS, **CLONE, **REST, **TLS)
    monkeypatch.setattr("settings.JUDGED", tmp_path / "settings")
    write(pickle.dumps(found), tmp_path / "settings")
    assert judged() == found


# --- documented --------------------------------------------------------------------------------

# What a variable needs beside it before it means anything.
BESIDE = {
    "BACKUP_": S3,
    "WAL": S3,
    "ARCHIVE_": S3,
    "BOOTSTRAP_": S3,
    "AWS_": S3,
    "CLONE_": {**S3, **CLONE},
}


@pytest.mark.parametrize("name", [name for name, (_, default) in DOCUMENTED.items() if default])
def test_documented_defaults_are_the_images_own(name):
    """To give a variable its documented default is to leave it out; without a required one: no."""
    default = DOCUMENTED[name][1]
    beside = next((given for start, given in BESIDE.items() if name.startswith(start)), {})
    environment = {**GOOD, **ADMIN, **beside}
    if default == REQUIRED:
        del environment[name]
        assert any(mistake.startswith(f"{name}: missing") for mistake in mistakes(environment))
    else:
        plain = read_settings(environment, read, VERSIONS)
        assert read_settings({**environment, name: default}, read, VERSIONS) == plain
