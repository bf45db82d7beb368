"""image/spilo/backup.py: which kind of backup is next."""

import backup as program
import pytest
from backup import next_kind

from tests.unit.image.backups import backup


def row(kinds):
    """Return one backup for each letter, oldest first: F full, I incremental, D differential."""
    names = {"F": "full", "I": "incr", "D": "diff"}
    return [backup(str(i), i, 1000 * i, kind=names[kind]) for i, kind in enumerate(kinds, 1)]


@pytest.mark.parametrize(
    ("kinds", "incrementals", "kind"),
    [
        ("", 6, "full"),
        ("F", 6, "incr"),
        ("F", 0, "full"),
        ("F", 1, "incr"),
        ("FI", 1, "full"),
        ("FI", 2, "incr"),
        ("FII", 2, "full"),
        ("FIII", 2, "full"),  # the number was lowered
        ("FIIF", 2, "incr"),
        ("FIIFI", 1, "full"),
        ("FD", 1, "full"),
        ("I", 6, "full"),  # its full one is broken, or was deleted by hand
        ("III", 6, "full"),
    ],
)
def test_so_many_incrementals_follow_each_full(kinds, incrementals, kind):
    backups = row(kinds)
    assert next_kind(backups, incrementals) == kind
    assert next_kind(backups[::-1], incrementals) == kind


def test_another_word_is_refused(capsys):
    assert program.main(["differential"]) == 2
    expected = "backup: 'differential'; expected one of full, incr\n"
    assert capsys.readouterr().err == expected
