"""The page of the history: what a line holds, and how a transaction can have ended."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from harness import history
from harness.errors import HarnessError
from harness.reference.docstrings import prose, prose_of
from harness.reference.markdown import as_table, grouped, joined, wrapped
from harness.wire import postgres


def history_page() -> str:
    """Return the page of the history."""
    told = prose(inspect.cleandoc(history.__doc__ or ""))
    before = [part for part in told.body if not part.startswith("- ")]
    functions = [part for part in told.body if part.startswith("- ")]
    rows = [_function(item) for part in functions for item in re.split(r"\n(?=- )", part)]
    meanings = prose_of(history.Event).fields.items()
    return joined(
        "# The history",
        wrapped(told.summary),
        wrapped(before[0]),
        "## Fields of a line",
        as_table(("field", "meaning"), grouped([(f"`{name}`", text) for name, text in meanings])),
        "## Functions",
        wrapped(before[1]),
        as_table(("`f`", "process", "value"), rows),
        *map(wrapped, before[2:]),
        "## Outcomes",
        "How a transaction ended that broke, by how far it had come:",
        as_table(("it broke", "rolled back, says the server", "anything else"), _outcomes()),
        *_body(postgres.outcome_of),
        "And when COMMIT came back without an error:",
        as_table(("`pg_xact_status` says", "outcome"), _commits()),
        *_body(postgres.committed),
    )


def _function(item: str) -> Sequence[str]:
    """Return function, process and value from `- f: process: value`."""
    parts = " ".join(item.removeprefix("- ").split()).split(": ", 2)
    if len(parts) != 3:
        raise HarnessError(f"harness.history: found {item!r}; expected '- f: process: value'")
    return parts


def _outcomes() -> Iterator[Sequence[str]]:
    """Yield what each error makes of a transaction: the code itself is asked."""
    moments: Mapping[postgres.Phase, str] = {
        "open": "while it connected",
        "read": "in a transaction that only reads",
        "body": "before COMMIT was sent",
        "commit": "after COMMIT was sent",
    }
    known = sorted(postgres.CERTAINLY_ROLLED_BACK)
    for phase in get_args(postgres.Phase):
        refused = {postgres.outcome_of(phase, state) for state in known}
        other = postgres.outcome_of(phase, None)
        told = " or ".join(f"`{one}`" for one in sorted(refused))
        codes = f" ({', '.join(known)})" if phase == "commit" else ""
        yield moments[phase], f"{told}{codes}", f"`{other}`"


def _commits() -> Iterator[Sequence[str]]:
    """Yield what each answer to COMMIT makes of a transaction: the code itself is asked."""
    answers: Sequence[tuple[str, str, Sequence[str]]] = [
        ("committed", "`committed`", ()),
        ("committed", "`committed`, but COMMIT came with a warning", ("a warning",)),
        ("aborted", "`aborted`", ()),
        ("in progress", "anything else", ()),
    ]
    for status, words, notices in answers:
        yield words, f"`{postgres.committed(status, notices)[0]}`"


def _body(function: object) -> Sequence[str]:
    return [wrapped(part) for part in prose(inspect.getdoc(function) or "").body]
