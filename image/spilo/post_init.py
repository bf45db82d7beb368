"""Finishes a new cluster; Patroni runs it once, on the node that made it, and gives up if it fails.

The cluster gets its place in S3: a prefix that another cluster archived to is refused here. And the
administrator's role gets a login: Patroni 4 ignores `bootstrap.users`, and Spilo's own script makes
the role without LOGIN, so that its PGPASSWORD_ADMIN lets nobody in.
"""

import sys

import psycopg2
from environment import Login
from pgbackrest import BackupError, log, own
from psycopg2 import sql
from psycopg2.extensions import encrypt_password
from settings import judged

RIGHTS = sql.SQL("LOGIN CREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION")


def main(connection_url: str) -> int:
    """Do what is to be done once; exit 1 when the cluster must not be."""
    settings = judged()
    if settings.storage is not None:
        try:
            own().run("stanza-create")
        except BackupError as error:
            log("post_init", f"refused: the prefix of {settings.scope!r} in S3: {error}")
            return 1
    if settings.admin is not None:
        _let_in(connection_url, settings.admin)
    return 0


def _let_in(connection_url: str, admin: Login) -> None:
    """Create the role, or bring an existing one to the same state."""
    name = admin.username
    with psycopg2.connect(connection_url) as connection, connection.cursor() as cursor:
        # Hashed here, so that no server log can ever quote it.
        secret = encrypt_password(admin.password, name, connection, "scram-sha-256")
        cursor.execute("SELECT FROM pg_catalog.pg_roles WHERE rolname = %s", (name,))
        verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
        role = sql.SQL("{} ROLE {} WITH {} PASSWORD {}")
        cursor.execute(role.format(verb, sql.Identifier(name), RIGHTS, sql.Literal(secret)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
