"""image/spilo/configure.py: environment in, Patroni's configuration or every mistake out."""

import importlib.util
import os
import stat
import sys
from pathlib import Path

import pytest
import yaml

SCRIPT = Path(__file__).parents[2] / "image" / "spilo" / "configure.py"
SPEC = importlib.util.spec_from_file_location("image_spilo_configure", SCRIPT)
assert SPEC is not None
assert SPEC.loader is not None
configure = importlib.util.module_from_spec(SPEC)
# Registered, for the dataclasses module looks a class's module up by its name.
sys.modules[SPEC.name] = configure
SPEC.loader.exec_module(configure)

VERSIONS = frozenset({"15", "17"})
PASSWORDS = {
    "/s/super": "superuser-secret\n",
    "/s/standby": "standby-secret-1",
    "/s/admin": "admin-secret-12",
    "/s/rest": "rest: 'secret' #1",
    "/s/empty": "",
    "/s/newline": "\n",
    "/s/short": "elevenchars",
    "/s/zalando": "zalando",
    "/s/cola": "cola\n",
    "/s/lines": "two lines of\npassword",
}
GOOD = {
    "SCOPE": "my-cluster",
    "ETCD3_HOSTS": "198.18.7.2:2379,198.18.7.3:2379",
    "PGPASSWORD_SUPERUSER_FILE": "/s/super",
    "PGPASSWORD_STANDBY_FILE": "/s/standby",
}
ADMIN = {"PGPASSWORD_ADMIN_FILE": "/s/admin"}
REST = {"RESTAPI_USERNAME": "patroni", "RESTAPI_PASSWORD_FILE": "/s/rest"}
HOST = configure.Host("pg-1", "198.18.7.11", "/usr/lib/postgresql/17/bin")


def read(path):
    if path not in PASSWORDS:
        raise FileNotFoundError(2, "No such file or directory")
    return PASSWORDS[path]


def settings(**changes):
    return configure.read_settings({**GOOD, **changes}, read, VERSIONS)


def rendered(host=HOST, **changes):
    return configure.render(settings(**changes), host)


def mistakes(environment):
    with pytest.raises(configure.ConfigurationError) as caught:
        configure.read_settings(environment, read, VERSIONS)
    return caught.value.mistakes


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
     "ALLOW_NOSSL: unknown variable; expected one that this image knows"),
    ({"CLONE_SCOPE": "other"},
     "CLONE_SCOPE: unknown variable; expected one that this image knows"),
    ({"WATCHDOGS": "off"},
     "WATCHDOGS: unknown variable; expected one that this image knows; did you mean WATCHDOG?"),
    ({"SCOP": "a"},
     "SCOP: unknown variable; expected one that this image knows; did you mean SCOPE?"),
    ({"PGSSLMODE": "disable"}, "PGSSLMODE: unknown variable; expected one that this image knows"),
    ({"PGPASSWORD_STANDBY": "standby"},
     "PGPASSWORD_STANDBY: a password, for all to see in `docker inspect`; "
     "expected PGPASSWORD_STANDBY_FILE, the path of a file"),
    ({"PGPASSWORD_SUPERUSER_FILE": None},
     "PGPASSWORD_SUPERUSER_FILE: missing; expected the path of a file that holds the password"),
    ({"PGPASSWORD_STANDBY_FILE": "/s/none"},
     "PGPASSWORD_STANDBY_FILE: cannot read '/s/none': No such file or directory; "
     "expected a readable file"),
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
     "RESTAPI_PASSWORD_FILE: missing; expected the path of a file that holds the password"),
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
    ({"SPILO_CONFIGURATION": "watchdog: {mode: automatic}"},
     "SPILO_CONFIGURATION: a section 'watchdog'; expected WATCHDOG=off|required"),
    ({"SPILO_CONFIGURATION": "etcd: {host: localhost}"},
     "SPILO_CONFIGURATION: a section 'etcd'; expected one coordination store"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "mistake"), BAD, ids=[str(changes) for changes, _ in BAD])
def test_a_bad_variable_is_one_mistake(changes, mistake):
    environment = {**GOOD, **changes}
    given = {name: value for name, value in environment.items() if value is not None}
    assert mistakes(given) == [mistake]


def test_broken_yaml_is_told_with_its_place():
    (mistake,) = mistakes({**GOOD, "SPILO_CONFIGURATION": "a: [1"})
    assert mistake.startswith("SPILO_CONFIGURATION: not YAML (")
    assert mistake.endswith("); expected a YAML mapping")
    assert "line 1" in mistake
    assert "\n" not in mistake


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


@pytest.mark.parametrize("name", ["/s/short", "/s/zalando", "/s/lines"])
def test_no_mistake_quotes_a_password(name):
    found = "\n".join(mistakes({**GOOD, "PGPASSWORD_STANDBY_FILE": name}))
    assert PASSWORDS[name] not in found


def test_what_belongs_to_others_is_not_ours_to_judge():
    """A shell's and Docker's own variables, and the image's."""
    others = {
        "PATH": "/bin",
        "HOSTNAME": "pg-1",
        "HOME": "/",
        "LANG": "C",
        "TZ": "UTC",
        "TERM": "x",
    }
    assert (
        settings(**others, PATRONICTL_CONFIG_FILE="/x", PGHOST="/run/spilo").scope == "my-cluster"
    )


def test_the_defaults_are_spilos():
    found = settings()
    assert (found.namespace, found.pgport, found.apiport) == ("/service/", 5432, 8008)
    assert found.pgdata == "/home/postgres/pgdata/pgroot/data"
    assert (found.superuser.username, found.standby.username) == ("postgres", "standby")
    assert (found.admin, found.restapi, found.watchdog) == (None, None, False)
    assert found.superuser.password == "superuser-secret"  # less the newline of `echo`
    assert settings(PGROOT="/data/root").pgdata == "/data/root/data"


def test_golden():
    """The whole of what a plain node gets."""
    assert rendered() == {
        "scope": "my-cluster",
        "namespace": "/service/",
        "name": "pg-1",
        "log": {"level": "INFO"},
        "restapi": {"listen": "0.0.0.0:8008", "connect_address": "198.18.7.11:8008"},
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
            "parameters": {"unix_socket_directories": "/run/spilo"},
            "authentication": {
                "superuser": {"username": "postgres", "password": "superuser-secret"},
                "replication": {"username": "standby", "password": "standby-secret-1"},
            },
            "pg_ident": ["spilo postgres postgres", "spilo postgres standby"],
            "pg_hba": [
                "local all all peer map=spilo",
                "local replication all peer map=spilo",
                "host replication standby all scram-sha-256",
                "host all all all scram-sha-256",
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
         "host replication rep all scram-sha-256"),
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


def test_zookeeper_takes_the_place_of_etcd():
    environment = {name: value for name, value in GOOD.items() if name != "ETCD3_HOSTS"}
    found = configure.read_settings({**environment, "ZOOKEEPER_HOSTS": "a:2181"}, read, VERSIONS)
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
    assert PASSWORDS["/s/admin"] not in text  # post_init.py reads the file itself
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


def test_the_file_is_the_owners_alone(tmp_path):
    """It holds the passwords, and may not be readable for even a moment."""
    path = tmp_path / "patroni.yml"
    path.write_text("from an earlier start")
    path.chmod(0o644)
    previous = os.umask(0)
    try:
        configure.write(rendered(**REST), path)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert yaml.safe_load(path.read_text()) == rendered(**REST)
