"""What a report says, as sentences and rows of tables: the same in Markdown and HTML. All text is made safe here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ftstudio.core.run import trained_text
from ftstudio.core.text import clean, one_line
from ftstudio.evaluation import by_source
from ftstudio.evaluation import metrics as m
from ftstudio.evaluation import report as words
from ftstudio.evaluation.categories import all_categories
from ftstudio.evaluation.shown import chance, figure
from ftstudio.evaluation.stored import differently_stored, stored_text

Row = tuple[str, ...]
Report = Mapping[str, Any]
EXAMPLES = 5


def title(metric: str, report: Report) -> str:
    """A metric's name for people; REPORT has those of the person's own."""
    return m.title(metric, report.get("titles"))


def names(report: Report) -> list[str]:
    """The arms, the reference first."""
    return [one_line(arm["name"], 60) for arm in report["arms"]]


def pairs(report: Report) -> list[tuple[str, str]]:
    """The reference against every other arm, then the others among themselves."""
    return list(dict.fromkeys((entry["a"], entry["b"]) for entry in report["differences"]))


def verdicts(report: Report) -> list[tuple[str, str]]:
    """(sign, sentence) of every pair with the reference, and what makes the figures doubtful."""
    reference = report["arms"][0]["name"]
    signs = {"better": "▲", "worse": "▼", "mixed": "◆"}
    found = [
        (signs.get(entry["verdict"], "="), one_line(entry["words"], 300))
        for entry in report.get("overall", ())
        if entry["a"] == reference
    ]
    leak = report.get("leak")
    if leak:
        found.append(("!" if leak["rows"] or leak.get("unseen") else "✓", one_line(leak["words"], 600)))
    found += [("!", f"{one_line(a, 40)} and {one_line(b, 40)} gave the same answer to every row.")
              for a, b in report["identical"]]  # fmt: skip
    found += [("!", text) for text in differently_stored(report["arms"], reference)]
    if report.get("left_out"):
        first = report["left_out"][0]
        text = (
            f"{len(report['left_out'])} {words.rows_of(report)} are left out (row {first['row']}: {first['reason']})."
        )
        found.append(("!", one_line(text, 300)))
    return found


def arms(report: Report) -> list[Row]:
    """Arm, what it is, examples, tokens of its prompts."""
    found: list[Row] = []
    for arm in report["arms"]:
        kind = {"base": "base model", "run": "tuned", "file": "stored predictions", "server": "server"}
        what = kind.get(arm.get("kind", ""), "")
        if arm.get("step") is not None:
            what += f", step {arm['step']}"
        if told := trained_text(arm.get("trained")):
            what += f", {told}"
        if told := stored_text(arm):
            what += f", {told}"
        shots, tokens = arm.get("shots"), arm.get("prompt_tokens")
        few = "–"
        if shots:
            few = f"{shots['count']}, {shots['choice']}"
            short = len(shots["cut"]) + len(shots["none"])
            few += f" ({short} {'row' if short == 1 else 'rows'} had room for fewer)" if short else ""
        length = "–" if not tokens else f"{tokens['mean']:,.0f} on average, {tokens['longest']:,} at most"
        found.append((one_line(arm["name"], 60), what, few, length))
    return found


def metrics(report: Report, pair: tuple[str, str]) -> list[Row]:
    """Metric, a, b, difference, interval, p, p after Holm, n, verdict, more rows needed."""
    entries = [entry for entry in report["differences"] if (entry["a"], entry["b"]) == pair]
    return _rows(report, pair, report["arms"], entries)


def _rows(
    report: Report, pair: tuple[str, str], arms: Sequence[Mapping[str, Any]], entries: Sequence[Mapping[str, Any]]
) -> list[Row]:
    values = {arm["name"]: arm["metrics"] for arm in arms}
    found: list[Row] = []
    for entry in entries:
        name = entry["metric"]
        more = entry.get("needed")
        found.append(
            (
                title(name, report),
                *(figure(name, values[arm].get(name)) for arm in pair),
                figure(name, entry["difference"], True),
                f"{figure(name, entry['low'], True)} … {figure(name, entry['high'], True)}",
                chance(entry["p"]),
                chance(entry.get("p_holm")),
                f"{entry['n']:,}",
                one_line(entry["verdict"], 60),
                f"{more:,}" if more else "–",
            )
        )
    return found


METRICS = ("metric", "a", "b", "b − a", "95 % interval", "p", "p (Holm)", "rows", "verdict", "more rows needed")


def sources(report: Report, pair: tuple[str, str]) -> list[Row]:
    """Source of a mix, then what METRICS has, of every metric on it."""
    return [
        (f"{one_line(part['name'], 60)} ({part['rows']:,} rows)", *row)
        for part, entries in by_source.against(report.get("sources"), *pair)
        for row in _rows(report, pair, part["arms"], entries)
    ]


SOURCES = ("source", *METRICS)


def about_sources(report: Report) -> list[str]:
    """What the figures of all rows pool, and how those of a source are to be read; nothing without a mix."""
    found = report.get("sources")
    return [found["pooled"], found["note"]] if found else []


def errors(report: Report, pair: tuple[str, str]) -> list[Row]:
    """Error category, a, b, points, interval, p after Holm, verdict; those that neither has are left out."""
    known = all_categories()
    found: list[Row] = []
    for entry in sorted(report["categories"], key=lambda entry: entry["difference"] or 0.0):
        if tuple(entry["arms"]) != pair or not entry["n"] or not (entry["count_a"] or entry["count_b"]):
            continue
        name = known[entry["name"]].title if entry["name"] in known else entry["title"]
        found.append(
            (one_line(name, 40), words.percent(entry["a"]), words.percent(entry["b"]),
             f"{100 * entry['difference']:+.1f}", f"{100 * entry['low']:+.1f} … {100 * entry['high']:+.1f}",
             chance(entry["p_holm"]), one_line(entry["verdict"], 60))
        )  # fmt: skip
    return found


ERRORS = ("error category", "a", "b", "points", "95 % interval", "p (Holm)", "verdict")


def slices(report: Report, pair: tuple[str, str]) -> list[Row]:
    """Part of the rows, n, a, b, difference, interval, verdict."""
    return [
        (
            one_line(f"{entry['by']}: {entry['value']}", 60),
            f"{entry['n']:,}",
            figure(entry["metric"], entry["mean_a"]),
            figure(entry["metric"], entry["mean_b"]),
            figure(entry["metric"], entry["difference"], True),
            f"{figure(entry['metric'], entry['low'], True)} … {figure(entry['metric'], entry['high'], True)}",
            one_line("" if entry["verdict"] == "not judged" else entry["verdict"], 60),
        )
        for entry in report.get("slices", ())
        if (entry["a"], entry["b"]) == pair
    ]


SLICES = ("part", "rows", "a", "b", "b − a", "95 % interval", "verdict")


def gains(report: Report, pair: tuple[str, str]) -> list[float]:
    """The rows' differences in the main metric."""
    metric = report.get("gain")
    if metric is None:
        return []
    rows = [entry["arms"] for entry in report["per_row"]]
    a, b = pair
    return [
        row[b][metric] - row[a][metric]
        for row in rows
        if a in row and b in row and metric in row[a] and metric in row[b]
    ]


