"""Tests for harness.drivers.docker.stack: the reference stack's numbers."""

from dataclasses import FrozenInstanceError

import pytest

from harness.drivers.docker.stack import Stack


def test_the_elbs_ask_for_the_roles_they_are_named_for() -> None:
    """The paths of Patroni's REST interface; anything else is a planted defect."""
    assert (Stack().primary_check, Stack().replica_check) == ("/primary", "/replica")


def test_etcd_is_patient() -> None:
    """An election takes ten missed heartbeats, and stays far below Patroni's retry_timeout."""
    flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in Stack().etcd_flags)
    assert int(flags["election-timeout"]) == 10 * int(flags["heartbeat-interval"]) == 3000


def test_a_stack_is_not_changed_in_place() -> None:
    """A defect is a stack of its own."""
    with pytest.raises(FrozenInstanceError):
        Stack().primary_check = "/replica"  # type: ignore[misc]
    assert Stack(environment={"SUPERVISE": "off"}).environment == {"SUPERVISE": "off"}
    assert "SUPERVISE" not in Stack().environment
