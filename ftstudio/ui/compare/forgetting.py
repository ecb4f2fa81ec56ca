"""What the tuning cost elsewhere, in one verdict and its figures, and what can be done about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.binding import Binding

from ftstudio.core.text import one_line
from ftstudio.evaluation.flips import decider, flip, right
from ftstudio.evaluation.statistics import ALPHA, mcnemar
from ftstudio.ui.compare.arms import BASE, Arms
from ftstudio.ui.compare.remedies import Remedy, remedies
from ftstudio.ui.compare.summary import chance
from ftstudio.ui.data.page import Page
from ftstudio.ui.text.lines import Line, Part, fit
from ftstudio.ui.text.said import wrapped

LITTLE, MUCH = 0.02, 0.15  # bits a byte on general text: below, hardly anything was lost; above, a lot
KEYS = {"adapter": "a", "rate": "r", "replay": "m", "shorter": "k"}


class Forgetting(Page):
    """The forgetting panel of the comparison in view."""

    DEFAULT_CSS = "Forgetting { height: 1fr; }"
    BINDINGS = [Binding(key, f"screen.remedy('{name}')", show=False) for name, key in KEYS.items()]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id)
        self.arms: Arms | None = None
        self._shown: Any = None

    def show(self, arms: Arms) -> None:
        """Bring the page up to date."""
        now = (id(arms), id(arms.report), arms.a, arms.b)
        if now != self._shown:
            self.arms, self._shown = arms, now
            self.fresh()

    @property
    def remedies(self) -> dict[str, Remedy]:
        """What can be done, by name."""
        recipe = self.arms.recipe if self.arms is not None else None
        return remedies(recipe) if recipe is not None else {}

    def compose_lines(self, width: int) -> list[Line]:
        arms = self.arms
        if arms is None:
            return []
        measured = (arms.report or {}).get("forgetting")
        found = measured if isinstance(measured, Mapping) else {}
        word, ink = verdict(found)
        lines: list[Line] = [*wrapped(word, width, ink, 3), ()]
        lines += bits_lines(arms, found)
        lines += self._flips(arms)
        lines += more_lines(found, width)
        lines += [(), (("what to do about it", "title"), (" · opens the recipe with the change", "dim"))]
        for name, remedy in self.remedies.items():
            lines.append(((f" {KEYS[name]}  ", "key"), (fit(remedy.title, width - 4).rstrip(), "strong")))
            lines += [(("    ", ""), *line) for line in wrapped(remedy.why, width - 4)]
        return lines

    @staticmethod
    def _flips(arms: Arms) -> list[Line]:
        """Rows that the base had right and the tuned model has wrong, on the held-out rows of the task itself."""
        scores = arms.scores()
        by = decider(scores.values())
        kinds = [flip(right(row[arms.a], by), right(row[arms.b], by)) for row in scores.values()
                 if arms.a in row and arms.b in row]  # fmt: skip
        had = sum(kind in ("broken", "still right") for kind in kinds)
        broken, fixed = kinds.count("broken"), kinds.count("fixed")
        text = f"{broken:,} of {had:,} rows that {arms.label(arms.a)} had right are wrong now; {fixed:,} were repaired"
        p = mcnemar(fixed, broken)
        ink = "bad" if broken > fixed and p < ALPHA else ""
        return [((fit("flips", 14), "dim"), (text, ink), (f"   p {chance(p)}", "dim"))]


def verdict(found: Mapping[str, Any]) -> Part:
    """What was FOUND, in one sentence, and its ink."""
    told = found.get("verdict")
    if isinstance(told, str) and told:
        words = found.get("words")
        much = told in ("forgot much", "worse", "much")
        return (one_line(words if isinstance(words, str) else told, 300), "warn" if much else "strong")
    change = found.get("change")
    if not isinstance(change, int | float):
        return ("Forgetting wasn't measured: evaluation.forgetting is off, or the comparison isn't finished.", "dim")
    if change <= LITTLE:
        return (f"✓ Hardly anything was forgotten: {change:+.3f} bits a byte on general text", "good")
    if change <= MUCH:
        return (f"▲ Some was forgotten: {change:+.3f} bits a byte on general text", "warn")
    return (f"▲ Much was forgotten: {change:+.3f} bits a byte on general text", "warn")


def bits_lines(arms: Arms, found: Mapping[str, Any]) -> list[Line]:
    """Bits a byte on general text, arm by arm."""
    bits = found.get("arms")
    if not isinstance(bits, Mapping) or not isinstance(bits.get(BASE), int | float):
        return []
    lines: list[Line] = [
        ((fit("general text", 14), "title"), ("bits a byte: how badly it foresees what it reads", "dim"))
    ]
    base = float(bits[BASE])
    for name, value in bits.items():
        if isinstance(value, int | float):
            change = f"{value - base:+.3f}" if name != BASE else ""
            ink = "" if value - base <= LITTLE else "warn"
            lines.append(
                (("  ", ""), (fit(arms.label(str(name)), 24), ""), (f"{value:7.3f}  ", "strong"), (change, ink))
            )
    return lines


def more_lines(found: Mapping[str, Any], width: int) -> list[Line]:
    """Whatever else the report says of forgetting, name and figure."""
    known = {
        "base_bits_per_byte",
        "tuned_bits_per_byte",
        "change",
        "text",
        "bytes",
        "tokens",
        "arms",
        "verdict",
        "words",
    }
    lines: list[Line] = []
    for name, value in found.items():
        if name in known or not isinstance(value, int | float | str):
            continue
        text = f"{value:,.4g}" if isinstance(value, int | float) else one_line(value, width - 16)
        lines.append(((fit(one_line(name.replace("_", " "), 24), 26), "dim"), (text, "")))
    return lines
