"""Runs that destroy their cluster and restore another, by the same loop as all others."""

import pytest

from harness.history import History, Op
from harness.verdict import Verdict
from tests.unit.test_runner import Bench, bench, one, spoil
from tests.unit.world import MemoryDriver

__all__ = ["bench"]  # a fixture

MARK = "  - mark: before\n"
SLEEP = "  - sleep: 30ms\n"
DESTROY = "  - destroy: {service: cluster}\n    as: loss\n"
RESTORE = "  - restore: {to: {mark: before, by: name}, as_cluster: copy, nodes: 2, timeout: 5s}\n"
LATEST = "  - restore: {to: {by: latest}, timeout: 5s}\n"


def soon(driver: MemoryDriver) -> None:
    driver.restore_s = 0.02


def value(op: Op) -> dict[str, object]:
    assert isinstance(op.value, dict)
    return op.value


def verbs(history: History) -> list[str]:
    return [op.f for op in history.deeds]


@pytest.fixture
def run(bench: Bench) -> Bench:
    bench.prepare = soon
    return bench


# --- holding -----------------------------------------------------------------------------------


def test_a_mark_holds_every_client_that_writes(run: Bench) -> None:
    """The workload and the probe of each node, and no other; all are released."""
    told: list[tuple[str, object]] = []

    def prepare(driver: MemoryDriver) -> None:
        driver.before_act = lambda verb, what: told.append((verb, what))

    run.prepare = prepare
    assert run.cell(MARK).verdict is Verdict.PASS
    names = {"append", "probe/pg-1", "probe/pg-2", "probe/pg-3"}
    assert {what for verb, what in told if verb == "hold"} == names
    assert {what for verb, what in told if verb == "release"} == names


def test_what_a_mark_digests_is_what_is_restored(run: Bench) -> None:
    """With real clients that write before, and again after it."""
    cell = run.cell(SLEEP + MARK + SLEEP + RESTORE)
    assert cell.verdict is Verdict.PASS, cell
    mark, restore = value(one(run.history(), "mark")), value(one(run.history(), "restore"))
    assert restore["digest"] == mark["digest"]
    wal = run.driver.wal
    assert wal.digest("drill.append") != mark["digest"]["drill.append"], "it was written on"  # type: ignore[index]


@pytest.mark.parametrize("method", ["hold", "release"])
def test_a_client_that_cannot_be_held_is_an_error(run: Bench, method: str) -> None:
    """And none stays held: all are told to go on."""
    told: list[str] = []

    def prepare(driver: MemoryDriver) -> None:
        driver.before_act = lambda verb, _: told.append(verb)
        spoil(method, "not held")(driver)

    run.prepare = prepare
    cell = run.cell(MARK)
    assert cell.verdict is Verdict.ERROR
    assert cell.note.startswith("steps[0]: not held")
    assert told.count("release") == 4


def test_an_abort_releases_the_clients(run: Bench) -> None:
    """On the way out, too."""
    told: list[str] = []

    def prepare(driver: MemoryDriver) -> None:
        def before(verb: str, _: object) -> None:
            told.append(verb)
            if verb == "hold":
                run.clock.abort()

        driver.before_act = before

    run.prepare = prepare
    cell = run.cell("  - mark: {point: before}\n" + SLEEP)
    assert cell.verdict is Verdict.ERROR
    assert "aborted" in cell.note
    assert told.count("release") == 4


# --- a cluster beside another ------------------------------------------------------------------


def test_steps_reach_the_restored_cluster_by_its_name(run: Bench) -> None:
    """Each with the machines of its own; the undo of a fault finds its way there."""
    kill = "  - kill: {role: leader, how: power-off}\n    cluster: copy\n"
    steady = "  - wait: {until: healthy, timeout: 5s}\n    cluster: copy\n"
    cell = run.cell(MARK + RESTORE + kill + "  - sql: {role: leader, run: SELECT 1}\n")
    assert cell.verdict is Verdict.PASS, cell
    history = run.history()
    assert value(one(history, "kill"))["nodes"] == ["copy-1"]
    assert value(one(history, "sql"))["nodes"] == ["pg-1"]
    (clone,) = run.driver.clones
    assert ("start", "copy-1") in clone.seen
    assert [verb for verb, _ in run.driver.seen if verb != "clone"] == []
    assert run.cell(MARK + RESTORE + steady).verdict is Verdict.PASS


