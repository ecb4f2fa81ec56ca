"""Less at once through the model: looked for beside the screen, done only where the estimate falls, taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ftstudio.core.recipe import Recipe
from ftstudio.core.text import size
from ftstudio.engine import fit
from ftstudio.ui.recipe.draft import Draft

Planner = Callable[[Recipe], dict[str, Any]]


@dataclass(frozen=True)
class Less:
    """A recipe that takes less, its PLAN, and what it does in words."""

    recipe: Recipe
    plan: dict[str, Any]
    told: str


def refused(plan: dict[str, Any], recipe: Recipe) -> str:
    """Why nothing is to be made less of RECIPE, in a sentence; empty where that may be looked for."""
    memory = plan.get("memory") or {}
    first = next(iter(memory.get("fits") or ()), None)
    if not memory.get("beyond") or first is None:
        return ""
    return (
        f"{first['text']}. Weights, gradients and optimiser states alone are more: a smaller batch doesn't help. "
        + (fit.lighter(recipe))
    )


def fits(plan: dict[str, Any]) -> str:
    """What the plan says of the device where the run fits well; else empty."""
    first = next(iter((plan.get("memory") or {}).get("fits") or ()), None)
    return str(first["text"]) if first is not None and first["fits"] == "yes" else ""


def find(recipe: Recipe, plan: dict[str, Any], divisible: bool | None, planner: Planner) -> Less | None:
    """The first of the ways to make RECIPE, whose PLAN is known, take less that does so by its estimate; PLANNER plans
    a recipe. None where none does. Where nothing can be estimated, the first way, which says so. Raises StudioError."""
    now = (plan.get("memory") or {}).get("estimated_bytes")
    for way in fit.ways(recipe, divisible):
        found = planner(way)
        then = (found.get("memory") or {}).get("estimated_bytes")
        told = fit.said(recipe, way)
        if now is None or then is None:
            return Less(way, found, f"{told}. What that saves can't be estimated; m measures it.")
        if then < now:
            return Less(way, found, f"{told}. {size(now)} → {size(then)} estimated.")
    return None


class Changes:
    """What was set in a DRAFT by a key, so that it can be taken back."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        # of which model and rows, and by key: was it written out, as what, and as what now
        self._made: list[tuple[Any, dict[str, tuple[bool, Any, Any]]]] = []

    def _about(self) -> Any:
        return self.draft.get("model"), self.draft.get("data.train"), self.draft.get("task")

    def make(self, values: dict[str, Any]) -> None:
        """Set dotted keys to VALUES."""
        before = {key: (self.draft.has(key), self.draft.get(key), value) for key, value in values.items()}
        for key, value in values.items():
            self.draft.set(key, value)
        self._made.append((self._about(), before))

    @property
    def there(self) -> bool:
        """Whether something can be taken back: it stands as it was set."""
        if not self._made or self._made[-1][0] != self._about():
            return False
        return any(self.draft.get(key) == now for key, (_, _, now) in self._made[-1][1].items())

    def take_back(self) -> list[str]:
        """Put back what was there before the last change, but for what a person has changed since; the keys."""
        if not self.there:
            return []
        keys = []
        for key, (written, before, now) in self._made.pop()[1].items():
            if self.draft.get(key) != now:
                continue
            if not written:
                self.draft.clear(key)
            elif before is None:
                self.draft.set_null(key)
            else:
                self.draft.set(key, before)
            keys.append(key)
        return keys
