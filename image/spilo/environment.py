"""The environment of a node: which variables there are, and how each is taken out of it.

What is wrong is collected, so that all mistakes can be told at once. Where Spilo guesses, this
refuses: no default password, no variable that looks meant for us but is not known.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import yaml
from kms import WRAPPED, KeyServiceError, unwrap

SHORTEST_PASSWORD = 12
SPILO_PASSWORDS = frozenset({"zalando", "standby", "admin", "cola"})
CLOSE = 0.75  # of difflib's 1.0: how alike two names are for one to be a slip of the other

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
    "SSL_CA_FILE", "SSL_CERTIFICATE_FILE", "SSL_PRIVATE_KEY_FILE",
    "SSL_RESTAPI_CA_FILE", "SSL_RESTAPI_CERTIFICATE_FILE", "SSL_RESTAPI_PRIVATE_KEY_FILE",
    "WAL_S3_BUCKET", "WALG_S3_SSE_KMS_ID", "WAL_RESTORE_TIMEOUT", "ARCHIVE_TIMEOUT",
    "AWS_REGION", "AWS_ENDPOINT", "AWS_S3_FORCE_PATH_STYLE", "AWS_CA_BUNDLE",
    "AWS_ACCESS_KEY_ID_FILE", "AWS_SECRET_ACCESS_KEY_FILE", "AWS_SESSION_TOKEN_FILE",
    "AWS_ENDPOINT_URL_KMS",
    "BACKUP_SCHEDULE", "BACKUP_NUM_TO_RETAIN", "BACKUP_INCREMENTALS", "BOOTSTRAP_FROM_S3",
    "WALE_BACKUP_THRESHOLD_MEGABYTES", "WALE_BACKUP_THRESHOLD_PERCENTAGE",
    "CLONE_SCOPE", "CLONE_WAL_S3_BUCKET", "CLONE_TARGET_TIME", "CLONE_TARGET_LSN",
    "CLONE_TARGET_XID", "CLONE_TARGET_NAME", "CLONE_TARGET_TIMELINE", "CLONE_TARGET_INCLUSIVE",
})
# Beginnings of the names that Spilo, Patroni or libpq would act upon. An unknown name among them is
# a typing error, or something this image does not do: neither may pass in silence.
PREFIXES = (
    "SCOPE", "NAMESPACE", "ETCD", "ZOOKEEPER", "CONSUL_", "EXHIBITOR_", "KUBERNETES_",
    "PG", "APIPORT", "RESTAPI", "SPILO_", "PATRONI_", "WATCHDOG", "SUPERVISE", "START_GATE",
    "ALLOW_NOSSL", "SSL_CERTIFICATE", "SSL_PRIVATE_KEY", "SSL_CA", "SSL_CRL", "SSL_RESTAPI_",
    "USE_", "WAL_", "WALE_", "WALG_", "CLONE_", "STANDBY_", "BACKUP_", "BOOTSTRAP_", "ARCHIVE_",
    "LOG_S3_", "LOG_SHIP_", "CALLBACK_SCRIPT",
)
# fmt: on
# Why a name is refused, where "unknown" would not help.
REFUSALS = {
    "ETCD_": "the v2 API; use ETCD3_HOSTS",
    "CONSUL_": "a store that this image does not know; use ETCD3_HOSTS or ZOOKEEPER_HOSTS",
    "EXHIBITOR_": "asks a service for the servers; use ZOOKEEPER_HOSTS and name them",
    "KUBERNETES_": "a store that this image does not know; use ETCD3_HOSTS or ZOOKEEPER_HOSTS",
    "ALLOW_NOSSL": "connections over the network are encrypted, whatever its value",
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


class Reader:
    """Takes variables out of an environment and collects what is wrong with them."""

    def __init__(
        self,
        environment: Mapping[str, str],
        read: Callable[[str], str],
        unwrap: Callable[[str], str] = unwrap,
    ) -> None:
        """Read from `environment`; `read` returns a file's text, `unwrap` a wrapped secret."""
        self.mistakes: list[str] = []
        self._environment = environment
        self._read = read
        self._unwrap = unwrap

    def refuse(self, name: str, found: str, expected: str) -> None:
        self.mistakes.append(f"{name}: {found}; expected {expected}")

    def given(self, name: str) -> bool:
        return name in self._environment

    def is_secret_given(self, name: str) -> bool:
        """Return whether there is a file `name`, or its content in the variable without `_FILE`."""
        return self.given(name) or self.given(name.removesuffix("_FILE"))

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

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        value = self._environment.get(name, str(default))
        number = int(value) if re.fullmatch("[0-9]{1,10}", value) else -1
        if not low <= number <= high:
            self.refuse(name, repr(value), f"a whole number from {low} to {high}")
        return number

    def switch(self, name: str, *, default: bool) -> bool:
        """Return `true` or `false`; Spilo takes any text, "false" too, for true."""
        return self.text(name, "true|false", "true or false", str(default).lower()) == "true"

    def path(self, name: str) -> str | None:
        """Return the path of a file that can be read, or None when none is given."""
        path = self._environment.get(name)
        if path is not None:
            self._content(name, path)
        return path

    def moment(self, name: str) -> str | None:
        """Return a time as PostgreSQL reads it, in UTC; one without a zone is nobody's time."""
        value = self._environment.get(name)
        if value is None:
            return None
        try:
            found = datetime.fromisoformat(value)
            if found.tzinfo is not None:
                return found.astimezone(UTC).isoformat(" ", "microseconds")
        except (ValueError, OverflowError):
            pass  # no time, or one beyond the years that there are
        expected = "a time with its zone, like 2026-11-23T10:00:00.5+00:00"
        self.refuse(name, repr(value), expected)
        return value

    def secret(self, name: str) -> str:
        """Return the content of the file that the variable names, less its last newline.

        What is wrapped under a KMS key may also stand in the variable without `_FILE`: nobody can
        read it there.
        """
        plain = name.removesuffix("_FILE")
        wrapped = self._environment.get(plain, "")
        path = self._environment.get(name)
        if path is None and not wrapped.startswith(WRAPPED):
            self.refuse(name, "missing", "the path of a file that holds the secret")
            return ""
        if path is not None and wrapped.startswith(WRAPPED):
            self.refuse(name, f"{plain} is given, too", "one of the two")
            return ""
        text = wrapped if path is None else self._content(name, path).removesuffix("\n")
        if not text.startswith(WRAPPED):
            return text
        try:
            return self._unwrap(text)
        except KeyServiceError as error:
            self.refuse(name, str(error), "a secret that this node's role can decrypt")
            return ""

    def _content(self, name: str, path: str) -> str:
        # PostgreSQL looks for a relative one in its data directory, not where this does. It is not
        # quoted: what is no path may be the secret itself.
        if not re.fullmatch(PATH, path):
            self.refuse(name, "no absolute path", "the path of a file")
            return ""
        try:
            return self._read(path)
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not text"
            self.refuse(name, f"cannot read {path!r}: {why}", "a readable file")
            return ""

    def key(self, name: str) -> str:
        """Return a secret that is one word, for it is to stand in a line of its own."""
        told = len(self.mistakes)
        key = self.secret(name)
        if len(self.mistakes) == told and not re.fullmatch("[!-~]+", key):
            found = "blanks, line breaks or other than ASCII" if key else "empty"
            self.refuse(name, found, "one word")
        return key

    def password(self, name: str) -> str:
        """Return a secret that is fit to be a password."""
        told = len(self.mistakes)
        password = self.secret(name)
        if len(self.mistakes) > told:
            return password
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
        except (yaml.YAMLError, ValueError) as error:
            # The parser's own words quote the text, which may hold a password.
            mark = getattr(error, "problem_mark", None)
            where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
            self.refuse(name, f"not YAML{where}", "a YAML mapping")
            return {}
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            self.refuse(name, f"a {type(value).__name__}", "a YAML mapping with names as keys")
            return {}
        return value

    def refuse_unknown(self) -> None:
        """Refuse what looks meant for this image and is not known to it."""
        for name in sorted(self._environment.keys() - VARIABLES):
            if f"{name}_FILE" in VARIABLES and _is_secret(name):
                if not self._environment[name].startswith(WRAPPED):
                    expected = f"{name}_FILE, the path of a file"
                    self.refuse(name, "a secret, for all to see in `docker inspect`", expected)
                continue
            refusal = next((why for key, why in REFUSALS.items() if name.startswith(key)), None)
            nearest = difflib.get_close_matches(name, VARIABLES, n=1, cutoff=CLOSE)
            if refusal is not None:
                self.mistakes.append(f"{name}: {refusal}")
            elif nearest or name.startswith(PREFIXES):
                guess = f"; did you mean {nearest[0]}?" if nearest else ""
                self.refuse(name, "unknown variable", f"one that this image knows{guess}")


def _is_secret(name: str) -> bool:
    return name.startswith(("PGPASSWORD", "RESTAPI_PASSWORD", "AWS_"))
