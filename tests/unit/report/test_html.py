"""`index.html`: self-contained, safe, complete."""

import re
from html.parser import HTMLParser

import pytest

from harness.report import html
from harness.verdict import Verdict

HOSTILE = "</script><script>alert(1)</script>\x1b[31m\" onload='x' & \u202e \ud800"


class _Page(HTMLParser):
    """Collects tags, attributes and ids, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href"):
                self.links.append(value)

    def handle_startendtag(self, tag, _) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def stored(history, tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text("".join(event.to_json() + "\n" for event in history.events))
    return path


def test_page_asks_nothing_of_anybody(result, cell, stored) -> None:
    """No script, no picture, no style, no font from elsewhere."""
    text = html.to_html(result(cell(histories=[stored])))
    page = _Page(text)
    assert "script" not in page.tags
    assert not page.open
    assert all(link.startswith(("#", "data:,")) for link in page.links)
    assert not re.search(r"url\(|@import|https?://", text)


def test_page_tells_the_run(result, cell, stored) -> None:
    """Verdict, reason, expectations, chart and story are all there."""
    text = html.to_html(result(cell(histories=[stored])))
    for words in (
        "1 expectation held in 1 run, failover 30.6 s",
        "The primary&#39;s machine loses power",
        "max 30.60 s &lt;= 40.00 s",
        "first write acknowledged by pg-2 on timeline 2",
        "40.9 s without an answer",
        "./drill run scenarios/node-kill.yaml --seed 7",
        "17.6",
    ):
        assert words in text, words


def test_drawings_can_be_heard(result, cell, stored) -> None:
    """Each has a title and a description that its ids find, and no id is used twice."""
    text = html.to_html(result(cell(histories=[stored, stored], repeats=2)))
    page = _Page(text)
    assert len(page.ids) == len(set(page.ids))
    named = re.findall(r'aria-labelledby="([^"]+)"', text)
    assert named
    assert all(name in page.ids for names in named for name in names.split())
    assert page.tags.count("desc") == 4  # two runs, each for wide and for narrow screens


def test_hostile_text_is_only_text(result, cell, finding) -> None:
    """Nothing that a server or a file says becomes markup or a control character."""
    bad = finding(
        name=HOSTILE, verdict=Verdict.FAIL, note=HOSTILE, bound=HOSTILE, evidence=({"e": HOSTILE},)
    )
    figures = {HOSTILE: HOSTILE}
    broken = cell(Verdict.FAIL, id=HOSTILE, findings=[bad], note=HOSTILE, figures=figures)
    text = html.to_html(result(broken, scenario=HOSTILE, title=HOSTILE, replay=HOSTILE))
    page = _Page(text)
    assert "script" not in page.tags
    assert "\x1b" not in text
    assert "\u202e" not in text
    text.encode()


def test_hostile_history_is_only_text(result, cell, history, tmp_path) -> None:
    """Names of nodes and steps come from a history, which anybody may have written."""
    path = tmp_path / "history.jsonl"
    lines = "".join(event.to_json() + "\n" for event in history.events)
    path.write_text(lines.replace("pg-1", "<script>x"))
    page = _Page(html.to_html(result(cell(histories=[path]))))
    assert "script" not in page.tags


def test_secrets_are_hidden_wherever_they_stand(result, cell, history, tmp_path) -> None:
    """In notes, and in what only the history says."""
    path = tmp_path / "history.jsonl"
    lines = "".join(event.to_json() + "\n" for event in history.events)
    path.write_text(lines.replace("power-off", "s3cret"))
    broken = cell(Verdict.ERROR, note="no s3cret", histories=[path])
    text = html.to_html(result(broken), secrets={"s3cret"})
    assert "s3cret" not in text
    assert "***" in text


def test_page_stays_small(result, cell, stored) -> None:
    """Many cells with many runs stay below half a megabyte, and say what was left out."""
    cells = [cell(id=f"n={n}", histories=[stored] * 20, repeats=20) for n in range(6)]
    text = html.to_html(result(*cells))
    assert len(text.encode()) < 500_000
    assert "2 of 20 runs are drawn" in text


def test_the_blamed_run_is_drawn_first(cell, finding) -> None:
    """Of twenty runs, the reader wants the one that broke the bound."""
    findings = [
        finding("writers", values=(1.0, 1.0, 1.0)),
        finding(verdict=Verdict.FAIL, values=(21.0, 71.0, 22.0)),
    ]
    assert html.blamed_run(cell(Verdict.FAIL, findings=findings)) == 1
    assert html.blamed_run(cell(findings=())) is None


def test_a_lost_history_is_said(result, cell, tmp_path) -> None:
    """A page is made even where a run's history is gone, torn or empty."""
    (tmp_path / "torn").write_text("{")
    (tmp_path / "empty").write_text("")
    paths = [tmp_path / name for name in ("gone", "torn", "empty")]
    text = html.to_html(result(cell(histories=paths, repeats=3)))
    assert text.count("its history cannot be read") == 2
    assert "its history is empty" in text


def test_skips_and_errors_have_their_reasons(result, cell) -> None:
    """A cell without findings is not a blank."""
    skipped = cell(Verdict.SKIP, id="a=1", findings=(), note="needs azs: 3, docker has 1")
    broken = cell(Verdict.ERROR, id="a=2", findings=(), note="not steady: no leader")
    text = html.to_html(result(skipped, broken))
    assert "needs azs: 3, docker has 1" in text
    assert "not steady: no leader" in text


def test_parts_share_their_bar(finding) -> None:
    """Pieces lie end to end and fill the whole."""
    parts = html._parts(finding(parts=[{"detect": 27.0, "elect": 0.0, "promote": 3.0}]))
    assert [p.start_pct for p in parts] == [0, 90, 90]
    assert sum(p.share_pct for p in parts) == pytest.approx(100)
    assert html._parts(finding(parts=[{"detect": 0.0}])) == ()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1402, "1\u202f402"),
        ([30.6], "30.6"),
        ([30.6, 20.0, 25.0], "20 … 30.6, median 25 (n=3)"),
        ({"harness": 0.012, "client/a": None}, "harness 0.01, client/a \N{EN DASH}"),
        (["a", "b"], "a, b"),
        (True, "yes"),
        ([], ""),
    ],
)
def test_figures_are_for_people(value, shown) -> None:
    """Lists of numbers become their range, everything else short text."""
    assert html._figure(value) == shown
