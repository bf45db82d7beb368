"""A defect is planted in a real cluster, or nowhere; a run without one is told from the others."""

from collections.abc import Sequence

import pytest

from harness import drivers


@pytest.fixture(autouse=True, scope="session")
def _engine() -> None:
    if "docker" not in drivers.available():
        pytest.skip("no Docker engine answers")


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Tell the report which tests are controls, for `./drill test --mutants` to count."""
    for item in items:
        if item.get_closest_marker("control"):
            item.user_properties.append(("control", "clean"))
