"""A scenario made ready for one backend: the cells of its matrix, with every plug-in in place."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from hashlib import sha256
from typing import TypeVar

from pydantic import BaseModel

from harness import registry, rules
from harness.cells import Tree, declared_values, expand
from harness.errors import Mistake, ScenarioError
from harness.history import Json
from harness.places import Document, Problem, TreePath, at, is_list, show, show_path
from harness.protocols import Checker, Job, Verb
from harness.scenario import (
    Backend,
    BackendOverride,
    Cluster,
    ExpectationModifiers,
    Scenario,
    Steady,
    Step,
)
from harness.validation import check, nearest, one_of, unknown, without_echoes

M = TypeVar("M", bound=BaseModel)
P = TypeVar("P")

# Of one run of one cell, from the first container to the last: twice what the slowest cell of
# the catalogue's default waits may take.
DEFAULT_TIMEOUT_S = 1800.0
# Beside the verb in a step.
MODIFIERS = ("as", "at", "background", "when", "cluster")
LABEL_LENGTH = 80
# Where a workload may be sent, besides to a node.
THROUGH = ("primary-elb", "replica-elb", "every-node")


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One verb, and when it runs.

    Attributes:
        label: for people: `kill leader (power-off)`.
        name: what `as:` calls it. at_s: the reading of the scenario clock that it waits for.
        path: `steps[2]`, where an error points.
    """

    verb: Verb
    label: str
    path: str
    name: str | None = None
    at_s: float | None = None
    background: bool = False


@dataclass(frozen=True, slots=True)
class PlannedExpectation:
    """One property and how strictly it is held.

    Attributes:
        report_only: measured and printed, not judged.
        line: of the scenario file, for the report.
    """

    name: str
    checker: Checker
    report_only: bool = False
    line: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of the matrix.

    Attributes:
        id: the text in brackets, `nodes=3-sync=quorum`; empty without a matrix.
        variables: the matrix's choices, by their dotted paths or names.
        skip: why this cell cannot run here, or None.
    """

    id: str
    variables: Mapping[str, Json]
    cluster: Cluster
    workloads: Sequence[Job]
    steady: Steady
    steps: Sequence[PlannedStep]
    expectations: Sequence[PlannedExpectation]
    skip: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that will happen, before anything does.

    Attributes:
        timeout_s: of one run of one cell.
        secrets: values that came from the environment: no report, log or label may show them.
    """

    scenario: Scenario
    backend: Backend
    cells: Sequence[Cell]
    repeat: int
    seed: int
    timeout_s: float
    secrets: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, slots=True)
class Supported:
    """What a driver can do on this machine.

    Attributes:
        verbs: those that it performs; None is all.
        facts: what `requires:` may ask for: `{"azs": 3, "watchdog": True, "netem": False}`.
    """

    verbs: Collection[str] | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)


def plan(
    scenario: Scenario,
    backend: Backend,
    *,
    seed: int,
    cell: str | None = None,
    repeat: int | None = None,
    supported: Supported | None = None,
    environment: Mapping[str, str] | None = None,
) -> Plan:
    """Make a scenario ready for one backend; nothing starts.

    Args:
        scenario: as the loader read it.
        backend: where it will run.
        seed: what every random choice of the run comes from.
        cell: the text in brackets of the only cell to plan; None is all of them.
        repeat: runs of each cell; None is what the file says for the backend.
        supported: what the driver can do here; None asks nothing of it.
        environment: what `${env:NAME}` reads; None is the process's own.

    Raises:
        ScenarioError: with each mistake that shows only in a cell, and for an unknown cell.
    """
    assert scenario.document is not None, "only a scenario that the loader read can be planned"
    document = scenario.document
    secrets = os.environ if environment is None else environment
    cells, problems = draft(document, backend, seed=seed, supported=supported, environment=secrets)
    if problems:
        raise ScenarioError([document.mistake(problem) for problem in problems])
    override = scenario.backends.get(backend, BackendOverride())
    if repeat is not None and repeat < 1:
        text = f"--repeat: found {repeat}; expected at least 1"
        raise ScenarioError([Mistake(document.file, 0, 0, text)])
    return Plan(
        scenario=scenario,
        backend=backend,
        cells=[c.cell for c in cells] if cell is None else [_named(cells, cell, document)],
        repeat=repeat or override.repeat,
        seed=seed,
        timeout_s=override.timeout or DEFAULT_TIMEOUT_S,
        secrets=frozenset(secret for c in cells for secret in c.secrets),
    )


