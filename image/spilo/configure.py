"""Renders Patroni's configuration from environment variables with Spilo's names.

All of the environment is judged before anything is written; exit 2 lists every mistake. Where Spilo
guesses, this refuses: no coordination store of its own, no default password, no variable that looks
meant for us but is not known.
"""

import difflib
import fcntl
import ipaddress
import os
import re
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2
import yaml

CONFIG = Path("/run/spilo/patroni.yml")
TEMPLATE = Path(__file__).with_name("patroni.yml.j2")
POSTGRESQL_ROOT = Path("/usr/lib/postgresql")

SHORTEST_PASSWORD = 12
SPILO_PASSWORDS = frozenset({"zalando", "standby", "admin", "cola"})
CLOSE = 0.75  # of difflib's 1.0: how alike two names are for one to be a slip of the other
SIOCGIFADDR = 0x8915  # linux/sockios.h: the IPv4 address of an interface

# fmt: off
VARIABLES = frozenset({
    "SCOPE", "NAMESPACE", "ETCD3_HOSTS", "ZOOKEEPER_HOSTS",
    "PGUSER_SUPERUSER", "PGPASSWORD_SUPERUSER_FILE",
    "PGUSER_STANDBY", "PGPASSWORD_STANDBY_FILE",
    "PGUSER_ADMIN", "PGPASSWORD_ADMIN_FILE",
    "RESTAPI_USERNAME", "RESTAPI_PASSWORD_FILE",
    "PGPORT", "APIPORT", "PG_CONNECT_ADDRESS", "RESTAPI_CONNECT_ADDRESS",
    "PGROOT", "PGDATA", "PGVERSION", "PGHOST",
    "SPILO_CONFIGURATION", "WATCHDOG", "SUPERVISE", "START_GATE",
})
# Beginnings of the names that Spilo, Patroni or libpq would act upon. An unknown name among them is
# a typing error, or something this image does not do: neither may pass in silence.
PREFIXES = (
    "SCOPE", "NAMESPACE", "ETCD", "ZOOKEEPER", "CONSUL_", "EXHIBITOR_", "KUBERNETES_",
    "PG", "APIPORT", "RESTAPI", "SPILO_", "PATRONI_", "WATCHDOG", "SUPERVISE", "START_GATE",
    "ALLOW_NOSSL", "SSL_CERTIFICATE", "SSL_PRIVATE_KEY", "SSL_CA", "SSL_CRL", "SSL_RESTAPI_",
    "USE_", "WAL_", "WALE_", "WALG_", "CLONE_", "STANDBY_", "BACKUP_",
    "LOG_S3_", "LOG_SHIP_", "CALLBACK_SCRIPT",
)
# fmt: on
# Why a name is refused, where "unknown" would not help.
REFUSALS = {
    "ETCD_": "the v2 API; use ETCD3_HOSTS",
    "CONSUL_": "a store that this image does not know; use ETCD3_HOSTS or ZOOKEEPER_HOSTS",
    "EXHIBITOR_": "asks a service for the servers; use ZOOKEEPER_HOSTS and name them",
    "KUBERNETES_": "a store that this image does not know; use ETCD3_HOSTS or ZOOKEEPER_HOSTS",
    "PATRONI_": "would override the rendered file in silence; use SPILO_CONFIGURATION",
}
STORES = frozenset({"etcd", "etcd3", "zookeeper", "consul", "exhibitor", "kubernetes", "raft"})

NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
ROLE = r"[a-z_][a-z0-9_]{0,62}"
PATH = r"(/[A-Za-z0-9_.-]+)+"
ADDRESS = r"(?P<host>[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):(?P<port>[0-9]{1,5})"


