"""image/spilo/keeper.py: when a backup is due, and when certificates were renewed."""

from datetime import UTC, datetime

from certificates import seal_of
from keeper import AGAIN_AFTER_S, Diary, Legacy, Seals
from storage import Schedule

from tests.unit.image.backups import backup

HOUR = 3600
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
ONE = NOON + 13 * HOUR  # one o'clock, the next morning: the tick
NIGHTLY = Schedule("0 1 * * *", incrementals=6, retain=5)


def ended(at):
    return backup("20261123-123027F", int(at), 1000)


def test_the_first_backup_is_made_at_once():
    diary = Diary(NIGHTLY)
    assert diary.is_due(NOON)
    assert diary.lacks([], NOON)
    diary.done(NOON + 5)
    assert not diary.is_due(NOON + 6)


def test_each_tick_is_due_once():
    """From the second on that the schedule names, and not before."""
    diary = Diary(NIGHTLY)
    made = [ended(NOON)]
    diary.done(NOON)
    for day in range(3):
        tick = ONE + day * 24 * HOUR
        assert not diary.is_due(tick - 0.1)
        assert diary.is_due(tick)
        assert diary.lacks(made, tick)
        assert diary.lacks(made, tick + 0.4)
        made.append(ended(tick + 60))
        diary.done(tick + 60)
        assert not diary.is_due(tick + 61)
        assert not diary.lacks(made, tick + 61)


def test_a_keeper_that_starts_finds_what_was_done():
    """A node that restarts makes no second one; it looks again at the next tick."""
    diary = Diary(NIGHTLY)
    assert diary.is_due(NOON)
    assert not diary.lacks([ended(NOON - HOUR)], NOON)
    diary.done(NOON)
    assert not diary.is_due(ONE - 1)
    assert diary.is_due(ONE)


def test_what_another_leader_made_is_not_made_again():
    """A replica's tick stays due until it leads; then S3 tells whether it was done."""
    diary = Diary(NIGHTLY)
    diary.done(NOON)
    assert diary.is_due(ONE + 5 * HOUR)
    assert not diary.lacks([ended(NOON), ended(ONE + 120)], ONE + 5 * HOUR)


def test_a_tick_without_a_leader_is_the_next_leaders():
    """The planted defect: everybody who is no leader at the tick forgets it."""
    diary = Diary(NIGHTLY)
    diary.done(NOON)
    for second in range(30):  # nobody leads; the keeper looks and does nothing
        assert diary.is_due(ONE + second)
    assert diary.lacks([ended(NOON)], ONE + 30)


def test_after_a_failure_it_is_tried_again_after_a_pause():
    """S3 is away: neither given up nor asked in a loop."""
    diary = Diary(NIGHTLY)
    diary.done(NOON)
    diary.failed(ONE + 3)
    assert not diary.is_due(ONE + 3 + AGAIN_AFTER_S - 0.1)
    assert diary.is_due(ONE + 3 + AGAIN_AFTER_S)
    assert diary.lacks([ended(NOON)], ONE + 3 + AGAIN_AFTER_S)


def test_a_tick_during_a_long_backup_is_not_made_up_for():
    """Began at one, ended at three: the ticks between are done with it."""
    hourly = Diary(Schedule("0 * * * *", incrementals=6, retain=5))
    hourly.done(NOON)
    assert hourly.lacks([ended(NOON)], ONE)
    hourly.done(ONE + 2 * HOUR + 60)
    assert not hourly.is_due(ONE + 2 * HOUR + 61)
    assert not hourly.lacks([ended(ONE + 2 * HOUR + 60)], ONE + 2 * HOUR + 61)
    assert hourly.is_due(ONE + 3 * HOUR)


def test_a_backup_that_ended_with_the_tick_counts_for_it():
    assert not Diary(NIGHTLY).lacks([ended(ONE)], ONE + 1)
    assert Diary(NIGHTLY).lacks([ended(ONE - 1)], ONE + 1)


# --- what the last primary left ------------------------------------------------------------------


def test_what_was_left_is_looked_at_once_for_each_timeline():
    legacy = Legacy()
    assert legacy.is_due(1, 2)
    assert legacy.is_due(2, 2)  # until it is done
    legacy.done(2)
    assert not legacy.is_due(3, 2)
    assert legacy.is_due(4, 4)


def test_what_was_left_is_tried_again():
    legacy = Legacy()
    legacy.failed(1)
    assert not legacy.is_due(1 + AGAIN_AFTER_S - 0.1, 2)
    assert legacy.is_due(1 + AGAIN_AFTER_S, 2)


# --- certificates ------------------------------------------------------------------------------


def files(folder):
    pair = (folder / "server.crt", folder / "server.key")
    for path in pair:
        path.write_text("old")
    return pair


def test_a_new_content_is_seen_once(tmp_path):
    pair = files(tmp_path)
    seals = Seals(pair, seal_of(pair))
    assert not seals.have_changed()
    pair[0].write_text("new")
    assert seals.have_changed()
    assert not seals.have_changed()


def test_what_was_renewed_before_the_keeper_came_is_new(tmp_path):
    """Patroni has read the old one by then, and would show it until its end."""
    pair = files(tmp_path)
    before = seal_of(pair)
    pair[0].write_text("new")
    seals = Seals(pair, before)
    assert seals.have_changed()
    assert not seals.have_changed()


def test_a_new_date_is_no_new_content(tmp_path):
    pair = files(tmp_path)
    seals = Seals(pair, seal_of(pair))
    pair[0].write_text("old")
    assert not seals.have_changed()


def test_what_moves_from_one_file_to_the_other_is_seen(tmp_path):
    """The planted trap of a sum over both: `ab` and `` is not `a` and `b`."""
    pair = files(tmp_path)
    pair[0].write_text("ab")
    pair[1].write_text("")
    seals = Seals(pair, seal_of(pair))
    pair[0].write_text("a")
    pair[1].write_text("b")
    assert seals.have_changed()


def test_a_file_that_is_away_for_a_moment_is_no_new_one(tmp_path):
    """Reloading then would fail; what comes back is judged by its content."""
    pair = files(tmp_path)
    seals = Seals(pair, seal_of(pair))
    pair[1].unlink()
    assert not seals.have_changed()
    pair[1].write_text("old")
    assert not seals.have_changed()
    pair[1].unlink()
    assert not seals.have_changed()
    pair[1].write_text("new")
    assert seals.have_changed()


def test_no_certificate_at_first_is_no_obstacle(tmp_path):
    seals = Seals((tmp_path / "server.crt",), "")
    assert not seals.have_changed()
    (tmp_path / "server.crt").write_text("new")
    assert seals.have_changed()
