"""The workload of a cell: the clients that will put load on the cluster."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

from harness import registry, rules
from harness.drafting.sheet import Sheet
from harness.places import TreePath, at
from harness.protocols import Job
from harness.validation import unknown

# Where a workload may be sent, besides to a node.
THROUGH = ("primary-elb", "replica-elb", "every-node")


def draft_jobs(sheet: Sheet) -> Sequence[Job]:
    """Return the workloads of this cell, each with a seed of its own."""
    found = sheet.tree.root.get("workload", {})
    jobs = []
    for name, parameters in found.items() if isinstance(found, Mapping) else ():
        path = ("workload", name)
        cls = registry.workloads().get(name)
        if cls is None:
            sheet.tree.add(path, unknown("workload", name, registry.workloads()), at_key=True)
            continue
        raw = {} if parameters is None else parameters
        load = sheet.plugin(cls, raw, path)
        if load is not None and isinstance(raw, Mapping):
            _check_place(sheet, load.through, (*path, "through"))
            seed = derive_seed(sheet.seed, sheet.tree.id, name)
            jobs.append(Job(name, "workloads", name, raw, load.through, seed))
    return jobs


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
