"""Gives the administrator's role a login; Patroni runs it once, on the node that made the cluster.

Patroni 4 ignores `bootstrap.users`, and Spilo's own script makes the role without LOGIN: its
PGPASSWORD_ADMIN lets nobody in.
"""

import os
import sys
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

RIGHTS = sql.SQL("LOGIN CREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION")


def main(connection_url: str) -> None:
    """Create the role, or bring an existing one to the same state."""
    name = os.environ.get("PGUSER_ADMIN", "admin")
    password = Path(os.environ["PGPASSWORD_ADMIN_FILE"]).read_text().rstrip("\n")
    with psycopg2.connect(connection_url) as connection, connection.cursor() as cursor:
        # Hashed here, so that no server log can ever quote it.
        secret = encrypt_password(password, name, connection, "scram-sha-256")
        cursor.execute("SELECT FROM pg_catalog.pg_roles WHERE rolname = %s", (name,))
        verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
        role = sql.SQL("{} ROLE {} WITH {} PASSWORD {}")
        cursor.execute(role.format(verb, sql.Identifier(name), RIGHTS, sql.Literal(secret)))


if __name__ == "__main__":
    main(sys.argv[1])