def derive_seed(seed: int, *names: str) -> int:
    """Return a seed of its own for each list of names; the same one in each run of a seed."""
    text = "/".join([str(seed), *names])
    # 48 bits pass through JSON, and through languages whose numbers are doubles, unharmed.
    return int.from_bytes(sha256(text.encode()).digest()[:6], "big")


def _named(cells: "Sequence[Drafted]", cell: str, document: Document) -> Cell:
    by_id = {c.cell.id: c.cell for c in cells}
    if cell in by_id:
        return by_id[cell]
    known = sorted(by_id, key=lambda name: (-SequenceMatcher(None, cell, name).ratio(), name))
    expected = f"expected {one_of(known)}" if any(known) else "the scenario has no matrix"
    raise ScenarioError([Mistake(document.file, 0, 0, f"--cell: found {cell!r}; {expected}")])


# --- cells -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drafted:
    """A cell, and the secrets that went into it."""

    cell: Cell
    secrets: Collection[str]


def draft(
    document: Document,
    backend: Backend,
    *,
    seed: int,
    supported: Supported | None,
    environment: Mapping[str, str],
) -> tuple[Sequence[Drafted], Sequence[Problem]]:
    """Return the cells of one backend that are sound, and each problem of the others, once."""
    trees, problems = expand(document, backend, environment)
    found = list(problems)
    drafted = []
    for tree in trees:
        cell = _CellMaker(document, backend, tree, seed, supported).make()
        told = [problem for problem in tree.problems if problem.path not in tree.unfilled]
        found += [tree.in_file(problem, document) for problem in without_echoes(told)]
        if cell is not None and not tree.problems and not tree.unfilled:
            drafted.append(Drafted(cell, tree.secrets.keys()))
    return drafted, without_echoes(found)


