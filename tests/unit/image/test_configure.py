"""image/spilo/configure.py and its templates: what a node's programs are told."""

import os
import stat
from pathlib import Path

import configure
import pytest
import yaml
from certificates import Certificate, seal_of
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from settings import read_settings

from tests.unit.image.node import (
    ADMIN,
    CLONE,
    FILES,
    GOOD,
    HOST,
    KEYS,
    REST,
    S3,
    TLS,
    VERSIONS,
    read,
    settings,
)

PYTHON = "/opt/patroni/bin/python /usr/local/lib/spilo"


def rendered(host=HOST, **changes):
    return configure.render(settings(**changes), host)


def flat(value, path=""):
    """Return a tree's leaves by their dotted path; a list is a leaf."""
    if not isinstance(value, dict):
        return {path: value}
    found: dict[str, object] = {}
    for key, below in value.items():
        found |= flat(below, f"{path}.{key}" if path else key)
    return found


def added(**changes):
    """Return the leaves that these variables add or change; they may take none away."""
    plain, found = flat(rendered()), flat(rendered(**changes))
    assert plain.keys() <= found.keys()
    return {path: value for path, value in found.items() if value != plain.get(path)}


def test_golden():
    """The whole of what a plain node gets."""
    assert rendered() == {
        "scope": "my-cluster",
        "namespace": "/service/",
        "name": "pg-1",
        "log": {"level": "INFO"},
        "restapi": {
            "listen": "0.0.0.0:8008",
            "connect_address": "198.18.7.11:8008",
            "certfile": "/run/spilo/tls/server.crt",
            "keyfile": "/run/spilo/tls/server.key",
            "verify_client": "none",
        },
        "ctl": {"insecure": True},
        "etcd3": {"hosts": ["198.18.7.2:2379", "198.18.7.3:2379"]},
        "bootstrap": {
            "dcs": {
                "ttl": 30,
                "loop_wait": 10,
                "retry_timeout": 10,
                "maximum_lag_on_failover": 1048576,
                "postgresql": {
                    "use_pg_rewind": True,
                    "use_slots": True,
                    "parameters": {
                        "wal_level": "replica",
                        "hot_standby": "on",
                        "wal_log_hints": "on",
                        "track_commit_timestamp": "on",
                        "max_connections": 100,
                        "max_wal_senders": 10,
                        "max_replication_slots": 10,
                        "wal_keep_size": "128MB",
                        "shared_buffers": "32MB",
                        "password_encryption": "scram-sha-256",
                        "tcp_keepalives_idle": 5,
                        "tcp_keepalives_interval": 2,
                        "tcp_keepalives_count": 3,
                        "tcp_user_timeout": "10s",
                        "wal_sender_timeout": "10s",
                        "wal_receiver_timeout": "10s",
                        "wal_receiver_status_interval": "2s",
                        "wal_retrieve_retry_interval": "1s",
                        "logging_collector": "off",
                        "log_destination": "stderr",
                        "log_checkpoints": "off",
                        "log_line_prefix": "%m [%p] %q%u@%d ",
                    },
                },
            },
            "initdb": [
                {"encoding": "UTF8"},
                {"locale": "C.UTF-8"},
                "data-checksums",
                {"auth-local": "peer"},
                {"auth-host": "scram-sha-256"},
                "no-sync",
            ],
        },
        "postgresql": {
            "listen": "0.0.0.0:5432",
            "connect_address": "198.18.7.11:5432",
            "data_dir": "/home/postgres/pgdata/pgroot/data",
            "bin_dir": "/usr/lib/postgresql/17/bin",
            "pgpass": "/run/spilo/pgpass",
            "use_unix_socket": True,
            "use_unix_socket_repl": True,
            "parameters": {
                "unix_socket_directories": "/run/spilo",
                "ssl": "on",
                "ssl_cert_file": "/run/spilo/tls/server.crt",
                "ssl_key_file": "/run/spilo/tls/server.key",
                "ssl_min_protocol_version": "TLSv1.2",
            },
            "authentication": {
                "superuser": {
                    "username": "postgres",
                    "password": "superuser-secret",
                    "sslmode": "require",
                },
                "replication": {
                    "username": "standby",
                    "password": "standby-secret-1",
                    "sslmode": "require",
                },
            },
            "pg_ident": ["spilo postgres postgres", "spilo postgres standby"],
            "pg_hba": [
                "local all all peer map=spilo",
                "local replication all peer map=spilo",
                "hostssl replication standby all scram-sha-256",
                "hostssl all all all scram-sha-256",
            ],
            "basebackup": {"checkpoint": "fast"},
            "remove_data_directory_on_rewind_failure": True,
            "remove_data_directory_on_diverged_timelines": True,
        },
        "watchdog": {"mode": "off"},
    }