class ConfigurationError(Exception):
    """The environment is wrong; carries all mistakes: `<variable>: <found>; expected ...`."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistakes))


@dataclass(frozen=True, slots=True)
class Login:
    """A user name with its password."""

    username: str
    password: str


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
    overlay: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Host:
    """What differs from node to node, none of it configured."""

    name: str
    address: str
    bin_dir: str


class Reader:
    """Takes variables out of an environment and collects what is wrong with them."""

    def __init__(self, environment: Mapping[str, str], read: Callable[[str], str]) -> None:
        self.mistakes: list[str] = []
        self._environment = environment
        self._read = read

    def refuse(self, name: str, found: str, expected: str) -> None:
        self.mistakes.append(f"{name}: {found}; expected {expected}")

    def given(self, name: str) -> bool:
        return name in self._environment

    def text(self, name: str, pattern: str, expected: str, default: str | None = None) -> str:
        """Return the variable if all of it matches `pattern`; without a default it is required."""
        value = self._environment.get(name, default)
        if value is None:
            self.refuse(name, "missing", expected)
        elif not re.fullmatch(pattern, value):
            self.refuse(name, repr(value), expected)
        return value or ""

    def port(self, name: str, default: int) -> int:
        expected = "a port from 1024 to 65535"
        value = self._environment.get(name, str(default))
        # Five digits at most, or int() may refuse what isdigit() accepts.
        port = int(value) if re.fullmatch("[0-9]{1,5}", value) else 0
        if not 1024 <= port <= 65535:
            self.refuse(name, repr(value), expected)
        return port

    def addresses(self, name: str, expected: str) -> tuple[str, ...]:
        """Return a comma list of host:port."""
        found = tuple(part.strip() for part in self._environment[name].split(","))
        for part in found:
            match = re.fullmatch(ADDRESS, part)
            if match is None or not 1 <= int(match["port"]) <= 65535:
                self.refuse(name, repr(part), expected)
        return found

    def address(self, name: str) -> str | None:
        if not self.given(name):
            return None
        found = self.addresses(name, "one host:port")
        if len(found) > 1:
            self.refuse(name, repr(self._environment[name]), "one host:port")
        return found[0]

    def password(self, name: str) -> str:
        """Return the content of the file that the variable names, less its last newline."""
        path = self._environment.get(name)
        if path is None:
            self.refuse(name, "missing", "the path of a file that holds the password")
            return ""
        try:
            password = self._read(path).removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not text"
            self.refuse(name, f"cannot read {path!r}: {why}", "a readable file")
            return ""
        # No message may quote the password itself.
        if password in SPILO_PASSWORDS:
            self.refuse(name, "one of Spilo's published defaults", "a password of your own")
        elif len(password) < SHORTEST_PASSWORD:
            found = f"{len(password)} characters" if password else "an empty file"
            self.refuse(name, found, f"at least {SHORTEST_PASSWORD} characters")
        elif not password.isprintable():
            self.refuse(name, "line breaks or control characters", "one line of text")
        return password

    def overlay(self, name: str) -> Mapping[str, object]:
        """Return the YAML mapping in the variable."""
        try:
            value: object = yaml.safe_load(self._environment.get(name, "{}"))
        except yaml.YAMLError as error:
            problem = " ".join(str(error).split())
            self.refuse(name, f"not YAML ({problem})", "a YAML mapping")
            return {}
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            self.refuse(name, f"a {type(value).__name__}", "a YAML mapping with names as keys")
            return {}
        return value


def read_settings(
    environment: Mapping[str, str],
    read: Callable[[str], str] = lambda path: Path(path).read_text(),
    versions: frozenset[str] | None = None,
) -> Settings:
    """Return what `environment` says.

    Args:
        environment: the container's.
        read: returns the text of a file.
        versions: the major versions of PostgreSQL that are installed; None asks the file system.

    Raises:
        ConfigurationError: with all mistakes.
    """
    reader = Reader(environment, read)
    _refuse_unknown(environment, reader)
    settings = Settings(
        scope=reader.text("SCOPE", NAME, "a name like my-cluster"),
        namespace=reader.text("NAMESPACE", PATH + "/?", "a path like /service/", "/service/"),
        dcs=_store(reader),
        superuser=_login(reader, "SUPERUSER", "postgres"),
        standby=_login(reader, "STANDBY", "standby"),
        admin=_login(reader, "ADMIN", "admin") if reader.given("PGPASSWORD_ADMIN_FILE") else None,
        restapi=_restapi(reader),
        pgport=reader.port("PGPORT", 5432),
        apiport=reader.port("APIPORT", 8008),
        pgdata=_pgdata(reader),
        pgversion=_version(reader, _installed() if versions is None else versions),
        pg_connect_address=reader.address("PG_CONNECT_ADDRESS"),
        restapi_connect_address=reader.address("RESTAPI_CONNECT_ADDRESS"),
        watchdog=reader.text("WATCHDOG", "off|required", "off or required", "off") == "required",
        overlay=reader.overlay("SPILO_CONFIGURATION"),
    )
    reader.text("SUPERVISE", "on|off", "on or off", "on")
    reader.text("START_GATE", PATH, "an absolute path", "/absent")
    _check_together(reader, settings)
    if reader.mistakes:
        raise ConfigurationError(reader.mistakes)
    return settings


def render(settings: Settings, host: Host) -> dict[str, object]:
    """Return Patroni's configuration for one node."""
    # No autoescape, which is for HTML: the output is YAML, and tojson quotes each value.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)  # noqa: S701
    template = environment.from_string(TEMPLATE.read_text())
    configuration: dict[str, object] = yaml.safe_load(template.render(s=settings, host=host))
    return merged(configuration, settings.overlay)


