"""The page of the scenario file: its sections, and the keys of each."""

from harness.reference.docstrings import prose_of
from harness.reference.fields import fields_table
from harness.reference.markdown import joined, wrapped
from harness.reference.values import SECTIONS
from harness.scenario import Scenario

# What a step's model holds that nobody writes.
_UNWRITTEN = ("verb", "parameters", "path")


def scenario_page() -> str:
    """Return the page of the scenario file."""
    parts = [
        "# The scenario file",
        wrapped(
            "One YAML file asks one question of a cluster. Durations are written `250ms`, `30s`, "
            "`5m`, `1m30s`; rates `20/s`; sizes `1MiB`. Only `true` and `false` are booleans. "
            "Secrets come from the environment as `${env:NAME}` and are hidden in every report. "
            "`./drill validate FILE` lists every mistake with its line and column."
        ),
        fields_table(Scenario),
        wrapped(
            "`steps` hold [verbs](verbs.md), `expect` [expectations](expectations.md), `workload` "
            "[workloads](workloads.md)."
        ),
    ]
    for cls, name in SECTIONS.items():
        told = prose_of(cls)
        table = fields_table(cls, hidden=_UNWRITTEN)
        parts += [f"## {name}", wrapped(told.summary), *map(wrapped, told.body), table]
    return joined(*parts)
