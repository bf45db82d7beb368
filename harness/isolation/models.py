"""Consistency models, and which of them an anomaly rules out.

A model that is ruled out takes every stronger one with it. An anomaly that is not listed with a
model leaves it standing: `internal` and `lost-update` need no cycle, yet repeatable read as Adya
defines it says nothing of the first and read committed nothing of the second.

Source: Adya (1999), table 4-1 (PL-1, PL-2, PL-2.99, PL-3, PL-SI); Cerone, Bernardi & Gotsman
(CONCUR 2015) for `internal`; Berenson et al. (1995) for `lost-update`; Daudjee & Salem, "Lazy
Database Replication with Snapshot Isolation" (VLDB 2006), for strong and strong session models;
Kingsbury & Alvaro, "Elle" (PVLDB 2020), section 6.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final, Literal, TypeAlias, get_args

from harness.isolation.cycles import SUFFIX, Family, Order

Consistency: TypeAlias = Literal[
    "read-uncommitted",
    "read-committed",
    "repeatable-read",
    "snapshot-isolation",
    "serializable",
    "strong-session-snapshot-isolation",
    "strong-session-serializable",
    "strong-snapshot-isolation",
    "strict-serializable",
]

MODELS: Final[tuple[Consistency, ...]] = get_args(Consistency)

# Each model, and the strongest of those that it includes.
_INCLUDES: Final[Mapping[Consistency, tuple[Consistency, ...]]] = {
    "read-uncommitted": (),
    "read-committed": ("read-uncommitted",),
    "repeatable-read": ("read-committed",),
    "snapshot-isolation": ("read-committed",),
    "serializable": ("repeatable-read", "snapshot-isolation"),
    "strong-session-snapshot-isolation": ("snapshot-isolation",),
    "strong-session-serializable": ("serializable", "strong-session-snapshot-isolation"),
    "strong-snapshot-isolation": ("strong-session-snapshot-isolation",),
    "strict-serializable": ("strong-session-serializable", "strong-snapshot-isolation"),
}

_SNAPSHOTS: Final[Mapping[Order, Consistency]] = {
    Order.DATA: "snapshot-isolation",
    Order.PROCESS: "strong-session-snapshot-isolation",
    Order.REALTIME: "strong-snapshot-isolation",
}
_SERIAL: Final[Mapping[Order, Consistency]] = {
    Order.DATA: "serializable",
    Order.PROCESS: "strong-session-serializable",
    Order.REALTIME: "strict-serializable",
}

# Each anomaly, and the weakest models that it rules out.
_BREAKS: Final[Mapping[str, tuple[Consistency, ...]]] = {
    "G0": ("read-uncommitted",),
    "duplicate-elements": ("read-uncommitted",),
    "cyclic-versions": ("read-uncommitted",),
    "G1a": ("read-committed",),
    "G1b": ("read-committed",),
    "G1c": ("read-committed",),
    "dirty-update": ("read-committed",),
    "incompatible-order": ("read-committed",),
    "future-read": ("read-committed",),
    "internal": ("snapshot-isolation",),
    "lost-update": ("repeatable-read", "snapshot-isolation"),
    "G-single-item": ("repeatable-read", "snapshot-isolation"),
    "G-nonadjacent-item": ("repeatable-read", "snapshot-isolation"),
    "G2-item": ("repeatable-read", "serializable"),
    **{
        name + SUFFIX[order]: (_SERIAL[order] if name == "G2-item" else _SNAPSHOTS[order],)
        for name in ("G0", "G1c", "G-single-item", "G-nonadjacent-item", "G2-item")
        for order in (Order.PROCESS, Order.REALTIME)
    },
}

# The anomaly that a family of cycles amounts to, where no cycle of it is at hand.
_LEAST: Final[Mapping[Family, str]] = {
    Family.WRITES: "G0",
    Family.READS: "G1c",
    Family.APART: "G-nonadjacent-item",
    Family.ANY: "G2-item",
}

# Elle's names for the proof, without an example, that a model is broken.
_PROOF: Final[Mapping[Consistency, str]] = {
    "read-uncommitted": "PL-1-cycle-exists",
    "read-committed": "PL-2-cycle-exists",
    "repeatable-read": "PL-2.99-cycle-exists",
    "snapshot-isolation": "PL-SI-cycle-exists",
    "serializable": "PL-3-cycle-exists",
    "strong-session-snapshot-isolation": "strong-session-snapshot-isolation-cycle-exists",
    "strong-session-serializable": "strong-session-serializable-cycle-exists",
    "strong-snapshot-isolation": "strong-snapshot-isolation-cycle-exists",
    "strict-serializable": "PL-SS-cycle-exists",
}


@cache
def included(model: Consistency) -> frozenset[Consistency]:
    """Return the models that hold wherever a model holds, itself among them."""
    return frozenset({model}).union(*(included(weaker) for weaker in _INCLUDES[model]))


def ruled_out(anomalies: Iterable[str]) -> frozenset[Consistency]:
    """Return the models that cannot hold where these anomalies, or proofs of some, were found."""
    proven = {name: (model,) for model, name in _PROOF.items()}
    broken = {model for name in anomalies for model in (_BREAKS.get(name) or proven[name])}
    return frozenset(model for model in MODELS if broken & included(model))


def anomalies_of(exist: Iterable[tuple[Family, Order]]) -> frozenset[str]:
    """Return the anomaly that the mere existence of each family of cycles amounts to."""
    return frozenset(_LEAST[family] + SUFFIX[order] for family, order in exist)


def proofs(broken: Iterable[Consistency], shown: Iterable[str]) -> frozenset[str]:
    """Return the names of what is proven but not shown by any anomaly that was found.

    Args:
        broken: the models that are ruled out.
        shown: the anomalies of which there is an example.
    """
    missing = frozenset(broken) - ruled_out(shown)
    weakest = (m for m in missing if not missing & (included(m) - {m}))
    return frozenset(_PROOF[model] for model in weakest)
