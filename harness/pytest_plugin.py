"""Scenario files as pytest tests: each cell of a scenario's matrix is one item.

`pytest scenarios/` selects (`-k`, `-m`, ids), repeats and reports them like any other test. Only
pytest's public names are used: an import of its private modules would, with the next release,
break every pytest session of whoever has this package installed.

What a run needs is imported when an item is collected, since this module is loaded by every
pytest session of its environment.
"""

import os
import re
import shlex
import sys
from argparse import ArgumentError
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, cast

import pytest

from harness import seeds
from harness.errors import ExitCode, HarnessError, ScenarioError

if TYPE_CHECKING:
    from harness.plan import Cell, Plan
    from harness.report.failure import Place
    from harness.result import CellResult, ScenarioResult
    from harness.scenario import Backend, Scenario

_BACKENDS = ("sim", "docker", "aws")
_SUFFIXES = (".yaml", ".yml")
# The first key, after comments and markers; a flow mapping is a mapping, too.
_FIRST_KEY = re.compile(r"(?:\s|#[^\n]*\n|---[^\n]*\n|%[^\n]*\n)*\{?\s*[\"']?scenario[\"']?\s*:")
_HEAD_BYTES = 1 << 16
# Labels become marks, and these marks act: `xfail` would turn a failure into a success.
_ACTING_MARKS = frozenset(
    {
        "filterwarnings",
        "parametrize",
        "skip",
        "skipif",
        "tryfirst",
        "trylast",
        "usefixtures",
        "xfail",
    }
)


class _Session:
    """What all scenario items of a session share.

    Attributes:
        backend: where they run. missing: why they cannot, if so.
        seen, ran: the node ids of scenario items that were reported, and that were not skipped.
        files: of each scenario's name, the file that has it.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.backend: Backend | None = None
        self.missing = ""
        self.seen: set[str] = set()
        self.ran: set[str] = set()
        self.files: dict[str, Path] = {}


_SESSION = pytest.StashKey[_Session]()


# --- options and marks -------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options; each has a long name, in case another plugin owns the short one."""
    group = parser.getgroup("drill", "scenarios of PostgreSQL clusters")
    _add(group, "backend", help="where scenarios run (default: docker)", choices=_BACKENDS)
    _add(group, "seed", help="what every random choice of a scenario comes from", type=int)
    _add(group, "repeat", help="runs of each cell of a scenario", type=int)
    _add(
        group,
        "sample",
        help="at most so many cells of each scenario, drawn by the seed to cover each axis",
        type=int,
    )
    group.addoption(
        "--drill-out",
        dest="drill_out",
        type=Path,
        metavar="DIR",
        help="where the results of scenarios go (default: runs)",
    )


def _add(group: pytest.OptionGroup, name: str, **settings: object) -> None:
    names = (f"--drill-{name}", f"--{name}")
    try:
        group.addoption(*names, dest=f"drill_{name}", **settings)
    except (ValueError, ArgumentError):
        group.addoption(names[0], dest=f"drill_{name}", **settings)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of the session and register the marks of the backends."""
    # A worker of pytest-xdist is told the seed of the session that it is part of.
    told = getattr(config, "workerinput", {}).get("drill_seed")
    asked = config.getoption("drill_seed")
    config.stash[_SESSION] = _Session(told if told is not None else seeds.choose(asked))
    for backend in _BACKENDS:
        config.addinivalue_line("markers", f"{backend}: a scenario that runs on {backend}")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell a worker of pytest-xdist the session's seed."""
    config = cast("pytest.Config", node.config)  # type: ignore[attr-defined]
    node.workerinput["drill_seed"] = config.stash[_SESSION].seed  # type: ignore[attr-defined]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Answer `-n auto` where there are scenarios: as many as there is room for clusters."""
    local = config.getoption("drill_backend") in (None, "docker")
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS") or not local:
        return None  # xdist's own answer
    here = config.invocation_params.dir
    places = [config.rootpath, *(here / word.split("::")[0] for word in config.args)]
    if not any(_has_scenarios(place, config) for place in places):
        return None
    from harness import budget

    return budget.workers()


def _has_scenarios(place: Path, config: pytest.Config) -> bool:
    """Return whether a named file is a scenario's, or a named folder has some, or `scenarios`."""
    if place.suffix in _SUFFIXES:
        return True
    # Nothing else is looked through: the sessions of other projects come by here.
    folder = place if "scenarios" in _below_root(config, place) else place / "scenarios"
    files = (one for suffix in _SUFFIXES for one in folder.rglob(f"*{suffix}"))
    return any(map(_is_scenario, files))


