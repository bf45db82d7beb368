"""`junit.xml`: shape, counts, properties, and hostile text."""

from xml.etree import ElementTree as ET

from harness.report import junit
from harness.verdict import Verdict


def _tree(result, **more) -> ET.Element:
    return ET.fromstring(junit.to_xml(result, **more))


def test_shape_and_counts(result, cell) -> None:
    """One suite a scenario, one case a cell, each verdict in its own element."""
    cells = [
        cell(id="a=1", seconds=90.25),
        cell(Verdict.FAIL, id="a=2"),
        cell(Verdict.ERROR, id="a=3", findings=(), note="not steady"),
        cell(Verdict.SKIP, id="a=4", findings=(), note="needs azs: 3"),
    ]
    suite = _tree(result(*cells)).find("testsuite")
    assert suite is not None
    counts = [suite.get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert counts == ["4", "1", "1", "1"]
    assert suite.get("time") == "90.250"
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [f"node-kill[a={n}]" for n in (1, 2, 3, 4)]
    kinds = [[child.tag for child in case if child.tag != "properties"] for case in cases]
    assert kinds == [[], ["failure"], ["error"], ["skipped"]]
    assert cases[2].find("error").get("message") == "not steady"  # type: ignore[union-attr]
    assert cases[3].find("skipped").get("message") == "needs azs: 3"  # type: ignore[union-attr]


def test_a_failure_tells_how_to_repeat_it(result, cell) -> None:
    """The text of a failure ends with the command."""
    failure = _tree(result(cell(Verdict.FAIL))).find(".//failure")
    assert failure is not None
    assert "again: ./drill run scenarios/node-kill.yaml --seed 7" in (failure.text or "")
    assert "failover 30.6 s" in (failure.text or "")


def test_properties_carry_the_figures(result, cell, finding) -> None:
    """A percentile appears only with enough runs to claim it."""
    findings = [
        finding("writers", unit="count", values=(1.0,) * 5),
        finding("lost_writes", unit="count", values=(0.0,) * 5),
        finding(values=(21.0, 22.0, 23.0, 24.0, 25.0)),
        finding("rejoin", values=(1.0, 2.0)),
    ]
    case = result(cell(findings=findings, repeats=5))
    found = {p.get("name"): p.get("value") for p in _tree(case, report="r.html").iter("property")}
    assert found["version.postgres"] == "17.6"
    assert (found["backend"], found["seed"], found["n"]) == ("docker", "7", "5")
    assert (found["writers"], found["lost_writes"]) == ("1", "0")
    assert (found["failover_max"], found["failover_p50"]) == ("25.000", "23.000")
    assert found["rejoin_max"] == "2.000"
    assert "rejoin_p50" not in found
    assert "failover_p95" not in found
    assert found["report"] == "r.html"


def test_hostile_text_makes_no_markup_and_no_broken_file(result, cell) -> None:
    """It is escaped, and what XML cannot carry is dropped."""
    hostile = "</failure><evil/>&\"'\x1b[0m\x00\ud800"
    broken = cell(Verdict.ERROR, id=hostile, findings=(), note=hostile)
    tree = _tree(result(broken, scenario=hostile))
    assert tree.find(".//evil") is None
    assert tree.find(".//error").get("message").startswith("</failure><evil/>")  # type: ignore[union-attr]


def test_secrets_are_hidden(result, cell) -> None:
    """A CI keeps this file for all to see."""
    text = junit.to_xml(
        result(cell(Verdict.ERROR, findings=(), note="no s3cret")), secrets={"s3cret"}
    )
    assert "s3cret" not in text