def test_a_fault_on_one_cluster_is_no_fault_of_the_other(run: Bench) -> None:
    """Who led before is asked of the cluster that was hurt."""
    kill = "  - kill: {role: leader, how: power-off}\n    cluster: copy\n"
    wait = "  - wait: {until: new-leader, timeout: 5s}\n    cluster: copy\n"
    assert run.cell(MARK + RESTORE + kill + wait).verdict is Verdict.PASS
    assert run.driver.keys["leader"] == "pg-1"


def test_a_restored_cluster_is_read_by_a_reader_of_its_own(run: Bench) -> None:
    """And no client uses it: two clusters that both take writes are no split brain."""
    assert run.cell(MARK + RESTORE).verdict is Verdict.PASS
    history = run.history()
    reads = [(op.process, op.key, op.node) for op in history.select("read", "ok")]
    assert reads == [
        ("restored/copy", "append", "copy-1"),
        ("restored/copy", "probe", "copy-1"),
        ("final", "append", "pg-1"),
        ("final", "probe", "pg-1"),
    ]
    nodes = {op.node for f in ("txn", "write") for op in history.select(f, "ok")}
    assert nodes <= {"pg-1", "pg-2", "pg-3"}


def test_the_last_cluster_must_be_steady(run: Bench) -> None:
    """Not the one that it came from, though that still runs."""

    def prepare(driver: MemoryDriver) -> None:
        soon(driver)

        clone = driver.clone

        def made(*arguments: object) -> object:
            new = clone(*arguments)  # type: ignore[arg-type]
            driver.clones[0].inside["copy-2"].powered = False
            return new

        driver.clone = made  # type: ignore[method-assign, assignment]

    run.prepare = prepare
    cell = run.cell(MARK + RESTORE, more="steady: {timeout: 100ms}\n")
    assert cell.verdict is Verdict.ERROR
    assert "not steady after the last step: copy-2 does not answer" in cell.note


def test_a_cluster_that_is_not_there_yet_is_an_error(run: Bench) -> None:
    """It is restored in the background, and a step comes too early."""
    restore = RESTORE + "    background: true\n"
    early = "  - sql: {role: leader, run: SELECT 1}\n    cluster: copy\n"

    def prepare(driver: MemoryDriver) -> None:
        soon(driver)
        driver.before_act = lambda verb, _: run.clock.sleep(0.2) if verb == "clone" else None

    run.prepare = prepare
    cell = run.cell(MARK + restore + early)
    assert "steps[2]: cluster 'copy': not there yet; expected it to be restored" in cell.note


def test_the_logs_of_both_clusters_are_kept(run: Bench) -> None:
    """Also of one that never came up: the reason stands there."""

    def prepare(driver: MemoryDriver) -> None:
        driver.restore_s = 99

    run.prepare = prepare
    cell = run.cell(MARK + RESTORE.replace("5s", "50ms"))
    assert cell.verdict is Verdict.ERROR
    assert "no write was acknowledged within 50ms" in cell.note
    assert (run.out / "logs" / "pg-1.log").is_file()
    assert (run.out / "logs" / "copy-1.log").is_file()


# --- a cluster that is no more -----------------------------------------------------------------