@pytest.mark.parametrize(
    ("changes", "path", "value"),
    [
        ({"NAMESPACE": "/other"}, ["namespace"], "/other"),
        ({"PGPORT": "6432"}, ["postgresql", "connect_address"], "198.18.7.11:6432"),
        ({"APIPORT": "9008"}, ["restapi", "listen"], "0.0.0.0:9008"),
        ({"PG_CONNECT_ADDRESS": "db.example:1"}, ["postgresql", "connect_address"], "db.example:1"),
        ({"RESTAPI_CONNECT_ADDRESS": "a:1"}, ["restapi", "connect_address"], "a:1"),
        (REST, ["restapi", "authentication"],
         {"username": "patroni", "password": "rest: 'secret' #1"}),
        (ADMIN, ["bootstrap", "post_init"],
         "/opt/patroni/bin/python /usr/local/lib/spilo/post_init.py"),
        ({"PGUSER_SUPERUSER": "root"}, ["postgresql", "pg_ident", 0], "spilo postgres root"),
        ({"PGUSER_STANDBY": "rep"}, ["postgresql", "pg_hba", 2],
         "hostssl replication rep all scram-sha-256"),
        ({"WATCHDOG": "required"}, ["watchdog"],
         {"mode": "required", "driver": "testing", "device": "/run/spilo/watchdog",
          "safety_margin": 5}),
    ],
)  # fmt: skip
def test_a_variable_reaches_its_place(changes, path, value):
    found = rendered(**changes)
    for key in path:
        found = found[key]
    assert found == value


def test_s3_adds_archive_restore_and_replicas_from_it():
    """The whole of what a bucket changes."""
    pgbackrest = "pgbackrest --config=/run/spilo/pgbackrest.conf --stanza=my-cluster"
    assert added(**S3, **KEYS, ARCHIVE_TIMEOUT="7", WAL_RESTORE_TIMEOUT="3") == {
        "bootstrap.dcs.postgresql.parameters.archive_mode": "on",
        "bootstrap.dcs.postgresql.parameters.archive_timeout": "7s",
        "bootstrap.post_init": f"{PYTHON}/post_init.py",
        "postgresql.parameters.archive_command": f'{pgbackrest} archive-push "%p"',
        "postgresql.parameters.restore_command": (
            "timeout 1 bash -c '</dev/tcp/s3.eu-central-1.amazonaws.com/443' && "
            f'timeout 3 {pgbackrest} archive-get %f "%p"'
        ),
        "postgresql.create_replica_methods": ["pgbackrest", "basebackup"],
        "postgresql.pgbackrest.command": f"{PYTHON}/replica.py",
        "postgresql.pgbackrest.no_leader": True,
    }


@pytest.mark.parametrize("changes", [CLONE, {"BOOTSTRAP_FROM_S3": "true"}])
def test_a_cluster_that_exists_elsewhere_is_founded_from_s3(changes):
    plain, found = added(**S3), added(**S3, **changes)
    assert {path: value for path, value in found.items() if value != plain.get(path)} == {
        "bootstrap.method": "s3",
        "bootstrap.s3.command": f"{PYTHON}/found.py",
        "bootstrap.s3.no_params": True,
    }


