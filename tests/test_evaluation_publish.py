"""The report as Markdown and HTML: whole, safe whatever a model wrote, needing nothing beside it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ftstudio.evaluation import publish
from ftstudio.evaluation.comparison import Arm, compare
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.publish import facts, markdown, page, svg

EVIL = "</pre><script>alert(1)</script> | a | **b** [x](http://evil) ![y](http://evil/z.png) \x1b[31m\x00 \u202e"


def report_of(**changes: Any) -> dict[str, Any]:
    base = [Prediction(row, f"prompt {row} {EVIL}", f"word one two {row}", f"one {EVIL}") for row in range(40)]
    tuned = [Prediction(row.row, row.prompt, row.reference, row.reference or "") for row in base[:35]] + base[35:]
    found = compare([Arm("base", base), Arm("tuned", tuned)], metrics=["rouge", "bleu"], resamples=1000)
    told = {"model": "demo", "data": "rows", "time": 0.0, "versions": {"torch": "2"}, "signature": {"seed": "0"}}
    return found | told | changes


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return report_of(forgetting={"words": "tuned forgot some", "change": 0.1, "base_bits_per_byte": 1.0,
                                 "tuned_bits_per_byte": 1.1, "advice": [{"key": "a.b", "value": 1, "text": "less"}]},
                     leak={"rows": [3], "words": "1 of 40 held-out rows stand in the training rows"})  # fmt: skip


class Tags(HTMLParser):
    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(report: dict[str, Any]) -> None:
    text = page.text(report)
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert not {tag for tag, _ in tags.seen} & {"script", "img", "link", "iframe", "a", "object", "form"}
    for _, attributes in tags.seen:
        assert not {"src", "href", "srcset", "action"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in text
    assert "@import" not in text
    policy = next(attributes["content"] for _, attributes in tags.seen if attributes.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert sum(tag == "svg" for tag, _ in tags.seen) == 3
    for part in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(part)


def test_both_say_what_the_report_says(report: dict[str, Any]) -> None:
    entry = next(entry for entry in report["differences"] if entry["metric"] == "rougeL")
    for text in (page.text(report), markdown.text(report)):
        plain = text.replace("\\", "")
        assert f"{entry['difference']:+.3f}" in plain
        assert f"{entry['low']:+.3f} … {entry['high']:+.3f}" in plain
        assert "tuned is better than base" in plain
        assert "forgot some" in plain
        assert "1 of 40 held-out rows" in plain
        assert report["signatures"]["bleu"].split("|")[1] in plain
        assert "1970-01-01" in plain
        assert "a.b = 1: less" in plain


def test_what_a_model_wrote_stays_text(report: dict[str, Any]) -> None:
    for text in (page.text(report), markdown.text(report)):
        assert "\x1b" not in text
        assert "\x00" not in text
        assert "\u202e" not in text
    assert "<script>" not in page.text(report)
    for line in markdown.text(report).split("\n"):
        if "evil" in line:
            assert line.startswith("    ")  # in a block of code
    hostile = report_of(model=EVIL, left_out=[{"row": 1, "reason": EVIL}])
    named = markdown.text(hostile)
    assert "\\[x\\](http://evil)" in named
    assert "<script>" not in page.text(hostile)
    renamed = json.loads(json.dumps(report).replace('"tuned"', json.dumps(f"{EVIL}\n# no heading")))
    for text in (page.text(renamed), markdown.text(renamed)):
        assert "\x1b" not in text
        assert "\n# no heading" not in text


def test_rows_won_equal_and_lost_are_those_of_the_report(report: dict[str, Any]) -> None:
    wins, ties, losses = facts.outcome(report, ("base", "tuned"))
    steps = [entry["gain"] for entry in report["per_row"]]
    assert (wins, ties, losses) == (sum(s > 0 for s in steps), sum(s == 0 for s in steps), sum(s < 0 for s in steps))
    assert ties >= 5
    drawn = svg.distribution(steps)
    counts = [int(count) for count in re.findall(r"<title>(\d+) rows", drawn)]
    assert sum(counts) == 40
    assert svg.distribution([]) == svg.outcome(0, 0, 0) == ""


def test_files_are_written_beside_each_other(report: dict[str, Any], tmp_path: Path) -> None:
    paths = publish.write(report, tmp_path)
    assert [path.name for path in paths] == ["report.md", "report.html"]
    assert paths[1].read_text() == page.text(report)


def test_old_and_bare_reports_can_be_published() -> None:
    rows = [Prediction(row, f"p{row}", None, "text") for row in range(3)]
    bare = compare([Arm("a", rows), Arm("b", rows)])
    for key in ("overall", "slices", "leak"):
        bare.pop(key)
    assert "gave the same answer" in markdown.text(bare)
    assert "<h1>a → b</h1>" in page.text(bare)
