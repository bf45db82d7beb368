"""What the environment says, judged once and read back by whatever runs later on the node."""

import os
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import kms
from certificates import Certificate, read_certificates
from environment import NAME, PATH, ROLE, STORES, ConfigurationError, Login, Reader
from storage import Storage, read_storage

JUDGED = Path("/run/spilo/settings")
POSTGRESQL_ROOT = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Store:
    """The coordination store; `kind` is Patroni's name of it."""

    kind: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says, checked; equal on all nodes of a cluster."""

    scope: str
    namespace: str
    dcs: Store
    superuser: Login
    standby: Login
    admin: Login | None
    restapi: Login | None
    pgport: int
    apiport: int
    pgdata: str
    pgversion: str
    pg_connect_address: str | None
    restapi_connect_address: str | None
    watchdog: bool
    tls: Certificate
    restapi_tls: Certificate
    storage: Storage | None
    overlay: Mapping[str, object]


def read_settings(
    environment: Mapping[str, str],
    read: Callable[[str], str] = lambda path: Path(path).read_text(),
    versions: frozenset[str] | None = None,
    unwrap: Callable[[str], str] = kms.unwrap,
) -> Settings:
    """Return what `environment` says.

    Args:
        environment: the container's.
        read: returns the text of a file.
        versions: the major versions of PostgreSQL that are installed; None asks the file system.
        unwrap: returns the secret in `aws:kms:...`.

    Raises:
        ConfigurationError: with all mistakes.
    """
    reader = Reader(environment, read, unwrap)
    reader.refuse_unknown()
    scope = reader.text("SCOPE", NAME, "a name like my-cluster")
    tls, restapi_tls = read_certificates(reader)
    settings = Settings(
        scope=scope,
        namespace=reader.text("NAMESPACE", PATH + "/?", "a path like /service/", "/service/"),
        dcs=_store(reader),
        superuser=_login(reader, "SUPERUSER", "postgres"),
        standby=_login(reader, "STANDBY", "standby"),
        admin=_admin(reader),
        restapi=_restapi(reader),
        pgport=reader.port("PGPORT", 5432),
        apiport=reader.port("APIPORT", 8008),
        pgdata=_pgdata(reader),
        pgversion=_version(reader, _installed() if versions is None else versions),
        pg_connect_address=reader.address("PG_CONNECT_ADDRESS"),
        restapi_connect_address=reader.address("RESTAPI_CONNECT_ADDRESS"),
        watchdog=reader.text("WATCHDOG", "off|required", "off or required", "off") == "required",
        tls=tls,
        restapi_tls=restapi_tls,
        storage=read_storage(reader, environment, scope),
        overlay=reader.overlay("SPILO_CONFIGURATION"),
    )
    reader.text("SUPERVISE", "on|off", "on or off", "on")
    reader.text("START_GATE", PATH, "an absolute path", "/absent")
    _check_together(reader, settings)
    if reader.mistakes:
        raise ConfigurationError(reader.mistakes)
    return settings


def judged() -> Settings:
    """Return what configure.py found in the environment when the node started.

    Scripts that Patroni runs have variables of its own in theirs; and no secret is unwrapped twice.
    """
    found = pickle.loads(JUDGED.read_bytes())  # noqa: S301 - our own file, readable by us alone
    assert isinstance(found, Settings)
    return found


def write(content: bytes, path: Path) -> None:
    """Write the file anew, readable by its owner alone from its first byte on."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _pgdata(reader: Reader) -> str:
    pgroot = reader.text("PGROOT", PATH, "an absolute path", "/home/postgres/pgdata/pgroot")
    if reader.given("PGDATA"):
        return reader.text("PGDATA", PATH, "an absolute path")
    return f"{pgroot}/data"


def _store(reader: Reader) -> Store:
    kinds = {"ETCD3_HOSTS": "etcd3", "ZOOKEEPER_HOSTS": "zookeeper"}
    given = [name for name in kinds if reader.given(name)]
    if len(given) != 1:
        found = "both given" if given else "missing"
        reader.refuse("ETCD3_HOSTS or ZOOKEEPER_HOSTS", found, "exactly one coordination store")
        return Store("etcd3", ())
    hosts = reader.addresses(given[0], "host:port,host:port,...")
    return Store(kinds[given[0]], hosts)


def _login(reader: Reader, role: str, default: str) -> Login:
    username = reader.text(f"PGUSER_{role}", ROLE, "a role name in lower case", default)
    return Login(username, reader.password(f"PGPASSWORD_{role}_FILE"))


def _admin(reader: Reader) -> Login | None:
    if reader.is_secret_given("PGPASSWORD_ADMIN_FILE"):
        return _login(reader, "ADMIN", "admin")
    return None


def _restapi(reader: Reader) -> Login | None:
    pair = ("RESTAPI_USERNAME", "RESTAPI_PASSWORD_FILE")
    if not reader.given(pair[0]) and not reader.is_secret_given(pair[1]):
        return None
    # The colon parts the two in HTTP's basic authentication.
    username = reader.text(pair[0], r"[A-Za-z0-9_.-]+", "letters, digits, dots, dashes")
    return Login(username, reader.password(pair[1]))


def _version(reader: Reader, installed: frozenset[str]) -> str:
    known = sorted(installed)
    expected = f"one of {', '.join(known)}"
    return reader.text("PGVERSION", "|".join(known), expected, max(known, default=None))


def _installed() -> frozenset[str]:
    return frozenset(path.parent.parent.name for path in POSTGRESQL_ROOT.glob("*/bin/postgres"))


def _check_together(reader: Reader, settings: Settings) -> None:
    """Refuse what is right alone and wrong together."""
    logins = {"PGUSER_SUPERUSER": settings.superuser, "PGUSER_STANDBY": settings.standby}
    if settings.admin is not None:
        logins["PGUSER_ADMIN"] = settings.admin
    elif reader.given("PGUSER_ADMIN"):
        reader.refuse("PGPASSWORD_ADMIN_FILE", "missing", "a file, as PGUSER_ADMIN is given")
    names = [login.username for login in logins.values()]
    for variable, login in logins.items():
        if names.count(login.username) > 1:
            reader.refuse(variable, repr(login.username), "another role than the others")
    if settings.pgport == settings.apiport:
        reader.refuse("APIPORT", repr(str(settings.apiport)), "another port than PGPORT")
    reader.text("PGHOST", re.escape("/run/spilo"), "/run/spilo, the image's own", "/run/spilo")
    if "watchdog" in settings.overlay:
        reader.refuse("SPILO_CONFIGURATION", "a section 'watchdog'", "WATCHDOG=off|required")
    for store in sorted(STORES & settings.overlay.keys() - {settings.dcs.kind}):
        reader.refuse("SPILO_CONFIGURATION", f"a section {store!r}", "one coordination store")
