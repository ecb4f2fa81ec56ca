"""A comparison in words and figures: the verdict, the metrics, what else must be known, the categories in brief."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len

from ftstudio.core.text import one_line
from ftstudio.evaluation.categories import all_categories
from ftstudio.evaluation.metrics import TITLES
from ftstudio.evaluation.pairing import decide
from ftstudio.evaluation.shown import chance_of, figure
from ftstudio.evaluation.statistics import FEWEST, UNCLEAR
from ftstudio.ui.compare.arms import BASE, Arms
from ftstudio.ui.text.lines import Line, Part, fit

WORDS = {
    "better": ("▲ better", "good"),
    "worse": ("▼ worse", "bad"),
    "greater": ("↑ greater", ""),
    "smaller": ("↓ smaller", ""),
    "no clear difference": ("= unclear", "dim"),
}
NARROW, WIDE = 72, 80  # cells of the table of metrics; with WIDE there is room for p, too
FORGOTTEN = 0.05  # bits a byte on general text from which forgetting is pointed at


def verdict(word: str) -> Part:
    """A verdict as it is shown, with a sign."""
    return WORDS.get(word, ("… too few", "warn") if word.startswith("too few") else (word, "dim"))


def headline(arms: Arms, width: int) -> Line:
    """What came of it, in one sentence and as many figures as fit into WIDTH cells."""
    found = decide(arms.differences())
    name, told = one_line(arms.b, 30), arms.trained(arms.b)
    if told:  # the longest sentence has room for it, or the step alone stands there
        name = f"{name} ({told})" if len(name) + len(told) + 42 <= width else f"{name} ({told[told.rindex('step') :]})"
    other = "its base model" if arms.a == BASE and arms.b == arms.run.name else one_line(arms.a, 30)
    if not found.told:
        return ((f"{name} against {other}", "title"),)
    if found.told[0]["n"] < FEWEST:
        need, n = found.needed, found.told[0]["n"]
        rows = "1 row" if n == 1 else f"{n} rows"
        return ((f"… No verdict on {rows}: {need} more {'is' if need == 1 else 'are'} needed", "warn"),)
    if found.verdict == "mixed":
        begin: Part = (f"◆ {name}: better in some metrics, worse in others", "warn")
    elif found.verdict == "better":
        begin = (f"▲ {name} is better than {other}", "good")
    elif found.verdict == "worse":
        begin = (f"▼ {name} is worse than {other}", "bad")
    else:
        begin = (f"= No clear difference between {name} and {other.removesuffix(' model')}", "strong")
    leading = found.told[:2]
    figures = [f"{arms.title(each['metric'])} {figure(each['metric'], each['difference'], True)}" for each in leading]
    if found.verdict == UNCLEAR:
        figures.append(f"needs about {found.needed:,} more rows" if found.needed else "as good as no difference")
    parts = [begin]
    left = width - cell_len(begin[0])
    for text in figures:
        if len(text) + 3 <= left:
            parts.append((f"{' · ' if len(parts) > 1 else '   '}{text}", ""))
            left -= len(text) + 3
    return tuple(parts)


def fell_and_rose(entries: Sequence[Mapping[str, Any]]) -> str:
    """How many error categories clearly fell and rose."""
    fell = sum(entry["verdict"] == "better" for entry in entries)
    rose = sum(entry["verdict"] == "worse" for entry in entries)
    parts = [
        f"{fell} error {'category' if fell == 1 else 'categories'} fell" if fell else "",
        f"{rose} rose" if rose else "",
    ]
    return ", ".join(part for part in parts if part)


def metric_lines(arms: Arms, width: int) -> list[Line]:
    """The table of metrics in lines of WIDTH cells, NARROW or WIDE; p is left out where it is narrow, the interval
    where it would be cut: the verdict stands on it."""
    wide, whole = width >= WIDE, width >= NARROW
    first, second = (fit(arms.label(name), 7).rstrip() for name in (arms.a, arms.b))
    columns = [("metric", 12, False), (first, 7, True), (second, 7, True), ("difference", 10, True)]
    columns += [*([("95 % interval", 17, True)] if whole else []), *([("p", 6, True)] if wide else [])]
    columns.append(("verdict", 9, False))

    def line(cells: Sequence[Part]) -> Line:
        parts: list[Part] = []
        for (text, ink), (_, cells_wide, right) in zip(cells, columns, strict=True):
            parts.append((fit(text, cells_wide, "right" if right else "left") + "  ", ink))
        return tuple(parts)

    lines = [line([(title, "title") for title, _, _ in columns])]
    base, tuned = arms.metrics(arms.a), arms.metrics(arms.b)
    for entry in arms.differences():
        name = entry["metric"]
        cells: list[Part] = [
            (arms.title(name, 12), ""),
            (figure(name, base.get(name)), ""),
            (figure(name, tuned.get(name)), "strong"),
            (figure(name, entry["difference"], True), verdict(entry["verdict"])[1]),
            *([(f"{figure(name, entry['low'], True)} … {figure(name, entry['high'], True)}", "")] if whole else []),
            *([(chance_of(entry), "dim")] if wide else []),
            verdict(entry["verdict"]),
        ]
        lines.append(line(cells))
    return lines


def change_lines(arms: Arms, most: int) -> list[Line]:
    """The error categories that changed most, before and after, at most MOST."""
    entries = arms.categories()
    known = all_categories()
    found = sorted((entry for entry in entries if entry["n"]), key=lambda entry: -abs(entry["difference"]))
    labels = f"{one_line(arms.label(arms.a), 14)} → {one_line(arms.label(arms.b), 14)}"
    lines: list[Line] = [((f"{'errors':<15} {labels}", "title"),)]
    for entry in [entry for entry in found if entry["count_a"] or entry["count_b"]][:most]:
        category = known.get(entry["name"])
        title = category.title if category else one_line(entry["title"], 16)
        ink = verdict(entry["verdict"])[1]
        sign = {"better": "▼", "worse": "▲"}.get(entry["verdict"], " ")  # rates: falling is good
        figures = f"{100 * entry['a']:3.0f} → {100 * entry['b']:3.0f} %"
        lines.append(((f"{fit(title, 16)} ", ""), (figures, ink), (f" {sign}", ink)))
    if len(lines) == 1:
        lines.append((("none in either", "dim"),))
    return lines


def warnings(arms: Arms) -> list[str]:
    """What makes the figures doubtful."""
    report = arms.report or {}
    found = []
    if any(set(pair) == {arms.a, arms.b} for pair in report.get("identical", ())):
        found.append("Both give the same answer to every row: the tuning had no effect, or it wasn't loaded.")
    if arms.leak:
        words = one_line(arms.leak.get("words"), 200)
        if arms.leak.get("rows"):  # two lines of 80 cells hold it
            words = f"Leak: {one_line(words, 104)}; i shows the rest by itself"
        found.append(f"{words}.")
    found += arms.differently_stored()
    found += [
        f"{TITLES.get(entry['metric'], entry['metric'])} is left out: {entry['reason']}" for entry in skipped(arms)
    ]
    return [one_line(text, 200) for text in [*found, *arms.following.alerts]]


def skipped(arms: Arms) -> list[dict[str, Any]]:
    """Metrics that the worker couldn't compute."""
    return list((arms.report or {}).get("skipped", ())) if arms.final else []


def notes(arms: Arms, width: int) -> list[Part]:
    """Which embedding, and what was forgotten; in fewer words where WIDTH cells are few."""
    report = arms.report or {}
    parts: list[Part] = []
    similarity = report.get("similarity")
    if isinstance(similarity, Mapping):
        parts.append((f"similarity by {one_line(similarity.get('name'), 40)}", "dim"))
    elif not arms.final and arms.recipe is not None and "similarity" in arms.recipe.evaluation.metrics:
        also = "" if arms.looked_for_leaks else ", as does the search for leaks"
        parts.append((f"similarity comes with the final report{also}", "dim"))
    forgetting = report.get("forgetting")
    if isinstance(forgetting, Mapping) and isinstance(forgetting.get("change"), (int, float)):
        change = float(forgetting["change"])
        much = change > FORGOTTEN
        told = " on general text" if width >= 90 else ""
        text = f"{'▲ ' if much else ''}forgetting {change:+.3f} bits a byte{told}"
        parts.append((f"{' · ' if parts else ''}{text}", "warn" if much else "dim"))
    return parts
