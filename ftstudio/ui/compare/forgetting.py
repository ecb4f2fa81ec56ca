"""What the tuning cost elsewhere, in one verdict and its figures, and what can be done about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.binding import Binding

from ftstudio.core.text import one_line
from ftstudio.evaluation.flips import decider, flip, right
from ftstudio.evaluation.forgotten import LITTLE, MUCH
from ftstudio.evaluation.shown import chance
from ftstudio.evaluation.statistics import ALPHA, mcnemar
from ftstudio.ui.compare.arms import BASE, Arms
from ftstudio.ui.compare.arms_page import ArmsPage
from ftstudio.ui.compare.remedies import Remedy, remedies
from ftstudio.ui.text.lines import Line, Part, fit
from ftstudio.ui.text.said import named, wrapped

INKS = {"little": "good", "some": "warn", "much": "warn"}
WIDE = 18  # cells of a measure's name
FLIPS = (
    ("canaries", "general questions", "right"),
    ("forms", "forms asked for", "kept"),
    ("held_out", "held-out rows", "right"),
)
KEYS = {"adapter": "a", "rate": "r", "replay": "m", "shorter": "k"}


class Forgetting(ArmsPage):
    """The forgetting panel of the comparison in view."""

    BINDINGS = [Binding(key, f"screen.remedy('{name}')", show=False) for name, key in KEYS.items()]

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
        lines: list[Line] = [*wrapped(word, width, ink, 3)]
        reason = found.get("reason")
        if isinstance(reason, str) and reason != found.get("words"):
            lines += wrapped(one_line(reason, 300), width, "dim", 3)
        lines.append(())
        panel = found.get("panel")
        weights = panel if isinstance(panel, Mapping) else {}
        name = next((one for one in (arms.b, found.get("main"), *weights) if one in weights), None)
        if name is not None and isinstance(weights[name], Mapping):
            lines += part_lines(arms.label(str(name)), found.get("base_bits_per_byte"), weights[name], width)
        lines += bits_lines(arms, found) if name is None else []
        if not isinstance((weights.get(name) or {}).get("held_out"), Mapping):
            lines += self._flips(arms, width)
        if len(weights) > 1:
            lines += others(arms, weights)
        lines += [(), (("what to do about it", "title"), (" · opens the recipe with the change", "dim"))]
        for key, remedy in self.remedies.items():
            lines.append(((f" {KEYS[key]}  ", "key"), (fit(remedy.title, width - 4).rstrip(), "strong")))
            lines += [(("    ", ""), *line) for line in wrapped(remedy.why, width - 4)]
        return lines

    @staticmethod
    def _flips(arms: Arms, width: int) -> list[Line]:
        """Rows that the base had right and the tuned model has wrong, on the held-out rows of the task itself."""
        scores = arms.scores()
        by = decider(scores.values())
        kinds = [flip(right(row[arms.a], by), right(row[arms.b], by)) for row in scores.values()
                 if arms.a in row and arms.b in row]  # fmt: skip
        had = sum(kind in ("broken", "still right") for kind in kinds)
        broken, fixed = kinds.count("broken"), kinds.count("fixed")
        a = arms.label(arms.a)
        text = f"{broken:,} of {had:,} that {a} had right are wrong now" if had else f"{a} had none right"
        text += f"; {fixed:,} were repaired"
        p = mcnemar(fixed, broken)
        ink = "bad" if broken > fixed and p < ALPHA else ""
        return named("held-out rows", f"{text} (p {chance(p)})", WIDE, width, ink)


def verdict(found: Mapping[str, Any]) -> Part:
    """What was FOUND, in one sentence, and its ink."""
    told, level = found.get("words"), found.get("level")
    if isinstance(told, str) and level in INKS:
        return (f"{'✓' if level == 'little' else '▲'} {one_line(told, 400)}", INKS[level])
    if isinstance(found.get("reason"), str):
        return (one_line(told or found["reason"], 400), "")
    change = found.get("change")
    if not isinstance(change, int | float):
        return ("Forgetting wasn't measured: evaluation.forgetting is off, or the comparison isn't finished.", "dim")
    if change <= LITTLE:
        return (f"✓ Hardly anything was forgotten: {change:+.3f} bits a byte on general text", "good")
    if change <= MUCH:
        return (f"▲ Some was forgotten: {change:+.3f} bits a byte on general text", "warn")
    return (f"▲ Much was forgotten: {change:+.3f} bits a byte on general text", "warn")


def part_lines(label: str, base: Any, part: Mapping[str, Any], width: int) -> list[Line]:
    """What one arm's weights lost off the task: text, distance, questions, forms, held-out rows, errors."""
    lines: list[Line] = []

    def say(name: str, text: str, ink: str = "", more: str = "") -> None:
        lines.append(((fit(name, WIDE), "dim"), (fit(text, width - WIDE - len(more) - 1).rstrip(), ink), (more, "dim")))

    bits, change = part.get("bits_per_byte"), part.get("change")
    if isinstance(bits, int | float) and isinstance(base, int | float) and isinstance(change, int | float):
        ink = "good" if change <= LITTLE else "warn"
        say("general text", f"{base:.3f} → {bits:.3f} bits a byte ({change:+.3f})", ink)
    if isinstance(part.get("kl"), int | float):
        say("neutral prompts", f"{part['kl']:.3f} nats a token away from the base (KL)")
    for key, name, unit in FLIPS:
        flips = part.get(key)
        if isinstance(flips, Mapping):
            word = str(flips.get("verdict") or "")
            text = f"{flips['base']:,} → {flips['tuned']:,} of {flips['n']:,} {unit}"
            text += f": {flips['broken']:,} broken, {flips['fixed']:,} fixed"
            say(name, text, {"worse": "bad", "better": "good"}.get(word, ""), f"  p {chance(flips.get('p'))}")
    if part.get("guessing"):
        say("", "the base itself guesses here: this tells little", "dim")
    errors = [entry for entry in part.get("off_task") or () if isinstance(entry, Mapping)]
    risen = [entry for entry in errors if entry.get("base") or entry.get("tuned")]
    for place, entry in enumerate(risen):
        worse = entry.get("verdict") == "worse"
        text = f"{fit(one_line(entry.get('title'), 18), 19)}{entry['base']:>4,} → {entry['tuned']:,} of {entry['n']:,}"
        say("errors elsewhere" if not place else "", text, "bad" if worse else "", f"  p {chance(entry.get('p'))}")
    if errors and not risen:
        say("errors elsewhere", "none on prompts off the task, before or after", "good")
    return [((label, "title"), (" against the base, off the task", "dim")), *lines]


