"""Another learning rate or length for a run that trains: what a person types, and what it means. No widgets here."""

from __future__ import annotations

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.text import one_line
from ftstudio.ui.train.recipe_diff import settings


def peak(run: RunFolder, story: Story) -> float | None:
    """The peak of RUN's learning rate as it is now: the last one that was asked for, else the recipe's."""
    asked = [event.get("value") for event in story.steers if event.get("what") == "learning_rate"]
    if asked and isinstance(asked[-1], (int, float)):
        return float(asked[-1])
    try:
        return float(settings(run).get("training.learning_rate", ""))
    except (StudioError, ValueError):
        return None


def rate_of(text: str, now: float | None) -> float:
    """The peak learning rate that TEXT means: a number such as `1e-4`, or `x0.5` for half of what it is NOW."""
    word = text.strip().lower().replace(",", ".")
    factor = word[:1] in ("x", "*", "×")
    try:
        value = float(word[1:] if factor else word)
    except ValueError:
        raise UsageError(f"{one_line(text, 30)!r} is no learning rate.", "Type 1e-4, or x0.5 for half of it.") from None
    if factor:
        if now is None:
            raise UsageError("What it is now isn't known.", "Type the rate itself, such as 1e-4.")
        value *= now
    if not 0 < value <= 1:
        raise UsageError(f"A learning rate lies above 0 and at most at 1, not at {value:g}.", "Type another.")
    return value


def steps_of(text: str, step: int, total: int | None, *, ended: bool = False) -> int:
    """The steps that TEXT means: all in all, or more (`+100`) or fewer (`-50`) than TOTAL; not before STEP, and beyond
    it where the run has ENDED."""
    word = text.strip().replace(" ", "")
    try:
        value = int(word)
    except ValueError:
        raise UsageError(f"{one_line(text, 30)!r} is no number of steps.", "Type 400, or +100, or -50.") from None
    if word[:1] in ("+", "-"):
        if total is None:
            raise UsageError("Nobody knows how many steps there would be.", "Type how many there are to be.")
        value += total
    if ended and value <= step:
        raise UsageError(f"{step} steps are taken already.", "Type more than that, such as +100.")
    if value < max(1, step):
        raise UsageError(f"{step} steps are taken already.", "s stops the run now, with a checkpoint.")
    return value
