"""The totals: every metric with interval, p and a verdict in words, and pictures of the rows behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.evaluation.pairing import BETTER
from ftstudio.evaluation.power import words
from ftstudio.evaluation.shown import chance_of, figure
from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.compare.arms_page import ArmsPage
from ftstudio.ui.compare.asked import arm_lines
from ftstudio.ui.compare.pictures import histogram, shares, win_tie_loss
from ftstudio.ui.compare.summary import verdict
from ftstudio.ui.text.lines import Line, Part, fit
from ftstudio.ui.text.said import wrapped

SIDE = 136  # cells from which the pictures stand beside each other


class Figures(ArmsPage):
    """`metric` is the one whose differences are drawn."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.metric = ""

    def key(self) -> tuple[Any, ...]:
        return (self.metric,)

    def show(self, arms: Arms) -> None:
        names = row_metrics(arms)
        if self.metric not in names:
            gain = (arms.report or {}).get("gain")
            self.metric = gain if gain in names else names[0] if names else ""
        super().show(arms)

    def next_metric(self) -> None:
        """Draw the next metric."""
        if self.arms is not None and (names := row_metrics(self.arms)):
            place = names.index(self.metric) + 1 if self.metric in names else 0
            self.metric = names[place % len(names)]
            self.show(self.arms)

    def compose_lines(self, width: int) -> list[Line]:
        arms = self.arms
        if arms is None or arms.report is None:
            return [(("not scored yet", "dim"),)]
        b = arms.label(arms.b)
        pair = f"{arms.stored_label(arms.b)} against {arms.stored_label(arms.a)}"
        lines: list[Line] = [((pair, "title"), (f" · {arms.report['rows']:,} rows", "dim")), ()]
        lines += metric_table(arms, width)
        lines += [(), (("rows won, tied and lost", "title"), (f" · by {b}", "dim"))]
        for metric in row_metrics(arms):
            if BETTER.get(metric, True) is not None:
                counts = win_tie_loss(gains(arms, metric))
                lines.append(shares(arms.title(metric, 11), counts, min(width, 110)))
        if self.metric:
            title = arms.title(self.metric)
            found = differences(arms, self.metric)
            lines += [(), (("difference by row", "title"), (f" · {title} · m another metric", "dim"))]
            lines += histogram(found, width, 6 if self.size.height < 30 else 9, BETTER.get(self.metric, True))
        if len(arms.names) > 2:
            lines += [(), *arm_table(arms, width)]
        lines += [*arm_lines(arms, width), *_signatures(arms, width)]
        return lines


def row_metrics(arms: Arms) -> list[str]:
    """The metrics that rows have in both arms, in the report's order."""
    scores = list(arms.scores().values())
    return [
        entry["metric"]
        for entry in arms.differences()
        if any(entry["metric"] in row.get(arms.a, {}) and entry["metric"] in row.get(arms.b, {}) for row in scores)
    ]


def differences(arms: Arms, metric: str) -> list[float]:
    """The differences in METRIC, b minus a, of the rows that both have."""
    found = []
    for row in arms.scores().values():
        a, b = row.get(arms.a, {}).get(metric), row.get(arms.b, {}).get(metric)
        if isinstance(a, int | float) and isinstance(b, int | float):
            found.append(float(b) - float(a))
    return found


def gains(arms: Arms, metric: str) -> list[float]:
    """The same, turned so that more is better: an error that falls is a gain."""
    sign = -1.0 if BETTER.get(metric, True) is False else 1.0
    return [sign * step for step in differences(arms, metric)]


def metric_table(arms: Arms, width: int) -> list[Line]:
    """Every metric in lines of WIDTH cells, with n, p and the verdict in words; below 100 cells on two lines."""
    wide = width >= 100
    first, second = fit(arms.label(arms.a), 7).rstrip(), fit(arms.label(arms.b), 7).rstrip()
    heads = [("metric", 11, False), (first, 7, True), (second, 7, True)]
    heads += [("difference", 10, True) if wide else ("differs", 7, True), ("95 % interval", 17, True)]
    heads += [*([("n", 5, True)] if wide else []), ("p", 6, True)]
    lines = [_row([(title, "title") for title, _, _ in heads] + [("verdict", "title")], heads)]
    base, tuned = arms.metrics(arms.a), arms.metrics(arms.b)
    for entry in arms.differences():
        name, word = entry["metric"], str(entry["verdict"])
        sign, ink = verdict(word)
        cells: list[Part] = [
            (arms.title(name, 11), ""),
            (figure(name, base.get(name)), ""),
            (figure(name, tuned.get(name)), "strong"),
            (figure(name, entry["difference"], True), ink),
            (f"{figure(name, entry['low'], True)} … {figure(name, entry['high'], True)}", ""),
            *([(f"{entry['n']:,}", "dim")] if wide else []),
            (chance_of(entry), "dim"),
        ]
        clear = word in ("better", "worse", "greater", "smaller")
        if wide:
            lines.append(_row([*cells, (sign if clear else f"= {words(entry)}", ink)], heads))
            continue
        lines.append(_row([*cells, (sign, ink)], heads))
        more = [words(entry)] if not clear else []
        more += [f"on {entry['n']:,} rows"] if entry["n"] != (arms.report or {}).get("rows") else []
        if more:
            lines.append(((f"{'':13}{fit(', '.join(more), width - 14).rstrip()}", "dim"),))
    return lines


def arm_table(arms: Arms, width: int) -> list[Line]:
    """Every arm's metrics, with the verdict on each against the one that is held against."""
    names = [arms.a, *(name for name in arms.names if name != arms.a)]
    each = max(9, min(24, (width - 13) // len(names) - 2))
    heads = [("metric", 11, False), *((arms.label(name, each), each, True) for name in names)]
    lines = [(("all arms", "title"), (f" · ▲ better and ▼ worse than {arms.label(arms.a)}", "dim"))]
    table = [_row([(title, "title") for title, _, _ in heads], heads)]
    words_of = {
        name: {entry["metric"]: str(entry["verdict"]) for entry in arms.against(name)}
        for name in names
        if name != arms.a
    }
    for metric in arms.metrics(arms.a):
        cells: list[Part] = [(arms.title(metric, 11), "")]
        for name in names:
            sign, ink = verdict(words_of.get(name, {}).get(metric, "")) if name != arms.a else ("", "")
            mark = sign[:1] if sign[:1] in ("▲", "▼") else " "
            cells.append((f"{mark} {figure(metric, arms.metrics(name).get(metric))}", ink if mark.strip() else ""))
        table.append(_row(cells, heads))
    return [*lines, *table]


def _row(cells: Sequence[Part], heads: Sequence[tuple[str, int, bool]]) -> Line:
    """CELLS under HEADS (title, cells wide, whether flush right); what has no head stands as it is."""
    parts: list[Part] = []
    for (text, ink), (_, wide, right) in zip(cells, heads, strict=False):
        parts.append((fit(text, wide, "right" if right else "left") + "  ", ink))
    return tuple(parts) + tuple(cells[len(heads) :])


def _signatures(arms: Arms, width: int) -> list[Line]:
    found: Mapping[str, Any] = (arms.report or {}).get("signatures") or {}
    if not found:
        return []
    lines: list[Line] = [(), (("how it was measured", "title"),)]
    for name, text in found.items():
        lines += wrapped(f"{arms.title(name, 16)}: {one_line(text, 300)}", width, "dim", 3)
    return lines
