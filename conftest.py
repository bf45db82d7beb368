"""Makes `pytest scenarios/` work in a checkout, installed or not: scenario files become tests."""

# The entry point carries the same name, so where the package is installed this changes nothing.
pytest_plugins = ["harness.pytest_plugin"]
