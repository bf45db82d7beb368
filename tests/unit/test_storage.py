"""Tests for harness.storage: who keeps things in S3, and which base backups are whole."""

import pytest

from harness import storage
from harness.clock import WallClock
from harness.errors import DriverError
from harness.protocols import StoredObject
from tests.unit.world import MemoryDriver, PlainDriver


def test_a_driver_that_keeps_nothing_is_told_apart() -> None:
    """By what it can do, not by its name."""
    keeper = MemoryDriver(WallClock())
    assert storage.keeper(keeper, "mark") is keeper
    text = "backup: the memory driver keeps nothing in S3; expected one that does"
    with pytest.raises(DriverError, match=text):
        storage.keeper(PlainDriver(WallClock()), "backup")


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("spilo/drill/backup/drill/20261123-110000F/backup.manifest", "20261123-110000F"),
        ("spilo/drill/backup/20261123-110000F/backup.manifest", "20261123-110000F"),
        ("spilo/drill/backup/drill/20261123-110000F/backup.manifest.copy", None),
        ("spilo/drill/backup/drill/20261123-110000F/pg_data/PG_VERSION", None),
        ("spilo/drill/backup/drill/backup.history/2026/20261123-110000F.manifest.gz", None),
        ("spilo/drill/archive/drill/17-1/backup.manifest", None),
        ("spilo/drill-2/backup/drill/20261123-110000F/backup.manifest", None),
        ("spilo/xdrill/backup/drill/20261123-110000F/backup.manifest", None),
    ],
)
def test_a_backup_is_whole_when_its_manifest_is_there(key: str, label: str | None) -> None:
    """Of this cluster's prefix alone; a copy of the manifest is there long before the end."""
    found = storage.finished_backups("spilo/drill/", [StoredObject(key, 1, "e")])
    assert found == ([] if label is None else [label])


def test_each_backup_counts_once_and_they_come_in_order() -> None:
    """Their labels are times."""
    keys = [f"p/backup/s/{label}/backup.manifest" for label in ("2F", "1F", "2F")]
    assert storage.finished_backups("p/", [StoredObject(key, 1, "e") for key in keys]) == [
        "1F",
        "2F",
    ]
