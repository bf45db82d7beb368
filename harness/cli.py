"""The command line: `./drill COMMAND`. Each command is one function; all ends come by `main`.

What a command needs is imported when it runs, so that `--help` does not wait for a Docker client.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.errors import ExitCode, HarnessError, Mistake, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.judging import Case
    from harness.result import ScenarioResult
    from harness.verdict import Verdict

_CELLS_OF_EACH = 2  # that `./drill test` runs of each scenario
_INTERRUPTED = 130  # what the parser makes of a KeyboardInterrupt

Backend = Literal["sim", "docker", "aws"]

Paths = Annotated[
    list[Path], typer.Argument(metavar="PATH...", help="Scenario files, or folders of them.")
]
BackendOption = Annotated[
    Backend | None, typer.Option(help="Where to run: docker when an engine answers.")
]
CellOption = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Only this cell of the matrix: the text in brackets."),
]
RepeatOption = Annotated[
    int | None, typer.Option(min=1, help="Runs of each cell, instead of the scenario's own number.")
]
SeedOption = Annotated[
    int | None,
    typer.Option(help="What every random choice comes from; chosen and printed if absent."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON; everything else goes to stderr.")
]

app = typer.Typer(
    name="drill",
    help="Ask questions of highly available PostgreSQL clusters, and judge the answers.",
    epilog="Exit: 0 pass, 1 fail, 2 wrong input, 3 error (proved nothing), 4 a bug in the harness.",
    add_completion=False,
    no_args_is_help=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
image = typer.Typer(help="The images that local clusters are made of.", rich_markup_mode=None)
app.add_typer(image, name="image")


# --- running -----------------------------------------------------------------------------------


@app.command()
def run(
    paths: Paths,
    *,
    backend: BackendOption = None,
    cell: CellOption = None,
    repeat: RepeatOption = None,
    seed: SeedOption = None,
    jobs: Annotated[
        int,
        typer.Option(
            min=1, help="Cells that run side by side, of all files, as far as there is room."
        ),
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where results go.", show_default="runs/SCENARIO-SEED"),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the clusters up afterwards.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Run scenarios and judge them."""
    from harness import apart, launch
    from harness.clock import NS, WallClock
    from harness.report.summary import last_line, whole_line
    from harness.report.terminal import Screen, Terminal

    plans = launch.plans(paths, backend=backend, cell=cell, repeat=repeat, seed=seed)
    stream = sys.stderr if as_json else sys.stdout
    clock = WallClock()
    slots = BoundedSemaphore(jobs)
    screen = Screen(stream, shared=len(plans) > 1 and jobs > 1)
    folders = [launch.folder_of(plan, out, among=len(plans)) for plan in plans]
    found: dict[int, ScenarioResult] = {}
    began = clock.now_ns()

    def execute(number: int) -> None:
        plan, folder = plans[number], folders[number]
        listener = Terminal(screen, secrets=sorted(plan.secrets))
        with _bugs_saved_in(folder):
            try:
                result = launch.execute(
                    plan,
                    out=folder,
                    clock=clock,
                    listener=listener,
                    slots=slots,
                    keep=keep,
                    where=where,
                )
            finally:
                listener.close()
        found[number] = result
        listener.tell([*_ending(result, folder), last_line(result)])

    # One cell after another has nobody beside it whom its verdict could disturb.
    place = apart.apart() if jobs > 1 else nullcontext(apart.here)
    with place as where, launch.interruptible(clock):
        work = (partial(execute, number) for number in launch.queue(plans))
        launch.side_by_side(clock, work, None if jobs == 1 else slots)
    if len(plans) > 1:
        seconds = (clock.now_ns() - began) / NS
        print(whole_line([found[n] for n in sorted(found)], seconds), file=stream, flush=True)
    if as_json:
        told = [(folders[n] / "result.json").read_text(encoding="utf-8") for n in sorted(found)]
        documents = [json.loads(one) for one in told]
        _print_json(documents[0] if len(plans) == 1 else documents)
    return exit_code([result.verdict for result in found.values()])


def _ending(result: "ScenarioResult", folder: Path) -> "Iterator[str]":
    """Yield what comes just before the last line."""
    from harness.verdict import Verdict

    yield f"report: {folder / 'index.html'}"
    if result.verdict in (Verdict.FAIL, Verdict.ERROR):
        yield f"again: {result.replay}"
    if result.verdict is Verdict.SKIP:
        yield "every cell was skipped: this proved nothing"


