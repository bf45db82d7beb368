"""The page of the variables that the Spilo image takes, and of those that it refuses."""

import runpy
from collections.abc import Mapping
from pathlib import Path

from harness.errors import HarnessError
from harness.reference.markdown import as_table, joined, wrapped

REQUIRED = "required"
# Meaning and default. A test holds the names and the defaults against the image's own code.
VARIABLES: Mapping[str, tuple[str, str]] = {
    "SCOPE": ("The cluster's name.", REQUIRED),
    "NAMESPACE": ("The path in the DCS under which the cluster's keys lie.", "/service/"),
    "ETCD3_HOSTS": ("etcd's members, `host:port,host:port`. Exactly one DCS is given.", ""),
    "ZOOKEEPER_HOSTS": ("ZooKeeper's members, written the same way.", ""),
    "PGUSER_SUPERUSER": ("The superuser's name.", "postgres"),
    "PGPASSWORD_SUPERUSER_FILE": ("A file with the superuser's password.", REQUIRED),
    "PGUSER_STANDBY": ("The name under which replicas stream.", "standby"),
    "PGPASSWORD_STANDBY_FILE": ("A file with that role's password.", REQUIRED),
    "PGUSER_ADMIN": ("The administrator's name; takes a password file too.", "admin"),
    "PGPASSWORD_ADMIN_FILE": ("A file with the administrator's password; without it, none.", ""),
    "RESTAPI_USERNAME": ("Who may change things through Patroni's REST interface.", ""),
    "RESTAPI_PASSWORD_FILE": ("A file with that user's password; the two go together.", ""),
    "PGPORT": ("PostgreSQL's port, from 1024 on.", "5432"),
    "APIPORT": ("The port of Patroni's REST interface.", "8008"),
    "PG_CONNECT_ADDRESS": (
        "`host:port` under which others reach PostgreSQL; the container's own unless given.",
        "",
    ),
    "RESTAPI_CONNECT_ADDRESS": ("The same, of Patroni's REST interface.", ""),
    "PGROOT": ("The folder of all that PostgreSQL keeps.", "/home/postgres/pgdata/pgroot"),
    "PGDATA": ("The data directory; `data` in PGROOT unless given.", ""),
    "PGVERSION": ("The major version of PostgreSQL; the newest installed unless given.", ""),
    "PGHOST": ("The folder of the local socket. The image sets it; no other is taken.", ""),
    "SPILO_CONFIGURATION": ("YAML that is laid over Patroni's configuration.", ""),
    "WATCHDOG": (
        "`required` kills PostgreSQL when its Patroni hangs, before the leader key can expire.",
        "off",
    ),
    "SUPERVISE": ("`off`: a Patroni that died is not started again.", "on"),
    "START_GATE": ("A file to wait for before anything starts.", ""),
}


def environment_page(root: Path) -> str:
    """Return the page of the image's variables; the image's own code is read from the checkout."""
    image = runpy.run_path(str(root / "image" / "spilo" / "configure.py"))
    if unknown := set(image["VARIABLES"]) ^ set(VARIABLES):
        raise HarnessError(
            f"harness.reference.environment: {', '.join(sorted(unknown))}; expected in VARIABLES "
            "what the image knows, and nothing else"
        )
    rows = [
        (f"`{name}`", default if default == REQUIRED else default and f"`{default}`", meaning)
        for name, (meaning, default) in VARIABLES.items()
    ]
    refused = [(f"`{name}...`", str(why)) for name, why in image["REFUSALS"].items()]
    return joined(
        "# The Spilo image's variables",
        wrapped(
            "Names and meanings are Spilo's where it has one. All are checked before anything "
            "starts; a mistake ends the container with exit code 2 and a list of all of them. "
            f"Passwords come as files and have at least {image['SHORTEST_PASSWORD']} characters."
        ),
        as_table(("variable", "default", "meaning"), rows),
        "## Refused",
        wrapped(
            "A name that Spilo, Patroni or PostgreSQL would act upon, and that this image does not "
            "know, is refused, and so is one that is nearly right. In particular:"
        ),
        as_table(("variable", "why"), refused),
    )
