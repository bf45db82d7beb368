"""The page of the variables that the Spilo image takes, and of those that it refuses."""

import ast
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
    "SSL_CERTIFICATE_FILE": (
        "PostgreSQL's certificate, and Patroni's unless it has its own. Peers call each other by "
        "address, so it names the node's. Without one each node signs its own, and no peer can "
        "tell who it talks to. A file that was replaced is read again within seconds.",
        "",
    ),
    "SSL_PRIVATE_KEY_FILE": ("The certificate's key, for the user `postgres` alone.", ""),
    "SSL_CA_FILE": ("Who signed the certificates; with it replicas verify the leader by name.", ""),
    "SSL_RESTAPI_CERTIFICATE_FILE": ("A certificate for Patroni's REST interface alone.", ""),
    "SSL_RESTAPI_PRIVATE_KEY_FILE": ("That certificate's key.", ""),
    "SSL_RESTAPI_CA_FILE": ("Who signed it; with it members verify one another.", ""),
    "WAL_S3_BUCKET": (
        "The bucket of backups and WAL, in which each cluster has `spilo/<SCOPE>/`. Without it "
        "nothing is backed up.",
        "",
    ),
    "WALG_S3_SSE_KMS_ID": (
        "The KMS key under which every object is encrypted. Needed with a bucket.",
        "",
    ),
    "AWS_REGION": ("The region of the bucket, and of KMS. Needed with a bucket.", ""),
    "AWS_ENDPOINT": ("`https://host:port` of an S3 that is not AWS's own.", ""),
    "AWS_S3_FORCE_PATH_STYLE": (
        "`true`: the bucket's name stands in the path, not in the host's.",
        "false",
    ),
    "AWS_CA_BUNDLE": (
        "The CAs that S3's certificate is verified by; the system's unless given.",
        "",
    ),
    "AWS_ACCESS_KEY_ID_FILE": ("A file with the key for S3; without it, the machine's role.", ""),
    "AWS_SECRET_ACCESS_KEY_FILE": ("A file with that key's secret.", ""),
    "AWS_SESSION_TOKEN_FILE": ("A file with the token of a key that expires.", ""),
    "AWS_ENDPOINT_URL_KMS": ("The URL of a KMS that is not AWS's own.", ""),
    "ARCHIVE_TIMEOUT": ("Seconds after which a segment goes to S3 though it is not full.", "60"),
    "WAL_RESTORE_TIMEOUT": (
        "Seconds to wait for one segment from S3; also what S3's silence costs a promotion.",
        "10",
    ),
    "BACKUP_SCHEDULE": (
        "When the leader makes a base backup: cron's five fields, UTC. The first is made at once, "
        "and what was due while nobody led by the next leader.",
        "0 1 * * *",
    ),
    "BACKUP_INCREMENTALS": ("So many backups after a full one hold only what has changed.", "6"),
    "BACKUP_NUM_TO_RETAIN": (
        "Full backups that are kept, with all that depends on them and the WAL since.",
        "5",
    ),
    "WALE_BACKUP_THRESHOLD_MEGABYTES": (
        "With more WAL than this since the last backup a replica is copied from the leader.",
        "102400",
    ),
    "WALE_BACKUP_THRESHOLD_PERCENTAGE": (
        "The same, in percent of the database's size when it was backed up.",
        "30",
    ),
    "BOOTSTRAP_FROM_S3": (
        "`true`: where nobody knows the cluster, it comes back from its own backups; only where "
        "S3 has never heard of it either it is a new one.",
        "false",
    ),
    "CLONE_SCOPE": ("A new cluster begins as a copy of the one with this SCOPE.", ""),
    "CLONE_WAL_S3_BUCKET": ("The bucket that the source archives to.", ""),
    "CLONE_TARGET_TIME": (
        "The copy's moment, with its zone: `2026-11-23T10:00:00+00:00`. Without one of the four "
        "targets it is the last that S3 has.",
        "",
    ),
    "CLONE_TARGET_LSN": ("Instead: a position in the WAL, `0/3000060`.", ""),
    "CLONE_TARGET_XID": ("Instead: the id of a transaction.", ""),
    "CLONE_TARGET_NAME": ("Instead: a restore point that the source made.", ""),
    "CLONE_TARGET_TIMELINE": ("`latest`, `current` (the backup's own), or a number.", "latest"),
    "CLONE_TARGET_INCLUSIVE": (
        "`false`: ends just before the time, the LSN or the transaction, not after it.",
        "true",
    ),
}


def environment_page(root: Path) -> str:
    """Return the page of the image's variables; the image's own code is read from the checkout."""
    path = root / "image" / "spilo" / "environment.py"
    # Read, not run: it imports what the image alone has.
    code = ast.parse(path.read_text(encoding="utf-8"))
    known, refusals = _literal(code, "VARIABLES"), _literal(code, "REFUSALS")
    assert isinstance(known, set)
    assert isinstance(refusals, dict)
    if unknown := known ^ VARIABLES.keys():
        raise HarnessError(
            f"harness.reference.environment: {', '.join(sorted(unknown))}; expected in VARIABLES "
            "what the image knows, and nothing else"
        )
    rows = [
        (f"`{name}`", default if default == REQUIRED else default and f"`{default}`", meaning)
        for name, (meaning, default) in VARIABLES.items()
    ]
    refused = [(f"`{name}...`", str(why)) for name, why in refusals.items()]
    return joined(
        "# The Spilo image's variables",
        wrapped(
            "Names and meanings are Spilo's where it has one. All are checked before anything "
            "starts; a mistake ends the container with exit code 2 and a list of all of them. "
            f"Secrets come as files; passwords have at least {_literal(code, 'SHORTEST_PASSWORD')} "
            "characters. What is wrapped under a KMS key, as "
            "`aws:kms:<base64>`, is decrypted by the machine's role when the node starts, and may "
            "also stand in the variable of the same name without `_FILE`."
        ),
        as_table(("variable", "default", "meaning"), rows),
        "## Refused",
        wrapped(
            "A name that Spilo, Patroni or PostgreSQL would act upon, and that this image does not "
            "know, is refused, and so is one that is nearly right. In particular:"
        ),
        as_table(("variable", "why"), refused),
    )


def _literal(code: ast.Module, name: str) -> object:
    """Return the value that a module gives `name`; of `frozenset({...})` the set."""
    for node in code.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            value = node.value.args[0] if isinstance(node.value, ast.Call) else node.value
            literal: object = ast.literal_eval(value)
            return literal
    raise HarnessError(f"harness.reference.environment: no {name} in the image's environment.py")