def exit_code(verdicts: "Sequence[Verdict]") -> ExitCode:
    """Return what the shell is told of all runs together; skips alone prove nothing."""
    from harness.verdict import Verdict

    worst = Verdict.worst(verdicts)
    codes = {Verdict.PASS: ExitCode.PASS, Verdict.FAIL: ExitCode.FAIL}
    return codes.get(worst, ExitCode.ERROR)


@app.command()
def plan(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A scenario file.")],
    *,
    backend: BackendOption = None,
    cell: CellOption = None,
    repeat: RepeatOption = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show what a run would do, and when. Nothing starts."""
    from harness import launch
    from harness.report import agenda

    # Nothing runs, so no engine has to answer.
    plans = launch.plans(
        [path], backend=backend or "docker", cell=cell, repeat=repeat, seed=seed or 0
    )
    if as_json:
        shown = [launch.hide_in(agenda.as_json(one), one) for one in plans]
        _print_json(shown[0] if len(shown) == 1 else shown)
        return ExitCode.PASS
    for one in plans:
        for line in agenda.lines(one):
            print(launch.hide(line, one))  # noqa: T201
    return ExitCode.PASS


# --- looking -----------------------------------------------------------------------------------


@app.command()
def validate(paths: Paths, *, as_json: JsonOption = False) -> int:
    """Look for mistakes in scenario files; each is told with its line and column."""
    from harness import loader
    from harness.report.text import plural

    scenarios = loader.load_all(paths)
    if as_json:
        _print_json({"valid": True, "scenarios": [one.name for one in scenarios], "mistakes": []})
    else:
        print(f"{plural(len(scenarios), 'scenario')} without a mistake")  # noqa: T201
    return ExitCode.PASS


@app.command()
def check(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="HISTORY|RUN_DIR", help="A history, or the folder of a run."),
    ] = None,
    *,
    checker: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to ask of a history.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="M", help="The checker's model; short for --with model=M.")
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="FIELD=VALUE", help="Another of its fields; JSON or text."),
    ] = None,
    cases: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Many questions, one JSON object a line.")
    ] = None,
    engine: Annotated[
        Literal["python", "adya", "porcupine"] | None,
        typer.Option(help="Who answers: we (python), or a second opinion."),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Judge histories that were recorded, by us or by anybody; or a run of ours once more."""
    from harness import judging

    asked = judging.Asked(path, cases, checker, model, fields or (), engine)
    if cases is not None:
        return _check_cases(judging.cases_asked(asked))
    if checker is None:
        return _check_run(judging.folder_asked(asked), as_json=as_json)
    return _check_history(judging.case_asked(asked), as_json=as_json)


def _check_cases(cases: "Sequence[Case]") -> int:
    """Print one line a case, in their order; what cannot be read is told on stderr, too."""
    from harness import judging
    from harness.clock import WallClock

    mistakes: list[Mistake] = []
    for case in cases:
        judgement = judging.judge(case, WallClock())
        print(json.dumps(judgement.to_json()), flush=True)  # noqa: T201
        mistakes += judgement.error.mistakes if judgement.error else ()
    if mistakes:
        raise ScenarioError(mistakes)
    return ExitCode.PASS


def _check_history(case: "Case", *, as_json: bool) -> int:
    from harness import judging
    from harness.clock import WallClock
    from harness.report import judgement as shown

    judgement = judging.judge(case, WallClock())
    if judgement.error:
        raise judgement.error
    for line in [json.dumps(judgement.to_json())] if as_json else shown.lines(judgement):
        print(line)  # noqa: T201
    return exit_code([shown.verdict(judgement.answer.valid)])


def _check_run(folder: Path, *, as_json: bool) -> int:
    from harness import recorded
    from harness.report import result_json
    from harness.report.summary import last_line
    from harness.report.terminal import plain_cell

    result = recorded.judge_again(folder)
    if as_json:
        _print_json(json.loads(result_json.to_json(result, folder)))
    else:
        for cell in result.cells:
            print(plain_cell(cell))  # noqa: T201
        print(last_line(result))  # noqa: T201
    return exit_code([result.verdict])


@app.command()
def schema(*, as_json: JsonOption = False) -> int:  # noqa: ARG001 - it always is JSON
    """Print the JSON Schema of scenario files, for editors."""
    from harness import loader

    _print_json(loader.schema())
    return ExitCode.PASS


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
    *,
    as_json: JsonOption = False,
) -> int:
    """Draw a run's index.html and junit.xml again, from its result.json and its histories."""
    from harness import launch
    from harness.report import result_json

    result = result_json.load(folder)
    written = launch.draw(result, folder)
    if as_json:
        _print_json({"written": [str(path) for path in written]})
    else:
        for path in written:
            print(path)  # noqa: T201
    return ExitCode.PASS