class _CellMaker:
    """Builds one cell from its tree, noting every mistake on the way."""

    def __init__(
        self,
        document: Document,
        backend: Backend,
        tree: Tree,
        seed: int,
        supported: Supported | None,
    ) -> None:
        self._document = document
        self._backend: Backend = backend
        self._tree = tree
        self._seed = seed
        self._supported = supported
        self._cluster = self._section(Cluster, "cluster")
        # Of each step that runs in this cell, its number and name; and the names of the others.
        self._names: list[tuple[int, str | None]] = []
        self._off: list[str] = []

    def make(self) -> Cell | None:
        """Return the cell, or None when the tree now holds a problem."""
        cluster = self._cluster
        steady = self._section(Steady, "steady")
        if cluster is not None:
            self._note(rules.cluster_rules(cluster))
        if cluster is not None and steady is not None:
            self._note(rules.steady_rules(steady, cluster))
        jobs = self._jobs()
        steps, planned = self._steps()
        expectations = self._expectations()
        if cluster is None or steady is None:
            return None
        return Cell(
            id=self._tree.id,
            variables=self._tree.choices,
            cluster=cluster,
            workloads=jobs,
            steady=steady,
            steps=planned,
            expectations=expectations,
            skip=self._skip([step.verb for step in steps]),
        )

    def _note(self, problems: Iterable[Problem]) -> None:
        self._tree.problems.extend(problems)

    def _section(self, cls: type[M], name: str) -> M | None:
        model, problems = check(cls, self._tree.root.get(name, {}), prefix=(name,))
        self._note(problems)
        return model

    # --- workload

    def _jobs(self) -> Sequence[Job]:
        found = self._tree.root.get("workload", {})
        jobs = []
        for name, parameters in found.items() if isinstance(found, Mapping) else ():
            path = ("workload", name)
            cls = registry.workloads().get(name)
            if cls is None:
                self._tree.add(path, unknown("workload", name, registry.workloads()), at_key=True)
                continue
            raw = {} if parameters is None else parameters
            load = self._plugin(cls, raw, path)
            if load is not None and isinstance(raw, Mapping):
                self._check_place(load.through, (*path, "through"))
                seed = derive_seed(self._seed, self._tree.id, name)
                jobs.append(Job(name, "workloads", name, raw, load.through, seed))
        return jobs

    def _check_place(self, through: str, path: TreePath) -> None:
        """Refuse a node that the cluster lacks."""
        nodes = rules.node_names(self._cluster) if self._cluster else (through,)
        if through not in nodes and through not in THROUGH:
            if isinstance(at(self._tree.root, path), Mapping):
                path = (*path, "node")
            self._tree.add(path, unknown("node", through, nodes))

    def _plugin(
        self, cls: type[P], raw: Json, path: TreePath, *, beside: Iterable[str] = ()
    ) -> P | None:
        """Return what the plug-in makes of its parameters, or None and the problems noted."""
        assert issubclass(cls, BaseModel), f"{cls.__name__} is no pydantic model"
        model, problems = check(cls, raw, prefix=path, beside=beside)
        self._note(problems)
        return model

    # --- steps

    def _steps(self) -> tuple[Sequence[Step], Sequence[PlannedStep]]:
        """Return the steps of this cell, as written and ready to run.

        One with a mistake is left out, but its name counts: what refers to it is right.
        """
        found = self._tree.root.get("steps")
        steps: list[tuple[TreePath, Step]] = []
        broken = 0
        for i, raw in enumerate(found if is_list(found) else ()):
            path: TreePath = ("steps", i)
            step, problems = read_step(raw, path)
            self._note(problems)
            name = raw.get("as") if isinstance(raw, Mapping) else None
            if step is None:
                broken += 1
                self._names.append((i, name if isinstance(name, str) else None))
            elif self._holds(step.when, (*path, "when")):
                steps.append((path, step))
                self._names.append((i, step.name))
            elif step.name is not None:
                self._off.append(step.name)
        if is_list(found) and found and not steps and not broken:
            text = "`when` leaves every step out of a cell; expected at least one in each"
            self._tree.add(("steps",), text)
        self._note(rules.name_rules(steps))
        self._note(rules.time_rules(steps))
        planned = [self._step(step, path) for path, step in steps]
        return [step for _, step in steps], [step for step in planned if step is not None]

    def _check_reference(self, name: str, path: TreePath, *, before: int | None = None) -> None:
        """Refuse a name that no step has, or none of those before the step with this number."""
        earlier = [n for i, n in self._names if n is not None and (before is None or i < before)]
        later = [n for _, n in self._names if n is not None and n not in earlier]
        if self._names:  # without any step, that is the mistake
            self._note(
                rules.reference_rule(name, path, earlier=earlier, later=later, off=self._off)
            )

    def _step(self, step: Step, path: TreePath) -> PlannedStep | None:
        here = (*path, step.verb)
        if self._is_listed() and self._lacks(step.verb):
            text = f"the {self._backend} driver has no {step.verb}; expected a verb that it has"
            self._tree.add(here, text, at_key=True)
        self._check_cluster(step.cluster, path)
        verb = self._plugin(registry.verbs()[step.verb], step.parameters, here)
        if verb is None:
            return None
        for place, target in rules.targets(verb, here):
            if self._cluster is not None:
                self._note(rules.target_rules(target, place, self._cluster))
            if target.ref is not None:
                self._check_reference(target.ref, (*place, "ref"), before=int(path[-1]))
        return PlannedStep(
            verb=verb,
            label=self._tree.hide(label(step.verb, step.parameters))[:LABEL_LENGTH],
            path=step.path,
            name=step.name,
            at_s=step.at,
            background=step.background,
        )

    def _check_cluster(self, name: str | None, path: TreePath) -> None:
        """Refuse the name of a cluster that no step makes; None is the scenario's own."""
        known = [str(made) for made in _values_of(self._tree.root.get("steps"), "as_cluster")]
        if name is not None and name not in known:
            text = f"unknown cluster {name!r}; expected one that a step restores"
            self._tree.add((*path, "cluster"), text + nearest(name, known))

    # --- expectations

    def _expectations(self) -> Sequence[PlannedExpectation]:
        found = self._tree.root.get("expect")
        planned = []
        judged = 0
        before = len(self._tree.problems)
        for name, raw in found.items() if isinstance(found, Mapping) else ():
            expectation = self._expectation(name, raw)
            if expectation is not None:
                planned.append(expectation)
                judged += not expectation.report_only
        if found and not judged and len(self._tree.problems) == before:
            text = "no expectation is judged in a cell; expected one that `when`, `unless` and "
            self._tree.add(("expect",), text + "`report` leave in each")
        return planned

    def _expectation(self, name: str, raw: Json) -> PlannedExpectation | None:
        path: TreePath = ("expect", name)
        cls = registry.checkers().get(name)
        if cls is None:
            self._tree.add(path, unknown("expectation", name, registry.checkers()), at_key=True)
            return None
        own, modifiers = _split(raw, ExpectationModifiers)
        common, problems = check(ExpectationModifiers, modifiers, prefix=path)
        self._note(problems)
        checker = self._plugin(cls, own, path, beside=_keys_of(ExpectationModifiers))
        if common is None or checker is None:
            return None
        self._check_cluster(common.cluster, path)
        applies = self._holds(common.when, (*path, "when"))
        if common.unless and self._holds(common.unless, (*path, "unless")):
            applies = False
        if not applies:
            return None
        self._note(rules.bound_rules(checker, path))
        if not checker.bounds and not common.report:
            self._tree.add(path, "no bound; expected max, min or a percentile, or `report: true`")
        for ref in dict.fromkeys(checker.refs):
            self._check_reference(ref, (*path, *_key_with(own, ref)))
        key = self._tree.in_file(Problem(path, "", at_key=True), self._document)
        line = self._document.mistake(key).line
        return PlannedExpectation(name, checker, common.report, line)

    # --- conditions

    def _holds(self, conditions: Mapping[str, Json], path: TreePath) -> bool:
        """Say whether all conditions hold in this cell; one that is wrong counts as holding."""
        return all(self._is(key, wanted, (*path, key)) for key, wanted in conditions.items())

    def _is(self, key: str, wanted: Json, path: TreePath) -> bool:
        options = list(wanted) if is_list(wanted) else [wanted]
        parts = key.split(".")
        if key in self._tree.choices:
            value = self._tree.choices[key]
        elif parts[0] == "cluster" and self._cluster is not None:
            value = at(self._cluster.model_dump(mode="json"), tuple(parts[1:]))
        else:
            value = None
        if value is None or isinstance(value, Mapping):
            declared = [*self._tree.choices, *_cluster_paths()]
            if self._cluster is not None and not declared_values(self._document, key):
                self._tree.add(path, unknown("variable", key, declared), at_key=True)
            return True
        known = declared_values(self._document, key)
        for i, option in enumerate(options):
            here = (*path, i) if is_list(wanted) else path
            if parts[0] == "cluster":
                self._note(_as_cluster_value(parts[1:], option, here))
            elif not any(_same(option, one) for one in known):
                texts = [str(one) for one in known]
                text = f"found {show(option)}; expected {one_of(texts)}"
                self._tree.add(here, text + nearest(option, texts))
        return any(_same(option, value) for option in options)

    # --- skips

    def _is_listed(self) -> bool:
        backends = self._document.root.get("backends")
        return isinstance(backends, Mapping) and self._backend in backends

    def _lacks(self, verb: str) -> bool:
        """Say whether the driver is known not to have this verb."""
        supported = self._supported
        return supported is not None and supported.verbs is not None and verb not in supported.verbs

    def _skip(self, verbs: Sequence[str]) -> str | None:
        """Return why this cell cannot run here, or None."""
        if "backends" in self._document.root and not self._is_listed():
            return f"{self._backend} is not listed under `backends`"
        if self._supported is None:
            return None
        for verb in filter(self._lacks, verbs):
            return f"the {self._backend} driver has no `{verb}`"
        needs: dict[str, Json] = {}
        if self._cluster is not None and self._cluster.watchdog == "required":
            needs["watchdog"] = True
        required = self._document.root.get("requires")
        needs |= required if isinstance(required, Mapping) else {}
        for fact, wanted in needs.items():
            has = self._supported.facts.get(fact)
            if not _meets(has, wanted):
                return f"needs {fact}: {show(wanted)}; this machine has {show(has)}"
        return None


