"""What a verb needs of the cluster's place in S3: somebody who keeps it, and what is there."""

import re
from collections.abc import Iterable, Sequence

from harness.errors import DriverError
from harness.protocols import Driver, Keeps, StoredObject


def keeper(driver: Driver, verb: str) -> Keeps:
    """Return the driver as one whose clusters keep backups and WAL in S3.

    Raises:
        DriverError: when they keep nothing there.
    """
    if not isinstance(driver, Keeps):
        raise DriverError(
            f"{verb}: the {driver.name} driver keeps nothing in S3; expected one that does"
        )
    return driver


def finished_backups(prefix: str, objects: Iterable[StoredObject]) -> Sequence[str]:
    """Return the labels of the base backups below a cluster's prefix that are whole, by name.

    Its manifest is the last that pgBackRest stores of a backup; `backup.manifest.copy` is there
    while it is made.
    """
    manifest = re.compile(re.escape(f"{prefix}backup/") + r"(?:[^/]+/)*([^/]+)/backup\.manifest")
    found = (manifest.fullmatch(one.key) for one in objects)
    return sorted({match[1] for match in found if match})
