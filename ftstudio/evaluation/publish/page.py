"""A comparison as one HTML page: styles and plots inside it, no script, nothing fetched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from ftstudio.core.text import one_line
from ftstudio.evaluation.publish import facts, svg
from ftstudio.evaluation.publish.facts import Report, Row
from ftstudio.evaluation.report import rows_of

# no script runs and nothing is loaded, whatever a model may have written
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'none'"
_NUMBERS = re.compile(r"[-+<≈−\d.,%… ]*[\d–][-+\d.,%… ]*")  # a column of such cells stands on the right
STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --dim: #5d6872; --rule: #d5dbe1; --good: #1a7f45; --bad: #b3332b;
  --unclear: #8a949e; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --dim: #9aa5b0; --rule: #39424b; --good: #4cc27f;
  --bad: #ef7b72; --unclear: #77818b; --paper: #14181c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; border-bottom: 1px solid var(--rule); }
table { border-collapse: collapse; font-size: .9rem; margin: .8rem 0; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--rule); vertical-align: top;
  font-variant-numeric: tabular-nums; } th { color: var(--dim); font-weight: 600; }
.n { text-align: right; white-space: nowrap; }
ul.verdicts { list-style: none; padding: 0; font-size: 1.05rem; } pre { white-space: pre-wrap; overflow-wrap: anywhere;
  margin: .2rem 0 .6rem; padding-left: .8rem; border-left: 3px solid var(--rule); }
svg { width: 100%; max-width: 40rem; height: auto; display: block; margin: .6rem 0; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); } .zero { stroke: var(--rule); stroke-width: 2; } .range { stroke-width: 3; }
.good { fill: var(--good); stroke: none; } .bad { fill: var(--bad); } .unclear { fill: var(--unclear); }
.good .range, .good circle { stroke: var(--good); fill: var(--good); } .bad .range, .bad circle { stroke: var(--bad);
  fill: var(--bad); } .unclear .range, .unclear circle { stroke: var(--unclear); fill: var(--unclear); }
.dim { color: var(--dim); }
"""


def text(report: Report) -> str:
    """REPORT as an HTML document."""
    heading = " → ".join(facts.names(report))
    on = f"<p class='dim'>on the same {report['rows']:,} {escape(rows_of(report))}</p>"
    body = [f"<h1>{escape(heading)}</h1>", on, _verdicts(report)]
    body += ["<h2>Arms</h2>", _table(("arm", "what", "examples", "prompt tokens"), facts.arms(report))]
    for pair in facts.pairs(report):
        body += _pair(report, pair)
    for name, sentences in (("Forgetting", facts.forgetting(report)), ("Judge", facts.judge(report))):
        if sentences:
            body += [f"<h2>{name}</h2>", "<ul>", *(f"<li>{escape(sentence)}</li>" for sentence in sentences), "</ul>"]
    found = facts.benchmarks(report)
    body += ["<h2>Benchmarks</h2>", _table(facts.BENCHMARKS, found)] if found else []
    for kind, name in (("gains", "Rows that gained most"), ("losses", "Rows that lost most")):
        examples = facts.examples(report, kind)
        body += [f"<h2>{name}</h2>"] if examples else []
        for parts in examples:
            body.append(f"<p><b>{escape(parts[0][0])}</b> <span class='dim'>{escape(parts[0][1])}</span></p>")
            body += [
                f"<div class='dim'>{escape(what)}</div><pre>{escape(content)}</pre>" for what, content in parts[1:]
            ]
    body += ["<h2>Signature</h2>", _table(("what", "value"), facts.signature(report))]
    return (
        "<!doctype html>\n<html lang='en'>\n<head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(heading)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _verdicts(report: Report) -> str:
    lines = [f"<li>{escape(sign)} {escape(sentence)}</li>" for sign, sentence in facts.verdicts(report)]
    return f"<ul class='verdicts'>{''.join(lines)}</ul>"


def _pair(report: Report, pair: tuple[str, str]) -> list[str]:
    entries = [entry for entry in report["differences"] if (entry["a"], entry["b"]) == pair]
    plotted = [
        (facts.title(entry["metric"], report), entry["difference"], entry["low"], entry["high"], entry["verdict"])
        for entry in entries
    ]
    body = [f"<h2>{escape(' → '.join(one_line(name, 60) for name in pair))}</h2>"]
    body += [svg.intervals(plotted)] if plotted else []
    body.append(_table(facts.under(facts.METRICS, pair), facts.metrics(report, pair)))
    if report.get("gain"):
        by = escape(facts.title(report["gain"], report))
        body += [f"<p class='dim'>Rows by {by}</p>", svg.outcome(*facts.outcome(report, pair))]
        body.append(svg.distribution(facts.gains(report, pair)))
    if found := facts.sources(report, pair):
        body += [f"<p class='dim'>{escape(sentence)}</p>" for sentence in facts.about_sources(report)]
        body.append(_table(facts.under(facts.SOURCES, pair), found))
    for header, rows in ((facts.ERRORS, facts.errors(report, pair)), (facts.SLICES, facts.slices(report, pair))):
        body += [_table(facts.under(header, pair), rows)] if rows else []
    return body


def _table(header: Row, rows: Sequence[Row]) -> str:
    numbers = [bool(rows) and all(_NUMBERS.fullmatch(row[at]) for row in rows) for at in range(len(header))]
    marks = [" class='n'" if number else "" for number in numbers]
    head = "".join(f"<th{mark}>{escape(name)}</th>" for name, mark in zip(header, marks, strict=True))
    lines = [
        "<tr>" + "".join(f"<td{mark}>{escape(cell)}</td>" for cell, mark in zip(row, marks, strict=True)) + "</tr>"
        for row in rows
    ]
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"