def read_step(raw: Json, path: TreePath) -> tuple[Step | None, Sequence[Problem]]:
    """Return the step that a mapping of one verb and its modifiers makes."""
    verbs = registry.verbs()
    if not isinstance(raw, Mapping):
        text = f"found {show(raw)}; expected a mapping with one verb: {one_of(verbs)}"
        return None, [Problem(path, text)]
    known = [key for key in raw if key in verbs]
    strange = [key for key in raw if key not in verbs and key not in MODIFIERS]
    problems = [_strange_key(key, (*path, key), has_verb=bool(known)) for key in strange]
    if len(known) > 1:
        text = f"found the verbs {' and '.join(known)}; expected one verb a step"
        problems.append(Problem((*path, known[1]), text, at_key=True))
    elif not known and not strange:
        problems.append(Problem(path, f"no verb; expected {one_of(verbs)}"))
    modifiers: dict[str, Json] = {key: raw[key] for key in raw if key in MODIFIERS}
    verb = known[0] if known else ""
    words: dict[str, Json] = {"verb": verb, "parameters": None, "path": show_path(path)}
    step, wrong = check(Step, {**modifiers, **words}, prefix=path)
    problems += wrong
    if step is None or problems:
        return None, problems
    return step.model_copy(update={"parameters": raw[verb]}), problems