def test_given_certificates_are_verified_everywhere():
    """With a CA peers know whom they talk to; the REST interface asks nobody for a certificate."""
    assert added(**TLS) == {
        "restapi.certfile": "/c/server.crt",
        "restapi.keyfile": "/c/server.key",
        "restapi.cafile": "/c/ca.crt",
        "ctl.insecure": False,
        "postgresql.parameters.ssl_cert_file": "/c/server.crt",
        "postgresql.parameters.ssl_key_file": "/c/server.key",
        "postgresql.authentication.superuser.sslmode": "verify-full",
        "postgresql.authentication.superuser.sslrootcert": "/c/ca.crt",
        "postgresql.authentication.replication.sslmode": "verify-full",
        "postgresql.authentication.replication.sslrootcert": "/c/ca.crt",
    }


def test_without_their_ca_given_certificates_are_not_verified():
    without = {name: value for name, value in TLS.items() if name != "SSL_CA_FILE"}
    assert added(**without) == {
        "restapi.certfile": "/c/server.crt",
        "restapi.keyfile": "/c/server.key",
        "postgresql.parameters.ssl_cert_file": "/c/server.crt",
        "postgresql.parameters.ssl_key_file": "/c/server.key",
    }


PARTS = (
    S3,
    {**S3, **KEYS},
    {**S3, **CLONE},
    {**S3, "BOOTSTRAP_FROM_S3": "true"},
    TLS,
    REST,
    ADMIN,
    {"WATCHDOG": "required"},
    {"PGUSER_STANDBY": "rep", "PGUSER_SUPERUSER": "root", "PGPORT": "6432"},
)


@settings_of_hypothesis(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(PARTS), unique_by=id))
def test_nothing_is_ever_let_in_without_tls_or_password(parts):
    """Whatever is given together: no `host` and no `hostnossl` line, nobody trusted, TLS on."""
    changes = {name: value for part in parts for name, value in part.items()}
    if "CLONE_SCOPE" in changes:
        changes.pop("BOOTSTRAP_FROM_S3", None)
    found = rendered(**changes)["postgresql"]
    for line in found["pg_hba"]:
        kind, *_, method = (word for word in line.split() if not word.startswith("map="))
        assert (kind, method) in (("local", "peer"), ("hostssl", "scram-sha-256"))
    assert found["parameters"]["ssl"] == "on"
    for login in found["authentication"].values():
        assert login["sslmode"] in ("require", "verify-full")


def test_zookeeper_takes_the_place_of_etcd():
    environment = {name: value for name, value in GOOD.items() if name != "ETCD3_HOSTS"}
    found = read_settings({**environment, "ZOOKEEPER_HOSTS": "a:2181"}, read, VERSIONS)
    configuration = configure.render(found, HOST)
    assert configuration["zookeeper"] == {"hosts": ["a:2181"]}
    assert "etcd3" not in configuration


def test_nodes_differ_by_name_and_address_alone():
    """One environment serves all nodes of a cluster, whatever instance they run on."""
    other = configure.Host("pg-2", "198.18.7.12", HOST.bin_dir)
    text = yaml.safe_dump(rendered())
    moved = text.replace("pg-1", "pg-2").replace("198.18.7.11", "198.18.7.12")
    assert moved == yaml.safe_dump(rendered(other))
    assert text.count("pg-1") == 1
    assert text.count("198.18.7.11") == 2


def test_nobody_is_trusted_and_no_default_password_is_left():
    text = yaml.safe_dump(rendered(**ADMIN, **REST, WATCHDOG="required"))
    assert "trust" not in text
    assert "zalando" not in text
    assert FILES["/s/admin"] not in text  # post_init.py reads the file itself
    assert text.count("password:") == 3