# --- collecting --------------------------------------------------------------------------------


def pytest_collect_file(parent: pytest.Collector, file_path: Path) -> "ScenarioFile | None":
    """Collect a scenario file: one below a folder `scenarios`, or one that the user named."""
    if file_path.suffix not in _SUFFIXES:
        return None
    # Whoever names a file wants it run: that it is no scenario is then a mistake, not a silence.
    named = parent.session.isinitpath(file_path)
    if named or ("scenarios" in _below_root(parent.config, file_path) and _is_scenario(file_path)):
        return ScenarioFile.from_parent(parent, path=file_path)
    return None


def _below_root(config: pytest.Config, path: Path) -> tuple[str, ...]:
    root = config.rootpath
    return path.relative_to(root).parts if path.is_relative_to(root) else path.parts


def _is_scenario(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES).decode("utf-8-sig", errors="replace")
    return _FIRST_KEY.match(head) is not None


class ScenarioFile(pytest.File):
    """One scenario file. Its mistakes are told all at once, each with line and column."""

    def collect(self) -> Iterable["ScenarioItem"]:
        from harness import drivers, loader, plan

        session = _session(self.config)
        backend = _backend(self.config, session)
        try:
            scenario = loader.load(_as_named(self.path, self.config))
            planned = plan.plan(
                scenario,
                backend,
                seed=session.seed,
                repeat=self.config.getoption("drill_repeat"),
                supported=drivers.supported(backend),
            )
            self._expect_own_name(scenario, session)
        except ScenarioError as error:
            raise self.CollectError(str(error)) from None
        for label in scenario.labels:
            if label in _ACTING_MARKS:
                text = f"label {label!r} is a mark that acts on pytest; expected another word"
                raise self.CollectError(f"{scenario.file}: {text}")
            self.config.addinivalue_line("markers", f"{label}: label of scenarios")
        cells = planned.cells
        if (most := self.config.getoption("drill_sample")) is not None:
            cells = seeds.spread(cells, most, Random(f"{session.seed}/{scenario.name}"))
        for cell in cells:
            yield ScenarioItem.from_parent(
                self, name=_item_name(planned, cell), planned=replace(planned, cells=[cell])
            )

    def _expect_own_name(self, scenario: "Scenario", session: _Session) -> None:
        """Refuse a name that another file of the session has: their results would be mixed up."""
        from harness import loader

        first = session.files.setdefault(scenario.name, self.path)
        if first != self.path:
            taken = str(_as_named(first, self.config))
            raise ScenarioError([loader.name_taken(scenario, taken)])


def _session(config: pytest.Config) -> _Session:
    return config.stash[_SESSION]


def _as_named(path: Path, config: pytest.Config) -> Path:
    """Return the path as the user would type it: mistakes and commands are told with it."""
    here = config.invocation_params.dir
    return path.relative_to(here) if path.is_relative_to(here) and here == Path.cwd() else path


def _backend(config: pytest.Config, session: _Session) -> "Backend":
    """Return where to run; asked once, since an absent engine takes its time to not answer."""
    from harness.launch import pick_backend

    if session.backend is None:
        try:
            session.backend = pick_backend(config.getoption("drill_backend"))
        except HarnessError as error:
            session.backend, session.missing = "docker", str(error)
    return session.backend


def _item_name(planned: "Plan", cell: "Cell") -> str:
    from harness.report.summary import cell_name

    return cell_name(planned.scenario.name, cell.id)


# --- running -----------------------------------------------------------------------------------


class ScenarioFailedError(Exception):
    """The system broke its promise; carries the block that tells it."""


class ProvedNothingError(Exception):
    """The run decided nothing; carries the block that tells it."""


