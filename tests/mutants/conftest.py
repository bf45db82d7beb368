"""A defect is planted in a real cluster, or nowhere."""

import pytest

from harness import drivers


@pytest.fixture(autouse=True, scope="session")
def _engine() -> None:
    if "docker" not in drivers.available():
        pytest.skip("no Docker engine answers")
