"""Reports in plain text, at most 80 columns: the table of error categories, a comparison, rows side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftstudio.core.run import trained_text
from ftstudio.core.text import one_line
from ftstudio.evaluation import by_source, tagging
from ftstudio.evaluation import metrics as m
from ftstudio.evaluation.categories import Categorised
from ftstudio.evaluation.layout import WIDTH, bar, field, table, wrap
from ftstudio.evaluation.shown import chance, chance_of, figure
from ftstudio.evaluation.statistics import FEWEST
from ftstudio.evaluation.stored import differently_stored, quantised, stored_text

_SIGNS = {"better": "▲", "worse": "▼", "mixed": "◆"}
_GOOD = {
    "better": "▲ better",
    "worse": "▼ worse",
    "no clear difference": "= unclear",
    "greater": "· greater",
    "smaller": "· smaller",
}


def percent(share: float | None) -> str:
    """A share for people: `12.5 %`, `–` where there is none."""
    return "–" if share is None else f"{100 * share:.1f} %"


def errors_text(value: Mapping[str, Any], name: str = "") -> str:
    """What `errors --json` holds, VALUE (`rows` and `categories`), as a table: the commonest category first.

    NAME says whose outputs. Categories never found and those that couldn't be judged follow in words.
    """
    rows, entries = value["rows"], value["categories"]
    whose = f" of {one_line(name, 40)}" if name else ""
    found = sorted((entry for entry in entries if entry["count"]), key=lambda entry: -entry["count"])
    lines = [f"Errors in {rows:,} output{'' if rows == 1 else 's'}{whose}", ""]
    if found:
        header = ("category", "rows", "rate", "", "95 % interval", "references", "lift")
        lines += table(header, [_category_row(entry) for entry in found], left=(0, 3))
    else:
        lines.append("No errors were found.")
    clean = [entry["title"] for entry in entries if not entry["count"] and not entry["reason"]]
    if clean:
        lines += ["", *field("not found", ", ".join(clean), 12)]
    unjudged = [entry for entry in entries if entry["reason"]]
    for index, entry in enumerate(unjudged):
        name = "not judged" if index == 0 else ""
        lines += [*([""] if index == 0 else []), *field(name, f"{entry['title']}: {entry['reason']}", 12)]
    partly = [entry for entry in found if entry["judged"] < rows]
    if partly:
        text = ", ".join(f"{entry['title']} {entry['judged']:,}" for entry in partly)
        lines += ["", *field("judged on", f"fewer rows: {text}", 12)]
    if any(entry.get("hint") for entry in found):
        hints = ", ".join(entry["title"] for entry in found if entry.get("hint"))
        lines += ["", *field("hints", f"{hints}: rows to look at, no verdicts", 12)]
    if value.get("outdated"):
        text = f"what was said of {value['outdated']:,} rows is about earlier answers and left out: look at them again"
        lines += ["", *field("your tags", text, 12)]
    return "\n".join(lines)


def _category_row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    lift = entry["lift"]
    return (
        one_line(entry["title"], 18),
        f"{entry['count']:,}",
        percent(entry["rate"]),
        bar(entry["rate"] or 0.0),
        f"{100 * entry['low']:.1f} – {100 * entry['high']:.1f} %",
        percent(entry["reference_rate"]),
        "–" if lift is None else f"{lift:,.1f}×" if lift < 100 else f"{lift:,.0f}×",
    )


def findings_text(categorised: Categorised, name: str, most: int = 3) -> str:
    """Up to MOST rows of the category NAME with the reason why the detector fired."""
    lines: list[str] = []
    by_row = {prediction.row: prediction for prediction in categorised.predictions}
    for row in categorised.rows.get(name, [])[:most]:
        prediction = by_row[row]
        why = next(finding.why for finding in categorised.findings[row] if finding.category == name)
        lines += [*wrap(f"row {row}: {why}", WIDTH, 2), *_texts(prediction.prompt, prediction.reference)]
        lines += [*field("  output", prediction.output, 13, 3), ""]
    return "\n".join(lines).rstrip()


def compare_text(result: Mapping[str, Any], examples: int = 2) -> str:
    """What `compare --json` holds, RESULT, in words and tables, pair of arms by pair.

    EXAMPLES of the rows that gained and of those that lost most stand at the end.
    """
    names = [arm["name"] for arm in result["arms"]]
    values = {arm["name"]: arm["metrics"] for arm in result["arms"]}
    lines = [f"{' → '.join(one_line(name, 24) for name in names)}, on the same {result['rows']:,} {rows_of(result)}"]
    for a, b in result["identical"]:
        text = f"{one_line(a, 24)} and {one_line(b, 24)} gave the same output on every row: nothing was changed."
        lines += ["", *field("!", text, 2)]
    if result["rows"] < FEWEST:
        text = f"No verdict on {result['rows']} rows: {FEWEST - result['rows']} more are needed."
        lines += ["", *field("!", text, 2)]
    for entry in result.get("overall", ()):
        if entry["a"] == names[0]:
            lines += ["", *field(_SIGNS.get(entry["verdict"], "="), one_line(entry["words"], 300), 2)]
    leak = result.get("leak")
    if leak and (leak["rows"] or leak.get("unseen")):
        lines += field("!", one_line(leak["words"], 600), 2)
    for text in differently_stored(result["arms"], names[0]):
        lines += field("!", text, 2)
    lines += _stored(result["arms"])
    lines += _trained(result["arms"])
    lines += _shots(result["arms"])
    lines += _entities(result["arms"])
    pairs = list(dict.fromkeys((entry["a"], entry["b"]) for entry in result["differences"]))
    for a, b in pairs:
        short = (one_line(a, 10), one_line(b, 10))
        if len(pairs) > 1:
            lines += ["", "", f"{one_line(a, 36)} → {one_line(b, 36)}"]
        chosen = [entry for entry in result["differences"] if (entry["a"], entry["b"]) == (a, b)]
        header = ("metric", *short, "difference", "95 % interval", "p", "")
        lines += [
            "",
            *table(header, [_metric_row(entry, values, result.get("titles")) for entry in chosen], left=(0, 6)),
        ]
        lines += _categories([entry for entry in result["categories"] if entry["arms"] == [a, b]], short)
        lines += _sources(result, (a, b), short)
        lines += _slices([one for one in result.get("slices", ()) if (one["a"], one["b"]) == (a, b)], short)
    judge = result.get("judge")
    lines += ["", f"judge {one_line(judge['model'], 60)}"] if judge else []
    for text in judge_lines(judge):
        lines += field("", text, 2)
    found = benchmark_lines(result.get("benchmarks"))
    lines += ["", *found] if found else []
    lines += _notes(result)
    return "\n".join([*lines, *_examples(result, names, examples)])


def rows_of(result: Mapping[str, Any]) -> str:
    """What the rows of RESULT are called."""
    return {"eval": "held-out rows", "test": "test rows"}.get(str(result.get("part")), "rows")


def _metric_row(
    entry: Mapping[str, Any], values: Mapping[str, Mapping[str, float]], titles: Any = None
) -> tuple[str, ...]:
    name = entry["metric"]
    a, b = (values[entry[side]].get(name) for side in ("a", "b"))
    return (
        m.title(name, titles, 14),
        figure(name, a),
        figure(name, b),
        figure(name, entry["difference"], True),
        f"{figure(name, entry['low'], True)} … {figure(name, entry['high'], True)}",
        chance_of(entry),
        _word(entry["verdict"]),
    )


def _word(verdict: str) -> str:
    if verdict == "not judged":
        return ""
    return "too few" if verdict.startswith("too few") else _GOOD.get(verdict, verdict)


def _categories(entries: Sequence[Mapping[str, Any]], short: tuple[str, str]) -> list[str]:
    """Error categories before and after, those that fell most first; those without any row are left out."""
    found = [entry for entry in entries if entry["count_a"] or entry["count_b"]]
    if not found:
        return ["", "No errors were found in either."] if entries else []
    found.sort(key=lambda entry: entry["difference"])
    rows = [
        (
            one_line(entry["title"], 18),
            f"{entry['count_a']:,}",
            f"{entry['count_b']:,}",
            f"{100 * entry['difference']:+.1f}",
            f"{100 * entry['low']:+.1f} … {100 * entry['high']:+.1f}",
            chance(entry.get("p_holm")),
            _word(entry["verdict"]),
        )
        for entry in found
    ]
    header = ("error category", *short, "points", "95 % interval", "p", "")
    return ["", *table(header, rows, left=(0, 6))]


def judge_lines(judge: Mapping[str, Any] | None) -> list[str]:
    """What the judge found, and how far it can be believed, as sentences; none where there was no judge."""
    if not judge:
        return []
    lines = []
    for pair in judge["pairs"]:
        a, b = one_line(pair["a"], 24), one_line(pair["b"], 24)
        decided = pair["wins"] + pair["losses"]
        if pair["rate"] is None:
            lines.append(f"{b} against {a}: no row was decided ({pair['ties']} ties, {pair['unreadable']} unreadable)")
            continue
        parts = [
            f"{b} preferred to {a} in {percent(pair['rate'])} of {decided:,} decided rows "
            f"({100 * pair['low']:.0f} – {100 * pair['high']:.0f} %), {pair['ties']:,} ties: {pair['verdict']}"
        ]
        controlled = pair["length_controlled"]
        if controlled:
            parts.append(f"{percent(controlled['rate'])} win rate at equal length")
        if pair["longer"]["n"]:
            parts.append(f"the longer answer won {percent(pair['longer']['share'])}")
        if pair["flips"]["n"]:
            parts.append(f"{percent(pair['flips']['share'])} of the verdicts changed with the order")
        if pair["first"]["n"]:
            parts.append(f"the answer shown first won {percent(pair['first']['share'])}")
        if pair["unreadable"]:
            parts.append(f"{pair['unreadable']} rows unreadable")
        agreement = pair["agreement"]
        if agreement and agreement["n"]:
            parts.append(f"agrees with people in {percent(agreement['share'])} of {agreement['n']} rows")
        lines.append("; ".join(parts))
    usage = judge.get("usage")
    if usage:
        cost = "" if usage["cost"] is None else f", cost {usage['cost']:.4g}"
        lines.append(f"{usage['tokens_in']:,} tokens read and {usage['tokens_out']:,} written this time{cost}")
    if not judge["complete"]:
        lines.append(f"not complete: {one_line(judge['reason'], 200)}")
    return lines


def benchmark_lines(benchmarks: Mapping[str, Any] | None) -> list[str]:
    """The benchmarks, arm by arm, as a table in lines."""
    if not benchmarks:
        return []
    rows = [
        (
            one_line(f"{entry['task']} {entry['metric']}", 26),
            f"{entry['value_a']:.3f}",
            f"{entry['value_b']:.3f}",
            f"{entry['difference']:+.3f}",
            f"{entry['low']:+.3f} … {entry['high']:+.3f}",
            f"{entry['n']:,}",
            _word(entry["verdict"]),
        )
        for entry in benchmarks["differences"]
    ]
    lines = []
    if rows:
        pair = benchmarks["differences"][0]
        short = (one_line(pair["a"], 10), one_line(pair["b"], 10))
        lines += table(("benchmark", *short, "diff", "95 % interval", "n", ""), rows, left=(0, 6))
    if benchmarks["reason"]:
        lines += field("!", one_line(benchmarks["reason"], 300), 2)
    return lines


def _entities(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of tagged words: F1 of each type of entity, and how the entities given came out, arm by arm."""
    told = [(one_line(arm["name"], 14), arm["entities"]) for arm in arms if arm.get("entities")]
    types = list(dict.fromkeys(name for _, found in told for name in found["types"]))
    if not types:
        return []
    rows = [
        (one_line(name, 20), f"{max(_type(found, name)['support'] for _, found in told):,}",
         *(f"{_type(found, name)['f1']:.3f}" for _, found in told))
        for name in types
    ]  # fmt: skip
    lines = ["", *table(("F1 of a type", "wanted", *(name for name, _ in told)), rows, left=(0,))]
    kinds = tagging.KINDS
    rows = [
        (f"{schema}, {name}", *(f"{found['outcomes'][schema][kind]:,}" for kind in kinds))
        for schema in tagging.SCHEMAS
        for name, found in told
    ]
    return [*lines, "", *table(("entities by", *kinds), rows, left=(0,))]


