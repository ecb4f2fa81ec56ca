"""A sweep typed on the Recipe screen: the recipes that it makes, and how many of its runs begin. No widgets here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import one_line
from ftstudio.engine.chosen import short, values
from ftstudio.engine.recipes import overriding
from ftstudio.engine.sweep import Waiting, grid, join, named, on_same_rows, words_of

if TYPE_CHECKING:
    from ftstudio.core.run import RunFolder

MOST_RUNS = 50  # of a sweep
NAMED = 2  # of those that can't begin, each with what was chosen for it


def typed(recipe: Recipe, text: str) -> list[tuple[list[str], Recipe]]:
    """The sweep over RECIPE that TEXT lists the values of: for each run what was chosen, and its recipe. Raises
    StudioError for what is no sweep, for too many runs and for a value that no recipe takes."""
    chosen = grid(words_of(text))
    if not chosen or not words_of(text):
        raise UsageError("No values are listed.", "Write training.learning_rate=1e-4,2e-4 (two values or more).")
    if len(chosen) > MOST_RUNS:
        raise UsageError(f"That makes {len(chosen)} runs.", f"List values for {MOST_RUNS} at most.")
    made = overriding(recipe)
    return [(words, named(on_same_rows(words, made), words, chosen)) for words in chosen]


def prepare(
    sweep: Sequence[tuple[list[str], Recipe]],
    one: Callable[[Recipe], RunFolder],
    progress: Callable[[int, int], None],
) -> list[Waiting]:
    """A run for each recipe of SWEEP, prepared by ONE; one that can't be says why, and the others begin without it."""
    found = []
    for place, (words, recipe) in enumerate(sweep):
        progress(place, len(sweep))
        waiting = Waiting(" ".join(words), chosen=words)
        try:
            waiting.run = one(recipe)
        except StudioError as error:
            waiting.error = error
        found.append(waiting)
    join(found)
    return found


def told(found: Sequence[Waiting]) -> str:
    """How many of the runs of FOUND begin, and why the others can't."""
    begin = sum(one.run is not None for one in found)
    failed = [one for one in found if one.error is not None]
    if not failed:
        return f"{begin} runs train, one after another; 6 shows them."
    said = [
        one_line(" ".join(f"{key}={value}" for key, value in what.items()) or one.name, 60)
        for what, one in zip(short([values(one.chosen) for one in found]), found, strict=True)
        if one.error is not None
    ]
    which = ", ".join(said[:NAMED]) + (f" and {len(said) - NAMED} more" if len(said) > NAMED else "")
    reasons = list(dict.fromkeys(f"{one.error.message} {one.error.hint}".strip() for one in failed if one.error))
    more = f" (first of {len(reasons)} reasons)" if len(reasons) > 1 else ""
    begins = f"{begin or 'None'} of {len(found)} begin{'s' if begin < 2 else ''}"
    shown = "; 6 shows them" if begin > 1 else ""
    return f"{begins}{shown}; {len(failed)} can't: {which}: {reasons[0]}{more}"