def test_the_overlay_is_merged_deep_and_lists_are_replaced_whole():
    overlay = """
        bootstrap: {dcs: {ttl: 20, synchronous_mode: quorum}}
        postgresql: {pg_hba: [local all all peer map=spilo]}
        restapi: plain
        tags: {nofailover: true}
    """
    plain, found = rendered(), rendered(SPILO_CONFIGURATION=overlay)
    assert found["bootstrap"]["dcs"]["ttl"] == 20
    assert found["bootstrap"]["dcs"]["synchronous_mode"] == "quorum"
    assert found["bootstrap"]["dcs"]["postgresql"] == plain["bootstrap"]["dcs"]["postgresql"]
    assert found["postgresql"]["pg_hba"] == ["local all all peer map=spilo"]
    assert found["postgresql"]["authentication"] == plain["postgresql"]["authentication"]
    assert found["restapi"] == "plain"
    assert found["tags"] == {"nofailover": True}


@pytest.mark.parametrize(
    ("below", "above", "result"),
    [
        ({}, {}, {}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": 2}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_merging(below, above, result):
    before = yaml.safe_dump(below)
    assert configure.merged(below, above) == result
    assert yaml.safe_dump(below) == before


# --- pgBackRest's configuration ----------------------------------------------------------------


def stored(**changes):
    """Return the lines of the cluster's own configuration and of its source's, less comments."""
    found = settings(**S3, **changes)
    assert found.storage is not None
    places = [found.storage.own] + ([found.storage.clone.source] if found.storage.clone else [])
    texts = [configure.render_store(found, place) for place in places]
    return [[x for x in text.splitlines() if x and not x.startswith("#")] for text in texts]


AT_AWS = [
    "[global]",
    "repo1-type=s3",
    "repo1-path=/spilo/my-cluster",
    "repo1-s3-bucket=backups",
    "repo1-s3-endpoint=s3.eu-central-1.amazonaws.com",
    "repo1-storage-port=443",
    "repo1-s3-region=eu-central-1",
    "repo1-s3-uri-style=host",
    "repo1-s3-key-type=auto",
    "repo1-s3-kms-key-id=alias/backups",
    "repo1-retention-full=5",
    "repo1-bundle=y",
    "start-fast=y",
    "compress-type=zst",
    "process-max=2",
    "lock-path=/run/spilo/lock",
    "spool-path=/home/postgres/pgdata/pgroot/spool",
    "log-level-file=off",
    "log-level-console=warn",
    "log-level-stderr=off",
    "io-timeout=10",
    "archive-timeout=60",
    "[global:archive-push]",
    "archive-async=y",
    "[global:restore]",
    "process-max=4",
    "[my-cluster]",
    "pg1-path=/home/postgres/pgdata/pgroot/data",
    "pg1-port=5432",
    "pg1-socket-path=/run/spilo",
    "pg1-user=postgres",
]


def test_golden_store_with_the_machines_role():
    """No key is written where the role has some."""
    assert stored() == [AT_AWS]


def test_golden_store_elsewhere_with_keys():
    """What another endpoint and given keys change, and nothing else."""
    (found,) = stored(
        **KEYS,
        AWS_SESSION_TOKEN_FILE="/s/s3-token",
        AWS_ENDPOINT="https://minio.example:9000",
        AWS_S3_FORCE_PATH_STYLE="true",
        AWS_CA_BUNDLE="/c/ca.crt",
        BACKUP_NUM_TO_RETAIN="2",
    )
    assert sorted(set(found) - set(AT_AWS)) == [
        "repo1-retention-full=2",
        "repo1-s3-endpoint=minio.example",
        "repo1-s3-key-secret=s3/secret+key=",
        "repo1-s3-key=AKIDEXAMPLE",
        "repo1-s3-token=token==",
        "repo1-s3-uri-style=path",
        "repo1-storage-ca-file=/c/ca.crt",
        "repo1-storage-port=9000",
    ]
    assert sorted(set(AT_AWS) - set(found)) == [
        "repo1-retention-full=5",
        "repo1-s3-endpoint=s3.eu-central-1.amazonaws.com",
        "repo1-s3-key-type=auto",
        "repo1-s3-uri-style=host",
        "repo1-storage-port=443",
    ]


def test_a_clones_source_differs_by_its_place_alone():
    """Same keys, same data directory; another path, bucket and stanza."""
    own, source = stored(**KEYS, **CLONE)
    assert [pair for pair in zip(own, source, strict=True) if pair[0] != pair[1]] == [
        ("repo1-path=/spilo/my-cluster", "repo1-path=/spilo/source"),
        ("repo1-s3-bucket=backups", "repo1-s3-bucket=others"),
        ("[my-cluster]", "[source]"),
    ]


# --- the program -------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Return what runs main() with an environment, in a container that lies in `tmp_path`."""
    own = Certificate(
        str(tmp_path / "tls" / "server.crt"), str(tmp_path / "tls" / "server.key"), None
    )
    for module in ("certificates", "configure"):
        monkeypatch.setattr(f"{module}.SELF_SIGNED", own)
    monkeypatch.setattr("certificates.FOLDER", tmp_path / "tls")
    for name, file in (
        ("CONFIG", "patroni.yml"),
        ("OWN_STORE", "pgbackrest.conf"),
        ("SOURCE_STORE", "clone.conf"),
        ("JUDGED", "settings"),
        ("SEAL", "seal"),
    ):
        monkeypatch.setattr(f"configure.{name}", tmp_path / file)
    monkeypatch.setattr("configure.this_host", lambda _: HOST)
    monkeypatch.setattr("settings._installed", lambda: VERSIONS)
    (tmp_path / "secrets").mkdir()
    for path, content in FILES.items():
        (tmp_path / "secrets" / Path(path).name).write_text(content)

    def run(environment):
        for name in os.environ:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        for name, value in environment.items():
            is_file = name.endswith("_FILE")
            monkeypatch.setenv(
                name, str(tmp_path / "secrets" / Path(value).name) if is_file else value
            )
        previous = os.umask(0)
        try:
            code = configure.main()
        finally:
            os.umask(previous)
        return code, {path.name: path for path in tmp_path.iterdir() if path.is_file()}

    return run


def test_all_that_holds_a_secret_is_its_owners_alone(start, capsys):
    """With a clone: Patroni's, both of pgBackRest's, and what later scripts read."""
    code, files = start({**GOOD, **S3, **KEYS, **CLONE, **REST})
    assert (code, capsys.readouterr().err) == (0, "")
    assert sorted(files) == ["clone.conf", "patroni.yml", "pgbackrest.conf", "seal", "settings"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    assert yaml.safe_load(files["patroni.yml"].read_text())["scope"] == "my-cluster"
    assert "[source]" in files["clone.conf"].read_text()


def test_a_plain_node_has_patronis_file_alone_and_signs_its_own(start, tmp_path):
    code, files = start(GOOD)
    assert (code, sorted(files)) == (0, ["patroni.yml", "seal", "settings"])
    pair = (tmp_path / "tls" / "server.crt", tmp_path / "tls" / "server.key")
    assert "BEGIN CERTIFICATE" in pair[0].read_text()
    assert files["seal"].read_text() == seal_of(pair)


def test_the_seal_is_of_the_certificates_at_this_start(start, tmp_path):
    """Whatever it was at an earlier one."""
    start({**GOOD, **TLS})
    given = [tmp_path / "secrets" / Path(TLS[name]).name for name in TLS]
    before = (tmp_path / "seal").read_text()
    given[0].write_text("renewed")
    start({**GOOD, **TLS})
    assert (tmp_path / "seal").read_text() != before
    assert sorted((tmp_path / "seal").read_text().split()) == sorted(seal_of(given).split())


def test_a_node_with_given_certificates_signs_nothing(start, tmp_path):
    assert start({**GOOD, **TLS})[0] == 0
    assert not (tmp_path / "tls").exists()


def test_a_bad_environment_ends_with_2_and_writes_nothing(start, capsys):
    """Each mistake has a line of its own."""
    code, files = start({**GOOD, **S3, "WATCHDOG": "yes", "CLONE_SCOPE": "source"})
    assert (code, files) == (2, {})
    assert capsys.readouterr().err.splitlines() == [
        "configure: WATCHDOG: 'yes'; expected off or required",
        "configure: CLONE_WAL_S3_BUCKET: missing; expected the bucket that the source archives to",
    ]
