"""image/spilo/replica.py: when a replica is made from S3, and when from the leader."""

import pytest
from replica import why_not
from storage import Threshold

from tests.unit.image.backups import backup

MEGABYTE = 1 << 20
SIZE = 1000 * MEGABYTE
START = 5000 * MEGABYTE
NEWEST = backup("20261123-123027F", 0, START + 100, size=SIZE)
BOTH = Threshold(megabytes=400, percentage=30)


@pytest.mark.parametrize("megabytes", [0, 1, 299, 300])
def test_from_s3_up_to_either_threshold(megabytes):
    assert why_not(NEWEST, START + megabytes * MEGABYTE, BOTH) is None


@pytest.mark.parametrize(
    ("threshold", "behind", "reason"),
    [
        (BOTH, 300 * MEGABYTE + 1, "WAL since is 30 % of its size; expected at most 30"),
        (BOTH, 400 * MEGABYTE, "WAL since is 40 % of its size; expected at most 30"),
        (BOTH, 500 * MEGABYTE, "500 MB of WAL since; expected at most 400"),
        (Threshold(0, 10**6), 1, "0 MB of WAL since; expected at most 0"),
        (Threshold(10**9, 0), 1, "WAL since is 0 % of its size; expected at most 0"),
    ],
)
def test_from_the_leader_beyond(threshold, behind, reason):
    assert why_not(NEWEST, START + behind, threshold) == reason


@pytest.mark.parametrize("threshold", [BOTH, Threshold(0, 0)])
def test_from_s3_where_nobody_leads(threshold):
    """However old it is, there is no other way."""
    assert why_not(NEWEST, None, threshold) is None


def test_an_empty_database_is_no_division_by_nothing():
    empty = backup("20261123-123027F", 0, START + 100, size=0)
    assert why_not(empty, START, BOTH) is None
    assert why_not(empty, START + 1, BOTH) == "WAL since is 100 % of its size; expected at most 30"
