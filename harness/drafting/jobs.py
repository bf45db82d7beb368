"""The workload of a cell: the clients that will put load on the cluster."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

from harness import registry, rules
from harness.drafting.sheet import Sheet
from harness.history import Json
from harness.places import TreePath, at
from harness.protocols import EVERY_NODE, Job
from harness.validation import unknown

# Where a workload may be sent, besides to a node.
THROUGH = ("primary-elb", "replica-elb", EVERY_NODE)


def draft_jobs(sheet: Sheet) -> Sequence[Job]:
    """Return the workloads of this cell, each with a seed of its own."""
    found = sheet.tree.root.get("workload", {})
    jobs = []
    for name, parameters in found.items() if isinstance(found, Mapping) else ():
        path = ("workload", name)
        sheet.workloads.append(name)  # also one with a mistake: it is not unknown
        raw = {} if parameters is None else parameters
        kind, own = _kind(name, raw)
        cls = registry.workloads().get(kind)
        if cls is None:
            where, at_key = (path, True) if kind == name else ((*path, "kind"), False)
            sheet.tree.add(where, unknown("workload", kind, registry.workloads()), at_key=at_key)
            continue
        load = sheet.plugin(cls, own, path, beside=("kind",))
        if load is not None and isinstance(own, Mapping):
            _check_place(sheet, load.through, (*path, "through"))
            seed = derive_seed(sheet.seed, sheet.tree.id, name)
            jobs.append(Job(name, "workloads", kind, own, load.through, seed))
    return jobs


def _kind(name: str, raw: Json) -> tuple[str, Json]:
    """Return which workload this is, and its parameters; its name says, unless `kind` does."""
    if not isinstance(raw, Mapping) or "kind" not in raw:
        return name, raw
    return str(raw["kind"]), {key: value for key, value in raw.items() if key != "kind"}


def _check_place(sheet: Sheet, through: str, path: TreePath) -> None:
    """Refuse a node that the cluster lacks."""
    nodes = rules.node_names(sheet.cluster) if sheet.cluster else (through,)
    if through not in nodes and through not in THROUGH:
        if isinstance(at(sheet.tree.root, path), Mapping):
            path = (*path, "node")
        sheet.tree.add(path, unknown("node", through, nodes))


def derive_seed(seed: int, *names: str) -> int:
    """Return a seed of its own for each list of names; the same one in each run of a seed."""
    text = "/".join([str(seed), *names])
    # 48 bits pass through JSON, and through languages whose numbers are doubles, unharmed.
    return int.from_bytes(sha256(text.encode()).digest()[:6], "big")
