"""Plug-ins by name. A new fault, step, workload, probe or checker is one file: it is found here.

Each kind is a folder; importing its modules runs their `@register` lines.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from harness.protocols import Checker, Probe, Verb, Workload

if TYPE_CHECKING:
    # It reads files by a library that the clients' image does without.
    from harness.check import Check

T = TypeVar("T")
_found: dict[str, dict[str, type]] = {}


def register(cls: type[T]) -> type[T]:
    """Record a plug-in class under the `name` it carries, in the kind of its folder."""
    kind = cls.__module__.split(".")[-2]
    name: str = cls.name  # type: ignore[attr-defined]
    taken = _found.setdefault(kind, {}).setdefault(name, cls)
    assert taken.__qualname__ == cls.__qualname__, f"two {kind} are named {name!r}"
    return cls


@cache
def _load(kind: str) -> dict[str, type]:
    package = importlib.import_module(f"harness.{kind}")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"harness.{kind}.{module.name}")
    return dict(sorted(_found.get(kind, {}).items()))


def faults() -> Mapping[str, type[Verb]]:
    """Return the verbs that disturb the cluster."""
    return _load("faults")


def verbs() -> Mapping[str, type[Verb]]:
    """Return the verbs that a step may use: faults and plain steps."""
    return dict(sorted({**_load("faults"), **_load("steps")}.items()))


def workloads() -> Mapping[str, type[Workload]]:
    """Return the loads that `workload:` may name."""
    return _load("workloads")


def probes() -> Mapping[str, type[Probe]]:
    """Return the watchers that the runner starts."""
    return _load("probes")


def checkers() -> Mapping[str, type[Checker]]:
    """Return the properties that `expect:` may name."""
    return _load("checkers")


def checks() -> "Mapping[str, type[Check]]":
    """Return the questions that a bare history can be asked: `drill check --checker NAME`."""
    return _load("checks")
