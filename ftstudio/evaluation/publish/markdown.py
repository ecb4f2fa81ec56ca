"""A comparison in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ftstudio.core.text import one_line
from ftstudio.evaluation.publish import facts
from ftstudio.evaluation.publish.facts import Report, Row
from ftstudio.evaluation.report import rows_of

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~])")


def text(report: Report) -> str:
    """REPORT as Markdown; texts from data and models can't become markup."""
    lines = [
        f"# {_plain(' → '.join(facts.names(report)))}",
        "",
        f"On the same {report['rows']:,} {rows_of(report)}.",
        "",
    ]
    lines += [f"- {sign} {_plain(sentence)}" for sign, sentence in facts.verdicts(report)]
    lines += ["", "## Arms", "", *_table(("arm", "what", "examples", "prompt tokens"), facts.arms(report))]
    for pair in facts.pairs(report):
        wins, ties, losses = facts.outcome(report, pair)
        lines += ["", f"## {_plain(' → '.join(one_line(name, 60) for name in pair))}", ""]
        lines += _table(facts.under(facts.METRICS, pair), facts.metrics(report, pair))
        if wins + ties + losses:
            by = _plain(facts.title(report["gain"], report))
            lines += ["", f"By {by}: {wins:,} rows won, {ties:,} equal, {losses:,} lost."]
        found = facts.sources(report, pair)
        if found:
            lines += ["", *(f"{_plain(one)}\n" for one in facts.about_sources(report))]
            lines += _table(facts.under(facts.SOURCES, pair), found)
        found = facts.errors(report, pair)
        lines += ["", *_table(facts.under(facts.ERRORS, pair), found)] if found else []
        found = facts.slices(report, pair)
        lines += ["", *_table(facts.under(facts.SLICES, pair), found)] if found else []
    for name, sentences in (("Forgetting", facts.forgetting(report)), ("Judge", facts.judge(report))):
        if sentences:
            lines += ["", f"## {name}", "", *(f"- {_plain(sentence)}" for sentence in sentences)]
    found = facts.benchmarks(report)
    lines += ["", "## Benchmarks", "", *_table(facts.BENCHMARKS, found)] if found else []
    for kind, name in (("gains", "Rows that gained most"), ("losses", "Rows that lost most")):
        examples = facts.examples(report, kind)
        if examples:
            lines += ["", f"## {name}"]
        for parts in examples:
            lines += ["", f"**{_plain(parts[0][0])}** ({parts[0][1]})", ""]
            for what, content in parts[1:]:
                lines += [f"{_plain(what)}:", "", *(f"    {line}" for line in content.split("\n")), ""]
    lines += ["", "## Signature", "", *_table(("what", "value"), facts.signature(report)), ""]
    return "\n".join(lines)


def _plain(value: str) -> str:
    return _MARKUP.sub(r"\\\1", value)


def _table(header: Row, rows: Sequence[Row]) -> list[str]:
    lines = ["| " + " | ".join(map(_plain, header)) + " |", "|" + " --- |" * len(header)]
    return lines + ["| " + " | ".join(map(_plain, row)) + " |" for row in rows]