def _strange_key(key: str, path: TreePath, *, has_verb: bool) -> Problem:
    if has_verb:
        return Problem(path, unknown("key", key, MODIFIERS), at_key=True)
    expected = f"expected {one_of(registry.verbs())}"
    hint = nearest(key, [*registry.verbs(), *MODIFIERS])
    return Problem(path, f"unknown verb {show(key)}; {expected}{hint}", at_key=True)


def label(verb: str, parameters: Json) -> str:
    """Return a step in a few words, secrets still by their names: `kill leader (power-off)`."""
    if not isinstance(parameters, Mapping):
        return verb if parameters is None else f"{verb} {_describe(parameters)}"
    head: list[str] = []
    rest: list[str] = []
    for key, value in parameters.items():
        words = _describe(value)
        if key in ("role", "node", "ref", "until", "service", "random", "run"):
            head.append(words)
        elif key in ("az", "pick", "from", "to"):
            head.append(f"{key} {words}")
        else:
            rest.append(words if key in ("how", "timeout") else f"{key} {words}")
    text = " ".join([verb, *head])
    return f"{text} ({', '.join(rest)})" if rest else text


def _describe(value: Json) -> str:
    if isinstance(value, Mapping):
        return " ".join(
            _describe(v) if k in ("role", "node", "ref", "service") else f"{k} {_describe(v)}"
            for k, v in value.items()
        )
    if is_list(value):
        return "+".join(map(_describe, value))
    return value if isinstance(value, str) else show(value)


# --- small things ------------------------------------------------------------------------------


def _keys_of(cls: type[BaseModel]) -> Sequence[str]:
    return [field.alias or name for name, field in cls.model_fields.items()]


def _split(raw: Json, cls: type[BaseModel]) -> tuple[Json, Mapping[str, Json]]:
    """Return what is the plug-in's own, and what every one of its kind may have."""
    if not isinstance(raw, Mapping):
        return ({} if raw is None else raw), {}
    keys = _keys_of(cls)
    own = {key: value for key, value in raw.items() if key not in keys}
    return own, {key: value for key, value in raw.items() if key in keys}


def _key_with(raw: Json, value: str) -> TreePath:
    """Return the way to a value in what was written; nothing when it is not there."""
    if isinstance(raw, Mapping):
        for key, part in raw.items():
            below = _key_with(part, value)
            if part == value or below:
                return (key, *below)
    return ()


def _values_of(tree: Json, key: str) -> Iterable[Json]:
    if isinstance(tree, Mapping):
        if key in tree:
            yield tree[key]
        for part in tree.values():
            yield from _values_of(part, key)
    elif is_list(tree):
        for part in tree:
            yield from _values_of(part, key)


def _same(one: Json, other: Json) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _meets(has: Json, wanted: Json) -> bool:
    if isinstance(wanted, bool) or not isinstance(wanted, int):
        return has == wanted
    return isinstance(has, int) and has >= wanted


def _cluster_paths() -> Sequence[str]:
    """Return the dotted paths that a condition may ask about."""
    tree: Json = Cluster().model_dump(mode="json")
    assert isinstance(tree, Mapping), "a model dumps to a mapping"
    return [
        f"cluster.{key}.{below}" if below else f"cluster.{key}"
        for key, value in tree.items()
        for below in (value if isinstance(value, Mapping) else ("",))
    ]


def _as_cluster_value(parts: Sequence[str], value: Json, path: TreePath) -> Iterable[Problem]:
    """Yield what is wrong with a value that a condition compares a setting of the cluster with."""
    tree = value
    for part in reversed(parts):
        tree = {part: tree}
    return [Problem(path, p.text) for p in check(Cluster, tree)[1]]
