"""image/spilo/archive.py: a hole in the archive is seen before anything is restored."""

from pathlib import Path

import pytest
from archive import SEGMENT_BYTES, hole, listed, needed
from hypothesis import given
from hypothesis import strategies as st
from pgbackrest import PgBackRest

from tests.unit.image.backups import backup, repository

HISTORY = "1\t0/5000060\tno recovery target specified\n"
LISTING = "17-1/{folder}/{name}-{sum}.zst"


def line(name):
    return LISTING.format(folder=name[:16], name=name, sum="0" * 40)


class Store(PgBackRest):
    """A repository whose two questions are answered from memory; its file is the listing."""

    def run(self, command, *_options):
        return {"repo-ls": str(self.config), "repo-get": HISTORY}[command]


def store(*names, histories=(), more=()):
    lines = ["archive.info", *map(line, names), *(f"17-1/{one}.history" for one in histories)]
    return Store(Path("\n".join([*lines, *more])), "drill")


def segments(tli, *numbers):
    return [f"{tli:08X}{0:08X}{number:08X}" for number in numbers]


def test_what_is_listed():
    """Whole segments and histories; no partial one, no backup's label."""
    partial = "17-1/0000000100000000/000000010000000000000005.partial-" + "0" * 40 + ".zst"
    label = "17-1/0000000100000000/000000010000000000000002.00000028.backup"
    found = store(*segments(1, 2, 3), histories=["00000002"], more=[partial, label])
    assert listed(found).segments == set(segments(1, 2, 3))
    assert listed(found).histories == {2: "archive/drill/17-1/00000002.history"}


FROM_TWO = backup("b", 0, 2 * SEGMENT_BYTES + 400)
CASES = [
    (segments(1, 2, 3, 4), (), "000000010000000000000004", None),
    (segments(1, 2, 4), (), "000000010000000000000004", "000000010000000000000003"),
    (segments(1, 3, 4), (), "000000010000000000000004", "000000010000000000000002"),
    # What lies before the backup was given up by retention.
    (segments(1, 2, 3), (), "000000010000000000000003", None),
    # The segment of the fork is whole on the new timeline only.
    ([*segments(1, 2, 3, 4), *segments(2, 5, 6)], ["00000002"], "000000020000000000000006", None),
    (
        [*segments(1, 2, 3), *segments(2, 5, 6)], ["00000002"], "000000020000000000000006",
        "000000010000000000000004",
    ),
    (
        [*segments(1, 2, 3, 4, 5), *segments(2, 6)], ["00000002"], "000000020000000000000006",
        "000000020000000000000005",
    ),
    ([*segments(1, 2, 3, 4), *segments(2, 5)], [], "000000020000000000000005", "00000002.history"),
    ([], [], None, None),
]  # fmt: skip


@pytest.mark.parametrize(("names", "histories", "newest", "missing"), CASES)
def test_a_hole_is_named(names, histories, newest, missing):
    held = repository(FROM_TWO)
    held = type(held)(held.system_identifier, held.pgversion, held.backups, newest)
    assert hole(store(*names, histories=histories), held, FROM_TWO) == missing


@given(
    first=st.integers(0, 300),
    length=st.integers(1, 20),
    cuts=st.lists(st.integers(0, 20), max_size=4),
)
def test_each_segment_is_needed_once(first, length, cuts):
    """Over any number of timelines, on exactly one of them, and never on an older one again."""
    places = sorted((first + cut) * SEGMENT_BYTES + 96 for cut in cuts)
    left = dict(enumerate(places, start=1))
    number = first + length - 1
    newest = f"{len(places) + 1:08X}{number >> 8:08X}{number & 255:08X}"
    wanted = list(needed(first, newest, left))
    assert [int(name[8:16], 16) << 8 | int(name[16:], 16) for name in wanted] == list(
        range(first, first + length)
    )
    assert len(set(wanted)) == length
    timelines = [int(name[:8], 16) for name in wanted]
    assert timelines == sorted(timelines)