def _type(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return found["types"].get(name) or {"f1": 0.0, "support": 0}  # type: ignore[no-any-return]


def _stored(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which models answer with quantised weights."""
    lines: list[str] = []
    for arm in arms:
        if quantised(arm):
            lines += field("·", f"{one_line(arm['name'], 24)}: {stored_text(arm)}", 2)
    return lines


def _trained(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which models aren't those of their run's last step."""
    lines: list[str] = []
    for arm in arms:
        if told := trained_text(arm.get("trained")):
            lines += field("·", f"{one_line(arm['name'], 24)}: {told}", 2)
    return lines


def _shots(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the arms with examples were shown, and where they had no room for all of it."""
    lines: list[str] = []
    for arm in arms:
        shots = arm.get("shots")
        if not shots:
            continue
        which = {"random": "drawn by the seed", "near": "the nearest to each question", "rows": "chosen"}
        rows = f" (rows {', '.join(map(str, shots['rows']))})" if shots["rows"] else ""
        tokens = arm["prompt_tokens"]
        text = (
            f"{shots['count']} examples, {which[shots['choice']]}{rows}; prompts of {tokens['mean']:,.0f} tokens on "
            f"average, {tokens['longest']:,} at most"
        )
        if shots["cut"] or shots["none"]:
            few = [*shots["cut"], *shots["none"]]
            named = ", ".join(map(str, few[:8])) + (" …" if len(few) > 8 else "")
            text += f"; {len(few)} {'row' if len(few) == 1 else 'rows'} had room for fewer or none (row {named})"
        told = field(one_line(arm["name"], 20), text, 21)
        lines += told if lines else ["", *told]
    return lines


def _slices(entries: Sequence[Mapping[str, Any]], short: tuple[str, str]) -> list[str]:
    """The parts of the rows, of the first metric that they are told in."""
    if not entries:
        return []
    metric = entries[0]["metric"]
    room = 26 - sum(max(0, len(name) - 5) for name in short)  # so that the line fits into WIDTH
    rows = [
        (
            one_line(f"{entry['by']}: {entry['value']}", room),
            f"{entry['n']:,}",
            f"{entry['mean_a']:.3f}",
            f"{entry['mean_b']:.3f}",
            f"{entry['difference']:+.3f}",
            f"{entry['low']:+.3f} … {entry['high']:+.3f}",
            _word(entry["verdict"]),
        )
        for entry in entries
        if entry["metric"] == metric
    ]
    title = m.TITLES.get(metric, one_line(metric, 14))
    return ["", *table((f"{title} by", "rows", *short, "diff", "95 % interval", ""), rows, left=(0, 6))]


def _sources(result: Mapping[str, Any], pair: tuple[str, str], short: tuple[str, str]) -> list[str]:
    """Every metric on each source of a mix, the pair's names in SHORT."""
    found = by_source.against(result.get("sources"), *pair)
    rows: list[tuple[str, ...]] = []
    for part, entries in found:
        name = one_line(part["name"], 26 - sum(max(0, len(one) - 5) for one in short))
        rows.append((name, f"{part['rows']:,}", "", "", "", "", ""))
        values = {arm["name"]: arm["metrics"] for arm in part["arms"]}
        for entry in entries:
            title, a, b, difference, interval, _, word = _metric_row(entry, values, result.get("titles"))
            n = "" if entry["n"] == part["rows"] else f"{entry['n']:,}"
            rows.append((f"  {title}", n, a, b, difference, interval, word))
    if not rows:
        return []
    lines = ["", *table(("by source", "rows", *short, "diff", "95 % interval", ""), rows, left=(0, 6))]
    sources = result["sources"]
    return [*lines, *field("", sources["pooled"], 2), *field("", sources["note"], 2)]


def _notes(result: Mapping[str, Any]) -> list[str]:
    lines = ["", *field("intervals", "paired bootstrap; verdicts after Holm's correction for many metrics", 12)]
    if result.get("similarity"):
        lines += field("similarity", f"cosine by {result['similarity']['signature']}", 12)
    for name in ("bleu", "chrf"):
        if name in result["signatures"]:
            lines += field(m.TITLES[name], result["signatures"][name], 12)
    for skipped in result["skipped"]:
        name = m.TITLES.get(skipped["metric"], one_line(skipped["metric"], 24))
        lines += field("left out", f"{name}: {skipped['reason']}", 12)
    reasons: dict[str, list[str]] = {}
    for entry in result["categories"]:
        if entry["reason"] and entry["title"] not in reasons.get(entry["reason"], []):
            reasons.setdefault(entry["reason"], []).append(entry["title"])
    for reason, titles in reasons.items():
        lines += field("not judged", f"{', '.join(titles)}: {reason}", 12)
    forgetting = result.get("forgetting")
    if isinstance(forgetting, Mapping) and {"base_bits_per_byte", "tuned_bits_per_byte"} <= forgetting.keys():
        base, tuned = forgetting["base_bits_per_byte"], forgetting["tuned_bits_per_byte"]
        text = f"{tuned - base:+.3f} bits a byte on general text ({base:.3f} → {tuned:.3f})"
        lines += field("forgetting", forgetting.get("words") or text, 12)
    elif isinstance(forgetting, Mapping) and forgetting.get("reason"):
        lines += field("forgetting", forgetting["words"], 12)
    if isinstance(forgetting, Mapping):
        for entry in forgetting.get("advice", ()):
            value = "" if entry["value"] is None else f"={entry['value']}"
            lines += field("", f"{entry['key']}{value}: {entry['text']}", 12)
    return lines


def _examples(result: Mapping[str, Any], names: Sequence[str], count: int) -> list[str]:
    """The rows that gained and lost most, every arm's output under the other."""
    if result["gain"] is None or count < 1:
        return []
    name = result["gain"]
    metric = m.title(name, result.get("titles"), 30)
    lines: list[str] = []
    for kind, verb in (("gains", "gains"), ("losses", "loses")):
        entries = result["examples"][kind][:count]
        lines += ["", "", f"Biggest {kind}, by {metric}" if entries else f"No row {verb} in {metric}"]
        for entry in entries:
            known = (entry["scores"][name] for name in names)
            scores = " → ".join("–" if score is None else f"{score:.3f}" for score in known)
            lines += ["", f"row {entry['row']}   {scores}", *_texts(entry["prompt"], entry["reference"])]
            for name in names:
                lines += field(f"  {one_line(name, 10)}", entry["outputs"][name] or "(nothing)", 13, 3)
                found = entry["categories"][name]
                lines += field("", f"[{', '.join(found)}]", 13, 2) if found else []
    return lines


def _texts(prompt: str, reference: str | None) -> list[str]:
    lines = field("  prompt", prompt, 13, 3)
    return lines if reference is None else [*lines, *field("  reference", reference, 13, 3)]