# --- clusters to play with ---------------------------------------------------------------------


@app.command()
def up(
    *,
    name: Annotated[str, typer.Option(help="What to call it.")] = "main",
    nodes: Annotated[int, typer.Option(min=1, max=7, help="Machines with PostgreSQL.")] = 3,
    azs: Annotated[
        int, typer.Option(min=1, max=7, help="Availability zones to spread them over.")
    ] = 3,
    sync: Annotated[
        Literal["async", "sync", "strict", "quorum"],
        typer.Option(help="How commits are replicated."),
    ] = "async",
    watchdog: Annotated[
        Literal["none", "required"], typer.Option(help="What stops a node whose Patroni hangs.")
    ] = "none",
    as_json: JsonOption = False,
) -> int:
    """Make a cluster to play with, and say how to connect to it."""
    from harness import launch
    from harness.clock import WallClock
    from harness.drivers.docker import play
    from harness.scenario import Cluster

    letters = tuple("abcdefg"[:azs])
    clock = WallClock()
    with launch.interruptible(clock):
        wanted = Cluster(nodes=nodes, azs=letters, sync=sync, watchdog=watchdog)
        facts = play.up(name, wanted, clock, _say)
    if as_json:
        _print_json(facts)
    else:
        for line in play.lines(facts):
            print(line)  # noqa: T201
    return ExitCode.PASS


@app.command()
def down(
    *,
    name: Annotated[str | None, typer.Option(help="Which one.", show_default="main")] = None,
    as_json: JsonOption = False,
) -> int:
    """Remove a cluster that `up`, or `run --keep`, left."""
    from harness.drivers.docker import play

    removed = play.down(name)
    if as_json:
        _print_json({"removed": removed})
    else:
        print(f"{name or play.DEFAULT}: {removed} objects removed")  # noqa: T201
    return ExitCode.PASS


@app.command()
def ps(*, as_json: JsonOption = False) -> int:
    """List the clusters on this engine: their machines, who leads, how long they may stay."""
    from dataclasses import asdict

    from harness.drivers.docker import play

    clusters = play.seen()
    if as_json:
        _print_json([asdict(one) for one in clusters])
    else:
        for line in play.table(clusters):
            print(line)  # noqa: T201
    return ExitCode.PASS


# --- keeping the machine clean -----------------------------------------------------------------


@app.command()
def heal(*, as_json: JsonOption = False) -> int:
    """Undo the faults that dead runs left, from their journals."""
    from harness.drivers.docker import leftovers

    failures = leftovers.heal(_say)
    if as_json:
        _print_json({"not_undone": failures})
    elif not failures:
        print("every fault of dead runs is undone")  # noqa: T201
    return ExitCode.ERROR if failures else ExitCode.PASS


@app.command()
def reap(*, as_json: JsonOption = False) -> int:
    """Remove the containers, networks and volumes of dead runs."""
    from harness.drivers.docker import leftovers

    removed = leftovers.reap(_say)
    if as_json:
        _print_json({"removed": removed})
    else:
        print(f"{removed} removed")  # noqa: T201
    return ExitCode.PASS


@image.command("build")
def image_build(*, as_json: JsonOption = False) -> int:
    """Build the images that are missing; an unchanged tree builds nothing."""
    from harness.clock import WallClock
    from harness.drivers.docker import images
    from harness.drivers.docker.engine import connect

    references = images.ensure(connect(), _say, clock=WallClock())
    if as_json:
        _print_json(references)
    else:
        for reference in references.values():
            print(reference)  # noqa: T201
    return ExitCode.PASS


