"""The models of a scenario, and how a mistake in one reads."""

from typing import ClassVar, Literal

import pytest
from pydantic import ValidationError, model_validator

from harness.scenario import (
    BackendOverride,
    Cluster,
    Duration,
    Model,
    Rate,
    Requirements,
    Size,
    Steady,
    Step,
    Target,
)
from harness.validation import check, schema_of


class Measures(Model):
    """One of each unit."""

    length: Duration
    speed: Rate = 20.0
    amount: Size | None = None


def said(cls: type[Model], raw: object) -> list[str]:
    """Return the problems as `path: text`."""
    model, problems = check(cls, raw)  # type: ignore[arg-type]
    assert (model is None) == bool(problems)
    return [f"{'.'.join(map(str, p.path))}: {p.text}" for p in problems]


def test_units_are_read():
    """Text with a unit becomes a number of the base unit."""
    measures = Measures.model_validate({"length": "5m", "speed": "90/m", "amount": "1KiB"})
    assert (measures.length, measures.speed, measures.amount) == (300, 1.5, 1024)


@pytest.mark.parametrize("value", [30, 1.5, True, None, "30", ["30s"], {"s": 30}])
def test_a_number_without_a_unit_is_refused(value: object):
    """30 may be seconds, minutes, or the ttl's own unit: nobody should have to guess."""
    (problem,) = said(Measures, {"length": value})
    assert problem.startswith("length: found ")
    assert problem.endswith("; expected a duration like 90s")


def test_the_defaults_are_the_documented_ones():
    """The catalogue's scenarios leave out what they do not speak of."""
    cluster = Cluster()
    assert (cluster.postgres, cluster.nodes, cluster.azs, cluster.dcs) == (
        17,
        3,
        ("a", "b", "c"),
        "etcd",
    )
    assert (cluster.patroni.ttl, cluster.patroni.loop_wait, cluster.patroni.retry_timeout) == (
        30,
        10,
        10,
    )
    assert Steady().replicas.lag == {"max": 1 << 20}
    assert BackendOverride().repeat == 1


def test_models_do_not_change():
    """A plan is made once; whoever holds a model may rely on it."""
    with pytest.raises(ValidationError):
        Cluster().nodes = 4  # type: ignore[misc]


def test_as_is_a_word_of_python_but_not_of_yaml():
    """The step's name is written `as:`; in Python it is `name`."""
    assert Step.model_validate({"verb": "kill", "parameters": {}, "as": "crash"}).name == "crash"


@pytest.mark.parametrize("pick", ["one", "all", "1%", "50%", "100%", 1, 7])
def test_picks(pick: str | int):
    """One, all, a count or a share."""
    assert Target.model_validate({"role": "replica", "pick": pick}).pick == pick


@pytest.mark.parametrize("pick", ["none", "0%", "101%", "50", "-1%", 0, -1, 1.5, True])
def test_what_is_no_pick(pick: object):
    """A share of nothing, or of more than all, could only be a mistake."""
    (problem,) = said(Target, {"role": "replica", "pick": pick})
    assert problem.startswith("pick: found ")


def test_the_az_of_a_role():
    """`{az: {of: leader}}` names the AZ in which the leader stands."""
    assert Target.model_validate({"az": {"of": "leader"}}).az == {"of": "leader"}
    assert said(Target, {"az": {}})
    assert said(Target, {"az": {"of": "boss"}}) == [
        "az.of: found 'boss'; expected one of leader, primary, replica, sync-standby, dcs-leader"
    ]


# --- the words of mistakes ---------------------------------------------------------------------


class Strict(Model):
    """Types that pydantic would convert."""

    number: int | None = None
    truth: bool | None = None
    word: Literal["on", "off"] | None = None
    several: tuple[int, ...] = ()
    either: int | Literal["all"] | None = None


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ({"number": "3"}, "number: found '3'; expected a whole number"),
        ({"number": True}, "number: found true; expected a whole number"),
        ({"number": 3.0}, "number: found 3.0; expected a whole number"),
        ({"truth": "yes"}, "truth: found 'yes'; expected true or false"),
        ({"truth": 1}, "truth: found 1; expected true or false"),
        ({"word": True}, "word: found true; expected one of on, off"),
        ({"word": "onn"}, "word: found 'onn'; expected one of on, off; did you mean on?"),
        ({"several": [1, "2"]}, "several.1: found '2'; expected a whole number"),
        ({"several": {"a": 1}}, "several: found a mapping; expected a list"),
        ({"either": "al"}, "either: found 'al'; expected all or a whole number; did you mean all?"),
        ({"either": [1]}, "either: found a list; expected all or a whole number"),
        (
            {"numbr": 1},
            "numbr: unknown key 'numbr'; expected one of either, number, several, truth, "
            "word; did you mean number?",
        ),
        (3, ": found 3; expected a mapping"),
        (None, ": found nothing; expected a mapping"),
        ([], ": found []; expected a mapping"),
    ],
)
def test_mistakes_say_what_was_found_and_expected(raw: object, problem: str):
    """In the words of the house, never in pydantic's; nothing is converted in silence."""
    assert said(Strict, raw) == [problem]


def test_a_misspelt_key_is_not_also_missing():
    """One slip, one mistake."""
    (problem,) = said(Measures, {"lenght": "5m"})
    assert problem.endswith("; did you mean length?")


class Short(Model):
    """A plug-in with a short form and validators of its own."""

    name: ClassVar[str] = "short"
    duration: Duration
    least: int = 0
    most: int = 9

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        if value == "trip":
            return value.upper  # what a validator does not expect may make it stumble
        return value if isinstance(value, dict) else {"duration": value}

    @model_validator(mode="after")
    def _order(self) -> "Short":
        if self.least > self.most:
            raise ValueError(f"least {self.least} is above most; expected less")
        return self


def test_a_short_form_is_the_plugins_own_affair():
    """`sleep: 60s` reaches the plug-in as it was written; a mistake stays where it was written."""
    model, _ = check(Short, "60s")
    assert model is not None
    assert model.duration == 60
    assert said(Short, "soon") == [": found 'soon'; expected a duration like 90s"]
    assert said(Short, "trip")[0].startswith(": found 'trip'; expected ")


def test_a_plugins_own_complaint_points_at_the_key_it_names():
    """Pydantic only knows the whole model; the message says more."""
    assert said(Short, {"duration": "1s", "least": 10}) == [
        "least: least 10 is above most; expected less"
    ]


def test_requirements_are_known_facts():
    """A misspelt fact would be a skip for ever."""
    assert said(Requirements, {"watchdg": True})[0].endswith("; did you mean watchdog?")


def test_the_schema_tells_units_to_editors():
    """A duration is text for whoever writes it, whatever it is inside."""
    length = schema_of(Measures)["properties"]["length"]  # type: ignore[index,call-overload]
    assert length["type"] == "string"  # type: ignore[index,call-overload]
