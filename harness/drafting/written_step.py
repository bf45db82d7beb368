"""A step as it is written: read from YAML, and told in a few words."""

from collections.abc import Mapping, Sequence

from harness import registry
from harness.history import Json
from harness.places import Problem, TreePath, is_list, show, show_path
from harness.scenario import Step
from harness.validation import check, nearest, one_of, unknown

# Beside the verb in a step.
MODIFIERS = ("as", "at", "background", "when", "cluster")


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