# --- the project's own tests -------------------------------------------------------------------


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=True,
)
def test(
    context: typer.Context,
    *,
    mutants: Annotated[
        bool,
        typer.Option(
            "--mutants",
            help="Only the planted defects, and their controls; prints last how many were caught.",
        ),
    ] = False,  # noqa: PT028 - a command, not a test
) -> int:
    """Run the project's own tests and scenarios; further arguments are pytest's."""
    from harness import budget

    root = Path(__file__).resolve().parent.parent
    if not (root / "tests").is_dir():
        raise HarnessError(f"{root}: no tests here; expected a checkout of the project")
    words = list(context.args)
    if not any(Path(word.split("::")[0]).exists() for word in words if not word.startswith("-")):
        places = ["tests/mutants"] if mutants else ["tests", "scenarios"]
        words += [str(root / place) for place in places if (root / place).is_dir()]
        if not mutants and not any(word.startswith(("-m", "--sample")) for word in words):
            # Each check and each scenario, but not each combination: `tox -e docker` has them all.
            words += [f"--sample={_CELLS_OF_EACH}", "-m", "not slow"]
    # As many as there is room for clusters; half of that where tests without any, which take a
    # whole core each and no turn, run beside them.
    # Steal work: the longest tests are the clusters, and they stand together.
    if not any(word.startswith(("-n", "--numprocesses")) for word in words):
        workers = budget.workers() if mutants else max(1, budget.workers() // 2)
        words += ["-n", str(workers), "--dist", "worksteal"]
    with tempfile.TemporaryDirectory(prefix="drill-test-") as folder:
        report = Path(folder) / "junit.xml"
        if mutants:
            words.append(f"--junitxml={report}")
        code = _pytest(root, words)
        if mutants:
            print(_tally(report))  # noqa: T201
    # A session that was stopped, or had nothing to run, proved nothing.
    known = {0: ExitCode.PASS, 1: ExitCode.FAIL, 4: ExitCode.USAGE}
    return known.get(code, ExitCode.ERROR)


def _pytest(root: Path, words: Sequence[str]) -> int:
    """Run pytest in a process of its own: in this one its plug-ins would find us imported."""
    options = [f"--rootdir={root}", f"--config-file={root / 'pyproject.toml'}"]
    with subprocess.Popen([sys.executable, "-P", "-m", "pytest", *options, *words]) as child:
        # Ctrl-C reaches the child from the terminal; SIGTERM must be handed on.
        before = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: child.terminate()),
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        }
        try:
            return child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _tally(report: Path) -> str:
    """Return how many planted defects were caught, and how many controls, without one, are clean.

    A test of either passes when it is; a skipped one shows nothing. `tests/mutants` marks controls.
    """
    from xml.etree import ElementTree

    cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []  # noqa: S314 - our own file
    well = {True: 0, False: 0}
    total = {True: 0, False: 0}
    for case in cases:
        is_control = case.find("properties/property[@name='control']") is not None
        total[is_control] += 1
        well[is_control] += not case.findall("*[@message]")
    return (
        f"mutants: {well[False]}/{total[False]} caught, controls: {well[True]}/{total[True]} clean"
    )