class ScenarioItem(pytest.Item):
    """One cell of a scenario, all its repeats together: percentiles need them so.

    The cluster is run while the test is set up and judged when it is called. So a run that proved
    nothing is an error, in pytest's words and in JUnit's, and only a broken promise is a failure.
    """

    def __init__(self, name: str, parent: ScenarioFile, planned: "Plan", **more: object) -> None:
        super().__init__(name, parent, **more)  # type: ignore[arg-type]
        self._plan = planned
        self._failure = ""
        (cell,) = planned.cells
        self.user_properties.append(("backend", planned.backend))
        for mark in (planned.backend, *planned.scenario.labels):
            self.add_marker(mark)
        self.extra_keyword_matches.update(map(str, cell.variables.values()))
        reason = cell.skip or _session(self.config).missing
        if reason:
            self.add_marker(pytest.mark.skip(reason=reason))

    def setup(self) -> None:
        """Run the cell; raise when that proved nothing."""
        from harness import launch
        from harness.clock import WallClock
        from harness.report.terminal import Terminal
        from harness.verdict import Verdict

        clock, out = WallClock(), self._folder()
        # Captured by pytest like any test's output: shown live with -s, and below a failure.
        listener = Terminal(sys.stdout, secrets=sorted(self._plan.secrets))
        with launch.interruptible(clock) as interruption:
            try:
                result = launch.execute(self._plan, out=out, clock=clock, listener=listener)
            finally:
                listener.close()
        if interruption.asked:
            pytest.exit(f"aborted: {self.nodeid}; its faults are undone", returncode=ExitCode.ERROR)
        (cell,) = result.cells
        self._tell(result, cell, out)
        if cell.verdict is Verdict.SKIP:
            pytest.skip(cell.note)
        if cell.verdict is Verdict.ERROR:
            raise ProvedNothingError(self._block(result, cell, out))
        if cell.verdict is Verdict.FAIL:
            self._failure = self._block(result, cell, out)

    def runtest(self) -> None:
        """Raise when the system broke its promise."""
        if self._failure:
            raise ScenarioFailedError(self._failure)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> str:  # type: ignore[override]
        """Show what the user needs to know; of an unforeseen error, everything."""
        if isinstance(excinfo.value, (ScenarioFailedError, ProvedNothingError)):
            return str(excinfo.value)
        if isinstance(excinfo.value, HarnessError):
            return f"error: proved nothing: {excinfo.value}"
        return f"a bug in the harness, please report\n{super().repr_failure(excinfo)}"

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name

    def _folder(self) -> Path:
        base = self.config.getoption("drill_out") or self.config.rootpath / "runs"
        (cell,) = self._plan.cells
        from harness.runner import folder_name

        return Path(base) / f"{self._plan.scenario.name}-{self._plan.seed}" / folder_name(cell.id)

    def _tell(self, result: "ScenarioResult", cell: "CellResult", out: Path) -> None:
        from harness.report.junit import properties

        known = dict(self.user_properties)
        known |= dict(properties(result, cell, report=str(out / "index.html")))
        self.user_properties[:] = list(known.items())

    def _block(self, result: "ScenarioResult", cell: "CellResult", out: Path) -> str:
        from harness.launch import hide
        from harness.report import failure

        return hide(failure.block(result, cell, self._place(out)), self._plan)

    def _place(self, out: Path) -> "Place":
        from harness.report.failure import Place

        (cell,) = self._plan.cells
        repeat = f" --repeat {self._plan.repeat}" if self._plan.repeat > 1 else ""
        return Place(
            again=f"pytest {shlex.quote(self.nodeid)} --backend {self._plan.backend}"
            f" --seed {self._plan.seed}{repeat}",
            report=str(_as_named(out / "index.html", self.config)),
            lines={one.name: one.line for one in cell.expectations},
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let our items tell of their errors, too: pytest asks them only about failures."""
    report = yield
    if isinstance(item, ScenarioItem) and report.failed and call.excinfo is not None:
        report.longrepr = item.repr_failure(call.excinfo)
    return report


# --- the session -------------------------------------------------------------------------------


def pytest_report_header(config: pytest.Config) -> str:
    """Print the seed first: with it, everything can be repeated."""
    return f"drill: seed {_session(config).seed}"


def _is_ours(report: pytest.TestReport) -> bool:
    return any(name == "backend" and value in _BACKENDS for name, value in report.user_properties)


class _Counter:
    """Counts the scenarios of a session, and those that were more than skipped."""

    def __init__(self, session: _Session) -> None:
        self._session = session

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if _is_ours(report):
            self._session.seen.add(report.nodeid)
            if report.failed or report.when == "call":
                self._session.ran.add(report.nodeid)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin to count."""
    counter = _Counter(_session(session.config))
    session.config.pluginmanager.register(counter, "drill-counter")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """End with 3 when every scenario was skipped: green would claim what nobody has seen."""
    if exitstatus == pytest.ExitCode.OK and _all_skipped(_session(session.config)):
        session.exitstatus = ExitCode.ERROR


def _all_skipped(session: _Session) -> bool:
    return bool(session.seen) and not session.ran


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say why a session without a failure ended with 3."""
    session = _session(config)
    if _all_skipped(session):
        words = f"all {len(session.seen)} scenarios were skipped: this proved nothing"
        terminalreporter.write_line(f"drill: {words} (-rs shows why)", yellow=True)
