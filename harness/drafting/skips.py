"""Why a cell cannot run here: the backend, its driver or the machine lacks what it needs."""

from collections.abc import Mapping, Sequence

from harness.drafting.sheet import Sheet
from harness.history import Json
from harness.places import is_list, show


def skip(sheet: Sheet, verbs: Sequence[str]) -> str | None:
    """Return why this cell cannot run here, or None."""
    if "backends" in sheet.document.root and not is_listed(sheet):
        return f"{sheet.backend} is not listed under `backends`"
    if sheet.supported is None:
        return None
    for verb in verbs:
        if lacks(sheet, verb):
            return f"the {sheet.backend} driver has no `{verb}`"
    needs: dict[str, Json] = {}
    if sheet.cluster is not None and sheet.cluster.watchdog == "required":
        needs["watchdog"] = True
    if sheet.cluster is not None and "postgres" in sheet.supported.facts:
        needs["postgres"] = sheet.cluster.postgres
    required = sheet.document.root.get("requires")
    needs |= required if isinstance(required, Mapping) else {}
    for fact, wanted in needs.items():
        has = sheet.supported.facts.get(fact)
        if not _meets(has, wanted):
            return f"needs {fact}: {show(wanted)}; this machine has {_shown(has)}"
    return None


def is_listed(sheet: Sheet) -> bool:
    """Say whether the file lists the backend by name."""
    backends = sheet.document.root.get("backends")
    return isinstance(backends, Mapping) and sheet.backend in backends


def lacks(sheet: Sheet, verb: str) -> bool:
    """Say whether the driver is known not to have this verb."""
    supported = sheet.supported
    return supported is not None and supported.verbs is not None and verb not in supported.verbs


def _meets(has: Json, wanted: Json) -> bool:
    if is_list(has):
        return wanted in has
    if isinstance(wanted, bool) or not isinstance(wanted, int):
        return has == wanted
    return isinstance(has, int) and has >= wanted


def _shown(has: Json) -> str:
    return " or ".join(map(show, has)) if is_list(has) else show(has)