def test_a_run_goes_on_without_its_own_cluster(run: Bench) -> None:
    """No client waits for it, and nothing of it is read at the end."""
    cell = run.cell(MARK + DESTROY + RESTORE)
    assert cell.verdict is Verdict.PASS, cell
    history = run.history()
    assert verbs(history) == ["mark", "destroy", "restore"]
    loss = history.instant("loss")
    assert loss is not None
    for f in ("txn", "write", "patroni", "open"):
        assert all(op.start < loss for op in history.select(f)), f
    assert {op.process for op in history.select("read")} == {"restored/copy"}
    phases = [str(event.value) for event in history.notes("phase")]
    assert phases == ["steady", "steps", "steady", "settled", "end"]
    assert run.driver.downs == 1


def test_the_cluster_may_come_back_in_its_place(run: Bench) -> None:
    """It is the last one again; its clients stay away."""
    cell = run.cell(MARK + DESTROY + LATEST + "  - wait: {until: healthy, timeout: 5s}\n")
    assert cell.verdict is Verdict.PASS, cell
    restore = value(one(run.history(), "restore"))
    assert restore["cluster"] == "own"
    assert restore["nodes"] == ["pg-1", "pg-2", "pg-3"]
    assert {op.process for op in run.history().select("read")} == {"restored/own"}


def test_what_was_to_be_started_is_destroyed_and_stays_so(run: Bench) -> None:
    """A heal that starts what is no more would be an error of the run."""
    freeze = "  - freeze: {node: pg-2, process: patroni}\n"
    kill = "  - kill: {role: leader, how: power-off}\n"
    cell = run.cell(MARK + freeze + kill + DESTROY + RESTORE)
    assert cell.verdict is Verdict.PASS, cell
    done = [verb for verb, _ in run.driver.seen]
    assert "start" not in done
    assert "thaw" not in done
    assert "heal" not in verbs(run.history())


def test_a_run_whose_clusters_are_all_gone_is_an_error(run: Bench) -> None:
    """The file is refused where that is plain; here a role destroys the last of them."""
    more = "cluster: {nodes: 1}\n"
    cell = run.cell("  - destroy: {role: leader}\n", more=more)
    assert cell.verdict is Verdict.ERROR
    assert "not steady after the last step: every cluster of the run was destroyed" in cell.note


# --- S3 ----------------------------------------------------------------------------------------


def test_s3_is_watched_until_the_end(run: Bench) -> None:
    """Also when the cluster is gone that wrote to it."""

    def prepare(driver: MemoryDriver) -> None:
        soon(driver)

        def before(verb: str, what: object) -> None:
            if verb == "destroy":
                driver.store(f"spilo/drill/archive/{what}")

        driver.before_act = before

    run.prepare = prepare
    assert run.cell(MARK + DESTROY + RESTORE + SLEEP).verdict is Verdict.PASS
    keys = {str(event.value["key"]) for event in run.history().notes("object")}  # type: ignore[index, call-overload]
    assert "spilo/drill/archive/pg-1" in keys


@pytest.mark.parametrize("for_", ["", ", for: 20ms"])
def test_s3_is_made_well_again(run: Bench, for_: str) -> None:
    """By itself, or at the end; the history tells what it was that was healed."""
    assert run.cell(f"  - s3: {{how: outage{for_}}}\n{SLEEP}").verdict is Verdict.PASS
    assert run.driver.s3_state == "well"
    heal = one(run.history(), "heal")
    assert heal.value == {"nodes": [], "s3": "well"}
    run.assert_left_clean()


def test_a_table_that_was_not_restored_is_no_error_of_the_run(run: Bench) -> None:
    """It is told, and the read of it stands in the history as one that failed."""

    def prepare(driver: MemoryDriver) -> None:
        soon(driver)
        clone = driver.clone

        def made(*arguments: object) -> object:
            new = clone(*arguments)  # type: ignore[arg-type]
            spoil("final_read", '42P01: relation "drill.probe" does not exist')(driver.clones[0])
            return new

        driver.clone = made  # type: ignore[method-assign, assignment]

    run.prepare = prepare
    assert run.cell(MARK + RESTORE).verdict is Verdict.PASS
    told = [text for text in run.listener.said if text.startswith("not read back: 42P01")]
    assert len(told) == 2, "of the workload, and of the probe"