def merged(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    """Return `below` with `above` laid over it: mappings are merged, all else is replaced whole."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            result[key] = merged(under, value)
        else:
            result[key] = value
    return result


def this_host(pgversion: str) -> Host:
    """Return the facts of the container that this runs in."""
    bin_dir = str(POSTGRESQL_ROOT / pgversion / "bin")
    return Host(name=socket.gethostname(), address=_first_address(), bin_dir=bin_dir)


def write(configuration: Mapping[str, object], path: Path) -> None:
    """Write the file anew, readable by its owner alone from its first byte on."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        yaml.safe_dump(dict(configuration), file, sort_keys=False)


def main() -> int:
    """Render the configuration of this container; exit 2 when its environment is wrong."""
    try:
        settings = read_settings(os.environ)
        write(render(settings, this_host(settings.pgversion)), CONFIG)
    except ConfigurationError as error:
        for mistake in error.mistakes:
            print(f"configure: {mistake}", file=sys.stderr)
        return 2
    return 0


def _refuse_unknown(environment: Mapping[str, str], reader: Reader) -> None:
    for name in sorted(environment.keys() - VARIABLES):
        if name.startswith("PGPASSWORD") and f"{name}_FILE" in VARIABLES:
            expected = f"{name}_FILE, the path of a file"
            reader.refuse(name, "a password, for all to see in `docker inspect`", expected)
            continue
        refusal = next((why for key, why in REFUSALS.items() if name.startswith(key)), None)
        nearest = difflib.get_close_matches(name, VARIABLES, n=1, cutoff=CLOSE)
        if refusal is not None:
            reader.mistakes.append(f"{name}: {refusal}")
        elif nearest or name.startswith(PREFIXES):
            guess = f"; did you mean {nearest[0]}?" if nearest else ""
            reader.refuse(name, "unknown variable", f"one that this image knows{guess}")


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


def _restapi(reader: Reader) -> Login | None:
    pair = ("RESTAPI_USERNAME", "RESTAPI_PASSWORD_FILE")
    if not any(reader.given(name) for name in pair):
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


def _first_address() -> str:
    """Return the first IPv4 address that others can reach; asks the kernel, never the DNS."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, interface in sorted(socket.if_nameindex()):
            request = struct.pack("256s", interface.encode())
            try:
                answer = fcntl.ioctl(any_socket, SIOCGIFADDR, request)
            except OSError:
                continue  # it has no IPv4 address
            address = ipaddress.IPv4Address(answer[20:24])
            if not address.is_loopback:
                return str(address)
    raise ConfigurationError(
        ["PG_CONNECT_ADDRESS: this container has no IPv4 address; expected a network"]
    )


if __name__ == "__main__":
    sys.exit(main())
