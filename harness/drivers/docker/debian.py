"""The releases of Debian that images are built on, and what each brings. A table; nothing starts.

Source: Debian's package lists: `postgresql` and `python3` of each release.
"""

from dataclasses import dataclass

from harness.errors import DriverError

# Debian's PostgreSQL comes in one major version a release; so it, of all things, picks the base.
PGVERSION = "PGVERSION"


@dataclass(frozen=True, slots=True)
class Suite:
    """One release.

    Attributes:
        postgres: the major version of PostgreSQL that it has.
        python: the version of Python that it has; wheels are downloaded for it.
    """

    name: str
    postgres: int
    python: str

    @property
    def published(self) -> str:
        """Return the image that Debian publishes of it."""
        return f"debian:{self.name}-slim"


SUITES = (Suite("trixie", 17, "3.13"), Suite("bookworm", 15, "3.11"))
# Of whatever has no PostgreSQL in it.
NEWEST = SUITES[0]
POSTGRES = tuple(sorted(suite.postgres for suite in SUITES))


def suite_of(postgres: str | None) -> Suite:
    """Return the release that has this major version of PostgreSQL; the newest where none is asked.

    Raises:
        DriverError: when none has it.
    """
    if postgres is None:
        return NEWEST
    for suite in SUITES:
        if str(suite.postgres) == postgres:
            return suite
    known = " or ".join(f"{suite.postgres} ({suite.name})" for suite in reversed(SUITES))
    raise DriverError(f"image: {PGVERSION} {postgres!r}; expected {known}: Debian has no other")
