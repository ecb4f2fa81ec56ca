"""The sources of a mix, each by itself: every metric with its difference, interval and verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.evaluation.shown import chance, figure
from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.compare.arms_page import ArmsPage
from ftstudio.ui.compare.oriented import oriented
from ftstudio.ui.compare.summary import verdict
from ftstudio.ui.text.lines import Line, Part, fit
from ftstudio.ui.text.said import wrapped

WIDE = 96  # cells from which p and the rows have columns of their own
_SIGNS = {"better": "▲", "worse": "▼", "mixed": "◆"}


class Sources(ArmsPage):
    """The pair in view, source by source."""

    def compose_lines(self, width: int) -> list[Line]:
        arms = self.arms
        found = (arms.report or {}).get("sources") if arms is not None else None
        if arms is None or not isinstance(found, Mapping):
            text = "Sources are told apart in the report that the worker writes once all rows are answered: g compares."
            return [(("Nothing here yet.", "strong"),), (), *wrapped(text, width, "", 4)]
        a, b = arms.label(arms.a), arms.label(arms.b)
        lines: list[Line] = [((f"{b} against {a}, by source", "title"),), *wrapped(found["pooled"], width, "dim", 6)]
        for part in found["parts"]:
            lines += [(), *_part(arms, part, width)]
        return [*lines, (), *wrapped(found["note"], width, "dim", 4)]


def mixed(arms: Arms | None) -> bool:
    """Whether the rows of ARMS are of several sources, or may be."""
    if arms is None:
        return False
    told = (arms.report or {}).get("sources")
    return bool(told) or (arms.recipe is not None and len(arms.recipe.data.train) > 1
                          and not isinstance(arms.recipe.data.train, str))  # fmt: skip


def brief(arms: Arms) -> Part | None:
    """Each source's name with the sign of what came of it, in a few words; None without a report of several."""
    told = []
    for part, entries in _against(arms):
        words = {str(entry["verdict"]) for entry in entries}
        word = "mixed" if {"better", "worse"} <= words else next((one for one in _SIGNS if one in words), "")
        told.append((_SIGNS.get(word, "="), one_line(part["name"], 16)))
    if not told:
        return None
    text = "u by source: " + ", ".join(f"{sign} {name}" for sign, name in told[:4])
    parting = {"▲", "▼"} <= {sign for sign, _ in told} or "◆" in {sign for sign, _ in told}
    return text + (" …" if len(told) > 4 else ""), "warn" if parting else "dim"


def _against(arms: Arms) -> list[tuple[Mapping[str, Any], list[dict[str, Any]]]]:
    found = (arms.report or {}).get("sources")
    parts = found["parts"] if isinstance(found, Mapping) else ()
    return [(part, _differences(arms, part)) for part in parts]


def _differences(arms: Arms, part: Mapping[str, Any]) -> list[dict[str, Any]]:
    turned = (oriented(entry, arms.a, arms.b) for entry in part["differences"])
    return [entry for entry in turned if entry is not None]


def _part(arms: Arms, part: Mapping[str, Any], width: int) -> list[Line]:
    """One source in lines of WIDTH cells: its name and rows, then the metrics."""
    wide = width >= WIDE
    first, second = (fit(arms.label(name), 7).rstrip() for name in (arms.a, arms.b))
    heads = [("metric", 12, False), (first, 7, True), (second, 7, True), ("difference", 10, True)]
    heads += [("95 % interval", 17, True), *([("rows", 5, True), ("p (Holm)", 8, True)] if wide else [])]
    heads += [("verdict", 9, False)]
    rows = f"{part['rows']:,} row{'' if part['rows'] == 1 else 's'}"
    lines: list[Line] = [((fit(one_line(part["name"], 60), width - 12).rstrip(), "title"), (f" · {rows}", "dim"))]
    lines.append(_line([(title, "dim") for title, _, _ in heads], heads))
    values = {arm["name"]: arm["metrics"] for arm in part["arms"]}
    for entry in _differences(arms, part):
        name, (sign, ink) = entry["metric"], verdict(str(entry["verdict"]))
        cells: list[Part] = [
            (arms.title(name, 12), ""),
            (figure(name, values.get(arms.a, {}).get(name)), ""),
            (figure(name, values.get(arms.b, {}).get(name)), "strong"),
            (figure(name, entry["difference"], True), ink),
            (f"{figure(name, entry['low'], True)} … {figure(name, entry['high'], True)}", ""),
            *([(f"{entry['n']:,}", "dim"), (chance(entry["p_holm"]), "dim")] if wide else []),
            (sign, ink),
        ]
        lines.append(_line(cells, heads))
    if len(lines) == 2:
        lines.append((("no metric could be measured in both", "dim"),))
    return lines


def _line(cells: list[Part], heads: list[tuple[str, int, bool]]) -> Line:
    return tuple(
        (fit(text, wide, "right" if right else "left") + "  ", ink)
        for (text, ink), (_, wide, right) in zip(cells, heads, strict=True)
    )
