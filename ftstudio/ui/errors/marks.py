"""How categories look: their mark in their colour, the key that tags with them, and rows of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ftstudio.core.text import one_line
from ftstudio.evaluation.categories import Category
from ftstudio.evaluation.tags import Agreement
from ftstudio.ui.errors.answers import ALL, CLEAN, GROUP
from ftstudio.ui.text.lines import Line, Part
from ftstudio.ui.text.table import Cells, Column

Known = Mapping[str, Category]  # the categories there are, a person's own ones too, by name
PEN = "✎"  # a person said so
# Terminal colour names as colours that are bright enough on a dark ground, and as grey where there are no colours.
COLOURS = {
    "red": "#ff8787", "bright_red": "#ffafaf", "green": "#87d787", "bright_green": "#afffaf", "yellow": "#d7af5f",
    "bright_yellow": "#ffd787", "blue": "#87afff", "bright_blue": "#afd7ff", "magenta": "#d787d7",
    "bright_magenta": "#ffafff", "cyan": "#5fd7d7", "bright_cyan": "#afffff", "bright_black": "#a8a8a8",
    "white": "#d0d0d0", "bright_white": "#ffffff",
}  # fmt: skip


def ink(category: Category) -> str:
    """The ink of a category's mark."""
    return f"@{COLOURS.get(category.colour, category.colour)}"


CATEGORY_COLUMNS = (
    Column("what is wrong", 0),
    Column("rows", 5, "right"),
    Column("rate", 5, "right"),
    Column("refs", 5, "right"),
    Column("lift", 6, "right", least=50),
    Column("95 % interval", 13, "right", least=64),
)


def keys(known: Known) -> dict[str, Category]:
    """The capital letter that tags with each category. Capitals, since small letters are the screen's own keys."""
    return {category.key.upper(): category for category in known.values() if category.key}


def marks(names: Collection[str], decided: Mapping[str, str], known: Known) -> str:
    """The marks of the categories NAMES, with a pen where a person decided."""
    signs = "".join(category.mark for name, category in known.items() if name in names)
    return signs + (PEN if decided else "")


def percent(value: float | None) -> str:
    """A share for people."""
    if value is None:
        return "–"
    return f"{100 * value:.0f} %" if value == 0 or value >= 0.00995 else f"{100 * value:.1f} %"


def ordered(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The category table with what occurs most first, and what can't be judged last."""
    return sorted(table, key=lambda entry: (bool(entry["reason"]) and not entry["count"], -entry["count"]))


def cells(entry: dict[str, Any], known: Known) -> Cells:
    """One line of the category table."""
    category = known.get(entry["name"])
    title = f"{category.mark} {category.title}" if category else one_line(entry["title"], 40)
    if entry["name"] in (ALL, CLEAN, GROUP):
        return (entry["title"], f"{entry['count']}", "" if entry["name"] == ALL else percent(entry["rate"]), "", "", "")
    if entry["reason"] and not entry["count"]:
        return ((title, "dim"), ("not judged here", "dim"))  # why is told below, where there is room
    if not entry["count"]:
        return tuple((text, "dim") for text in (title, "0", "", percent(entry["reference_rate"]), "", ""))
    lift, low = entry["lift"], entry["low"]
    hint = "?" if entry["hint"] else ""
    return (
        title + hint,
        f"{entry['count']}",
        percent(entry["rate"]),
        percent(entry["reference_rate"]),
        "" if entry["rate"] is None else f"{lift:.1f}×" if lift is not None else "∞",
        f"{100 * low:.0f} – {100 * entry['high']:.0f} %" if low is not None else "",
    )


def explained(entry: dict[str, Any] | None, known: Known) -> str:
    """What the category under the cursor means, or why it can't be judged."""
    if entry is None or entry["name"] == ALL:
        return (
            "refs: how often the same check fires on the reference answers, which are right. "
            "A check that fires there too says little."
        )
    if entry["name"] == GROUP:
        return "Answers that mean alike, called after the words that set them apart. m groups anew."
    if entry["name"] == CLEAN:
        return "Answers in which no check found anything. That doesn't make them right: read some."
    category = known.get(entry["name"])
    text = category.help if category else ""
    return f"Can't be judged here: {entry['reason']}." if entry["reason"] else text


def agreed(agreement: Agreement) -> str:
    """How a person and the check agree, in words."""
    same, total = agreement.both + agreement.neither, agreement.total
    if same == total:
        return f"You and the check agree on all {total:,} rows you looked at."
    ways = [(agreement.person_only, "missed"), (agreement.detector_only, "wrongly named")]
    told = " and ".join(f"{what} {count:,}" for count, what in ways if count)
    return f"You and the check agree on {same:,} of {total:,} rows you looked at ({percent(same / total)}): it {told}."


def palette(on: Collection[str], decided: Mapping[str, str], known: Known, width: int) -> list[Line]:
    """The keys that tag, those of the row's categories marked, in lines of WIDTH cells."""
    lines: list[list[Part]] = [[]]
    used = 0
    for key, category in keys(known).items():
        text = f" {category.title}{PEN if category.name in decided else ''} "
        inside = category.name in on
        need = len(text) + 2
        if used + need > width and lines[-1]:
            lines.append([])
            used = 0
        lines[-1] += [("●" if inside else " ", "warn"), (key, "key"), (text, "strong" if inside else "dim")]
        used += need
    return [tuple(line) for line in lines]
