"""`drill check RUN_DIR`: a recorded run held once more against the expectations of its scenario.

Nothing but the files of its folder is looked at: the scenario as it was read then, the histories,
and what the run said of itself. A run that died before its verdict is judged from what it left.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness import loader
from harness.errors import Mistake, ScenarioError
from harness.history import History, merge_logs
from harness.plan import Cell, Plan, plan
from harness.report import result_json
from harness.result import CellResult, ScenarioResult
from harness.runner import judge_cell, replay
from harness.scenario import BACKENDS
from harness.validation import unknown
from harness.verdict import Verdict

_DIED = "the run died before its verdict"
_HISTORY = "history.jsonl"


def judge_again(folder: Path) -> ScenarioResult:
    """Return the result of a run's folder, its histories judged anew.

    Raises:
        ScenarioError: when it is no run's folder, or a history in it cannot be read.
    """
    if (folder / result_json.NAME).exists():
        told = result_json.load(folder)
        planned = _plan(folder, told)
        cells = {cell.id: cell for cell in planned.cells}
        judged = [_again(cells, one, folder) for one in told.cells]
        return replace(told, cells=judged)
    return _judge_dead(folder)


def _plan(folder: Path, told: ScenarioResult) -> Plan:
    scenario = loader.load(_scenario_file(folder))
    backend = next((one for one in BACKENDS if one == told.backend), None)
    if backend is None:
        text = f"{result_json.NAME}: {unknown('backend', told.backend, BACKENDS)}"
        raise ScenarioError([Mistake(str(folder), 0, 0, text)])
    return plan(scenario, backend, seed=told.seed)


def _scenario_file(folder: Path) -> Path:
    found = sorted(folder.glob("*.yaml"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        text = f"found {names}; expected the folder of a run, with its scenario in it"
        raise ScenarioError([Mistake(str(folder), 0, 0, text)])
    return found[0]


def _again(cells: Mapping[str, Cell], told: CellResult, folder: Path) -> CellResult:
    if told.id not in cells:
        text = f"{result_json.NAME}: cell {told.id!r}; expected one of the scenario beside it"
        raise ScenarioError([Mistake(str(folder), 0, 0, text)])
    if not told.histories:
        return told  # skipped, or ended before anything was recorded
    judged = judge_cell(cells[told.id], told.histories, "", told.seconds)
    # What no history tells: why the run ended early. The rest of the note was found just now.
    ended = told.note.removesuffix(judged.note).removesuffix("; ")
    judged = replace(judged, beside=told.beside)
    if not ended:
        return judged
    verdict = Verdict.worst([judged.verdict, Verdict.ERROR])
    return replace(judged, verdict=verdict, note="; ".join(filter(None, [ended, judged.note])))


# --- a run that died ---------------------------------------------------------------------------


def _judge_dead(folder: Path) -> ScenarioResult:
    """Judge what a run left that nobody judged: a breach is one, and all else is an error."""
    scenario = loader.load(_scenario_file(folder))
    histories = _histories(folder)
    facts = History.load(next(iter(histories.values()))[0]).facts
    planned = plan(scenario, "docker", seed=int(str(facts.get("seed", 0))))
    cells = [cell for cell in planned.cells if cell.id in histories]
    return ScenarioResult(
        scenario=scenario.name,
        title=scenario.title,
        file=scenario.file,
        backend=planned.backend,
        seed=planned.seed,
        started="",
        cells=[judge_cell(cell, histories[cell.id], _DIED, 0.0) for cell in cells],
        replay=replay(planned),
    )


def _histories(folder: Path) -> Mapping[str, Sequence[Path]]:
    """Return the histories by the cell that each says it is of, merged where they were not yet."""
    found: dict[str, list[Path]] = defaultdict(list)
    for logs in sorted(path for path in folder.rglob("clients") if path.is_dir()):
        target = logs.parent / _HISTORY
        if not target.exists():
            merge_logs(logs, target)
        found[str(History.load(target).facts.get("cell", ""))].append(target)
    if not found:
        text = "no client wrote anything in it; expected the folder of a run"
        raise ScenarioError([Mistake(str(folder), 0, 0, text)])
    return found