def outcome(report: Report, pair: tuple[str, str]) -> tuple[int, int, int]:
    """Rows that b won, that are equal, and that it lost, in the main metric."""
    steps = gains(report, pair)
    wins, losses = sum(step > 1e-9 for step in steps), sum(step < -1e-9 for step in steps)
    return wins, len(steps) - wins - losses, losses


def forgetting(report: Report) -> list[str]:
    """What was forgotten and what to do, as sentences."""
    found = report.get("forgetting")
    if not found:
        return []
    if "words" not in found:
        return [f"{found['change']:+.3f} bits a byte on general text"]
    lines = list(dict.fromkeys(one_line(found[key], 300) for key in ("words", "reason") if found.get(key)))
    for entry in found["advice"]:
        value = "" if entry["value"] is None else f" = {entry['value']}"
        lines.append(one_line(f"{entry['key']}{value}: {entry['text']}", 200))
    return lines


def judge(report: Report) -> list[str]:
    """What the judge found."""
    lines = words.judge_lines(report.get("judge"))
    return [one_line(line, 500) for line in lines]


def benchmarks(report: Report) -> list[Row]:
    """Task, metric, arms, values, difference, interval, p after Holm, n, verdict."""
    return [
        (one_line(f"{entry['task']} {entry['metric']}", 60), one_line(f"{entry['a']} → {entry['b']}", 60),
         f"{entry['value_a']:.3f}", f"{entry['value_b']:.3f}", f"{entry['difference']:+.3f}",
         f"{entry['low']:+.3f} … {entry['high']:+.3f}", chance(entry["p_holm"]), f"{entry['n']:,}",
         one_line(entry["verdict"], 60))
        for entry in (report.get("benchmarks") or {}).get("differences", ())
    ]  # fmt: skip


BENCHMARKS = ("benchmark", "arms", "before", "after", "difference", "95 % interval", "p (Holm)", "n", "verdict")


def examples(report: Report, kind: str) -> list[list[tuple[str, str]]]:
    """The rows that gained or lost most (KIND `gains`, `losses`): (what, text) of each."""
    found = []
    for entry in report["examples"][kind][:EXAMPLES]:
        parts = [(f"row {entry['row']}", f"{entry['gain']:+.3f}"), ("prompt", clean(entry["prompt"], 1500))]
        if entry["reference"]:
            parts.append(("reference", clean(entry["reference"], 1500)))
        parts += [(one_line(name, 40), clean(text, 1500)) for name, text in entry["outputs"].items()]
        found.append(parts)
    return found


def signature(report: Report) -> list[Row]:
    """What the figures depend on."""
    found: list[Row] = []
    moment = report.get("time")
    if isinstance(moment, int | float):
        found.append(("made", datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")))
    keys = ("model", "data", "decoding", "repeats", "device", "dtype", "digest")
    found += [(key, one_line(report[key], 200)) for key in keys if report.get(key) is not None]
    found.append(("rows", f"{report['rows']:,} {words.rows_of(report)}"))
    signed = report.get("signature") or {}
    found += [(one_line(name, 60), one_line(value, 200)) for name, value in signed.items()]
    found += [(title(name, report), one_line(text, 200)) for name, text in report["signatures"].items()]
    versions = report.get("versions") or {}
    if versions:
        found.append(("versions", ", ".join(f"{one_line(k, 40)} {one_line(v, 40)}" for k, v in versions.items())))
    for skipped in report["skipped"]:
        found.append(("left out", one_line(f"{title(skipped['metric'], report)}: {skipped['reason']}", 200)))
    return found


def under(header: Sequence[str], pair: tuple[str, str]) -> Row:
    """HEADER with the arms' names for a and b."""
    return tuple({"a": one_line(pair[0], 30), "b": one_line(pair[1], 30)}.get(name, name) for name in header)
