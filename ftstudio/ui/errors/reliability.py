"""How sure answers that are labels are, and how often right: the reliability diagram as bars."""

from __future__ import annotations

from math import sqrt

from ftstudio.evaluation.calibration import BINS, Bin, Reliability
from ftstudio.ui.errors.marks import percent
from ftstudio.ui.text.lines import Line, Lines, Part, fit
from ftstudio.ui.text.said import fitting, wrapped

OFF = 0.05  # less isn't called too sure, or too careful, in a bin
FEW = 10  # judgements below which a bin says little
_HEAD = (("probability", 14), ("count", 9), ("sure", 7), ("right", 7))


class Bars(Lines):
    """A line for each bin: its judgements, how sure they are on average, and the share that is right as a bar."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.bins: tuple[Bin, ...] = ()
        self.fixed = 1

    def take(self, bins: tuple[Bin, ...]) -> None:
        """Show BINS."""
        self.bins, self.top, self.total = bins, 0, len(bins)
        self.again()

    def lay_out(self) -> None:
        self.total = len(self.bins)

    @property
    def _wide(self) -> int:
        """Cells of a bar."""
        return max(8, min(50, self.columns - sum(width for _, width in _HEAD) - 15))

    def heading(self, y: int) -> Line:
        names = "".join(fit(name, width, "left" if name == "probability" else "right") for name, width in _HEAD)
        return ((names, "dim"), (fit("  █ right  │ sure", self._wide + 2), "dim"))

    def line(self, index: int) -> Line:
        one = self.bins[index]
        between = f"{100 * one.low:.0f} – {100 * one.high:.0f} %"
        cells = (between, f"{one.count:,}", percent(one.sure), percent(one.right))
        told = "".join(
            fit(text, width, "left" if not place else "right")
            for place, (text, (_, width)) in enumerate(zip(cells, _HEAD, strict=True))
        )
        few, word = one.count < FEW, _word(one.sure, one.right, one.count, OFF)
        ink = "dim" if few else "warn" if word else "good"
        word = "few" if few else word
        return ((told, "dim" if few else ""), ("  ", ""), *_bar(one, self._wide, ink), (f" {word}", ink))


def _word(sure: float, right: float, count: int, least: float = 0.0) -> str:
    """What COUNT judgements are that are so SURE and RIGHT; empty where they differ by less than LEAST, or than by
    chance (twice the standard error of a share)."""
    off, share = sure - right, min(max(right, 0.5 / count), 1 - 0.5 / count)
    if abs(off) < max(least, 2 * sqrt(share * (1 - share) / count)):
        return ""
    return "too sure" if off > 0 else "too careful"


def _bar(one: Bin, width: int, ink: str) -> list[Part]:
    """A bar as long as the share that is right, with a mark at how sure the answers are."""
    full, mark = round(one.right * width), min(width - 1, round(one.sure * width))
    before, behind = "█" * full + "·" * (width - full), mark + 1
    parts = [(before[:mark], mark), (before[behind:], width - behind)]
    found: list[Part] = []
    for place, (text, _) in enumerate(parts):
        bar = text.rstrip("·")
        found += [(bar, ink), (text[len(bar) :], "rule")] if text else []
        if not place:
            found.append(("│", "strong"))
    return found


def head(found: Reliability | None, which: str, width: int) -> list[Line]:
    """What the page of FOUND, of the answers called WHICH, begins with."""
    title: Line = fitting([("How sure the answers are, and how often right", "title"), (f"  {which}", "")], width)
    what = "labels" if found is not None and found.several else "answers"
    text = f"Each line holds the {what} of about one probability. Where bar and mark end together, it can be believed."
    return [title, *wrapped(text, width, "dim")]


def told(found: Reliability | None, width: int) -> list[Line]:
    """FOUND in figures."""
    if found is None:
        text = "These answers don't tell how probable each label was, or have no reference."
        return [fitting([(text, "warn")], width)]
    word = _word(found.sure, found.right, sum(one.count for one in found.bins)) or "no more apart than by chance"
    first: list[Part] = [(f"{percent(found.sure)} sure, {percent(found.right)} right on average: {word}", "strong")]
    return [
        fitting([*first, (f"  {found.rows:,} rows", "dim")], width),
        fitting(
            [(f"calibration error {found.error:.3f}", ""), (f" ({BINS} bins)", "dim"),
             (f"  Brier score {found.brier:.3f}", ""), ("  0 is best", "dim")],
            width,
        ),
    ]  # fmt: skip
