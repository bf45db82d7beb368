"""Tests for harness.isolation.models."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.isolation import models
from harness.isolation.cycles import SUFFIX, Family, Order
from harness.isolation.models import MODELS, Consistency, anomalies_of, included, proofs, ruled_out

STRICT = "strict-serializable"
SESSION, STRONG = "strong-session-snapshot-isolation", "strong-snapshot-isolation"


@pytest.mark.parametrize(
    ("anomaly", "kept"),
    [
        ("G0", []),
        ("cyclic-versions", []),
        ("G1a", ["read-uncommitted"]),
        ("future-read", ["read-uncommitted"]),
        ("internal", ["read-uncommitted", "read-committed", "repeatable-read"]),
        ("lost-update", ["read-uncommitted", "read-committed"]),
        ("G-single-item", ["read-uncommitted", "read-committed"]),
        ("G2-item", ["read-uncommitted", "read-committed", "snapshot-isolation", SESSION, STRONG]),
        ("G1c-process", [*MODELS[:5]]),
        ("G2-item-process", [*MODELS[:6], STRONG]),
        ("G0-realtime", [*MODELS[:7]]),
        ("G2-item-realtime", [*MODELS[:8]]),
    ],
)
def test_an_anomaly_leaves_what_allows_it(anomaly: str, kept: list[str]) -> None:
    """Adya's levels, Cerone's snapshots, and the strong ones of Daudjee and Salem."""
    assert sorted(set(MODELS) - ruled_out([anomaly])) == sorted(kept)


def test_strict_serializable_includes_all_and_read_uncommitted_nothing() -> None:
    """The ends of the order of models."""
    assert included("strict-serializable") == set(MODELS)
    assert included("read-uncommitted") == {"read-uncommitted"}


@given(st.sampled_from(MODELS), st.sets(st.sampled_from(sorted(models._BREAKS))))
def test_what_is_stronger_than_a_broken_model_is_broken(
    model: Consistency, anomalies: set[str]
) -> None:
    """No model holds where one that it includes does not."""
    broken = ruled_out(anomalies)
    assert (model in broken) == bool(included(model) & broken)


@given(st.sampled_from(list(Family)), st.sampled_from(list(Order)))
def test_a_wider_family_and_a_stronger_order_break_less(family: Family, order: Order) -> None:
    """What a cycle breaks without an order, it breaks with fewer kinds of edges too."""
    broken = ruled_out(anomalies_of([(family, order)]))
    assert broken
    assert STRICT in broken
    for narrower in Family:
        for less in Order:
            if narrower <= family and less <= order:
                assert broken <= ruled_out(anomalies_of([(narrower, less)]))


def test_a_proof_is_named_only_where_no_example_breaks_as_much() -> None:
    """By the weakest models that remain."""
    broken = ruled_out(["G-single-item"])
    assert proofs(broken, ["G-single-item"]) == set()
    assert proofs(broken, ["G2-item"]) == {"PL-SI-cycle-exists"}
    assert proofs(broken, []) == {"PL-SI-cycle-exists", "PL-2.99-cycle-exists"}
    assert proofs(ruled_out(["G1c"]), ["G2-item"]) == {"PL-2-cycle-exists"}


@pytest.mark.parametrize("model", MODELS)
def test_a_proof_rules_out_its_model(model: Consistency) -> None:
    """Whoever counts what breaks a model counts what is proven without an example, too."""
    (proof,) = proofs([model], [])
    assert ruled_out([proof]) == {one for one in MODELS if model in included(one)}


def test_every_family_has_a_name_in_the_table() -> None:
    """With every order."""
    for family in Family:
        for order in Order:
            (name,) = anomalies_of([(family, order)])
            assert name.endswith(SUFFIX[order])
            assert ruled_out([name])