def others(arms: Arms, panel: Mapping[str, Any]) -> list[Line]:
    """All tuned weights in brief."""
    lines: list[Line] = [(), ((f"{'all weights':<24}{'bits a byte':>12}{'KL':>9}  forgot", "title"),)]
    for name, part in panel.items():
        if isinstance(part, Mapping) and isinstance(part.get("change"), int | float):
            kl = f"{part['kl']:.3f}" if isinstance(part.get("kl"), int | float) else "–"
            level = one_line(part.get("level"), 10)
            head = f"{fit(arms.label(str(name)), 24)}{part['change']:>+12.3f}{kl:>9}  "
            lines.append(((head, ""), (level, INKS.get(level, ""))))
    return lines


def bits_lines(arms: Arms, found: Mapping[str, Any]) -> list[Line]:
    """Bits a byte on general text, arm by arm."""
    bits = found.get("arms")
    if not isinstance(bits, Mapping) or not isinstance(bits.get(BASE), int | float):
        return []
    about = " · bits a byte: how badly it foresees what it reads"
    lines: list[Line] = [(("general text", "title"), (about, "dim"))]
    base = float(bits[BASE])
    for name, value in bits.items():
        if isinstance(value, int | float):
            change = f"{value - base:+.3f}" if name != BASE else ""
            ink = "" if value - base <= LITTLE else "warn"
            label = f"  {fit(arms.label(str(name)), 24)}"
            lines.append(((label, ""), (f"{value:7.3f}  ", "strong"), (change, ink)))
    return lines