@app.command()
def docs(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; list the pages that are stale.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Write the reference pages, docs/reference, from the code."""
    from typer.core import TyperGroup
    from typer.main import get_command

    from harness import reference

    root = Path(__file__).resolve().parent.parent
    if not (root / "docs").is_dir():
        raise HarnessError(f"{root}: no docs here; expected a checkout of the project")
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    wanted = reference.pages(root, command)
    named = reference.stale(root, wanted) if check else reference.write(root, wanted)
    if as_json:
        _print_json({"stale" if check else "written": named})
    else:
        for name in named:
            print(f"stale: {name}" if check else name)  # noqa: T201
    return ExitCode.FAIL if check and named else ExitCode.PASS


# --- ends --------------------------------------------------------------------------------------


def command_names() -> Sequence[str]:
    """Return every command, as the documents may name it."""
    return sorted(
        [*(c.name or (c.callback.__name__ if c.callback else "") for c in app.registered_commands)]
        + [group.name for group in app.registered_groups if isinstance(group.name, str)]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: every end of the program comes by here."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Accepted before the command, too: it is the same wish.
    if words[:1] == ["--json"] and len(words) > 1:
        words = [words[1], "--json", *words[2:]]
    wants_json = "--json" in words and words[:1] != ["test"]
    try:
        return _invoke(words)
    except KeyboardInterrupt:
        _say("interrupted")
        return ExitCode.ERROR
    except BrokenPipeError:
        # Whoever read us has gone. Python would complain of it once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.ERROR
    except ScenarioError as error:
        return _refuse(error.mistakes, wants_json=wants_json)
    except HarnessError as error:
        return _end(str(error), error.exit_code, wants_json=wants_json)
    except Exception as error:  # noqa: BLE001 - whatever was not foreseen is a bug
        return _end(_bug(error), ExitCode.BUG, wants_json=wants_json)


def _invoke(words: Sequence[str]) -> int:
    """Parse and run; mistakes of the command line are told in the house's form.

    Raises:
        HarnessError: with exit code 2, for a command line that cannot be understood.
    """
    if not words:
        app(["--help"], prog_name="./drill", standalone_mode=False)
        return ExitCode.USAGE
    known = command_names()
    if not words[0].startswith("-") and words[0] not in known:
        raise _usage(
            f"found the command {words[0]!r}; expected one of {', '.join(known)}", words[0], known
        )
    try:
        code = app(list(words), prog_name="./drill", standalone_mode=False)
    except typer.TyperException as error:
        raise _translated(error) from None
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    return int(code or 0)


class _UsageError(HarnessError):
    exit_code = ExitCode.USAGE


def _usage(found: str, word: str, known: Sequence[str]) -> HarnessError:
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    return _UsageError(f"./drill: {found}" + (f"; did you mean {close[0]!r}?" if close else ""))


def _translated(error: typer.TyperException) -> HarnessError:
    """Return a parser's complaint in the house's form, with the nearest option."""
    context = getattr(error, "ctx", None)
    where = getattr(context, "command_path", "./drill")
    option = getattr(error, "option_name", None)
    if context is not None and isinstance(option, str) and "No such option" in error.message:
        known = [
            name for one in context.command.params for name in one.opts if name.startswith("-")
        ]
        complaint = _usage(f"found {option!r}; expected one of {', '.join(known)}", option, known)
        return _UsageError(str(complaint).replace("./drill:", f"{where}:", 1))
    text = error.format_message().rstrip(".").replace("Value error, ", "")
    return _UsageError(f"{where}: {text[:1].lower()}{text[1:]}; see {where} --help")


def _refuse(mistakes: Sequence[Mistake], *, wants_json: bool) -> ExitCode:
    from harness.report.text import one_line

    for mistake in mistakes:
        print(one_line(str(mistake)), file=sys.stderr)  # noqa: T201
    if wants_json:
        listed = [
            {"file": m.file, "line": m.line, "column": m.column, "text": m.text} for m in mistakes
        ]
        _print_json({"valid": False, "exit": ExitCode.USAGE, "mistakes": listed})
    return ExitCode.USAGE


def _end(sentence: str, code: ExitCode, *, wants_json: bool) -> ExitCode:
    _say(sentence)
    if wants_json:
        _print_json({"exit": code, "error": sentence})
    return code


def _say(text: str) -> None:
    from harness.report.text import printable

    shown = "\n".join(printable(line) for line in text.splitlines())
    print(shown if shown.startswith("./drill") else f"drill: {shown}", file=sys.stderr, flush=True)  # noqa: T201


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, default=str), flush=True)  # noqa: T201


_BUG_FOLDER: list[Path] = []


@contextmanager
def _bugs_saved_in(folder: Path) -> "Iterator[None]":
    """While this lasts, a bug's traceback belongs to a run's folder; `main` asks for it."""
    try:
        yield
    except Exception:
        _BUG_FOLDER[:] = [folder]
        raise


def _bug(error: Exception) -> str:
    """Save the traceback of a bug; return the sentence that says where it is."""
    full = "".join(traceback.format_exception(error))
    last = traceback.format_exception_only(error)[-1].strip()
    if os.environ.get("DRILL_TRACEBACK") == "1":
        return f"a bug in the harness, please report:\n{full}"
    folder = _BUG_FOLDER.pop() if _BUG_FOLDER else None
    if folder is not None and folder.is_dir():
        path = folder / "bug.txt"
        path.write_text(full, encoding="utf-8", errors="replace")
    else:
        number, name = tempfile.mkstemp(prefix="drill-bug-", suffix=".txt", text=True)
        path = Path(name)
        with os.fdopen(number, "w", encoding="utf-8", errors="replace") as file:
            file.write(full)
    return f"a bug in the harness, please report: {last} (all of it: {path})"
