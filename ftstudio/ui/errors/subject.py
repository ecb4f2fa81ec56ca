"""Whose answers are looked at: the base model's of the recipe at hand, or the tuned one's of the run in view."""

from __future__ import annotations

from pathlib import Path

from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.ui.errors.answers import Answers
from ftstudio.ui.shell.session import Session
from ftstudio.ui.text.recipes import Recipes, Source, base_source, tuned_source


class Subject:
    """The answers in view, kept for each place they were opened from. No widgets here."""

    def __init__(self) -> None:
        self.recipes = Recipes()
        self.source: Source | None = None
        self.answers: Answers | None = None
        self.tuned = False
        self._opened: dict[Path, Answers] = {}

    def choose(self, session: Session) -> StudioError | None:
        """Look at the answers of the model that is wanted now; what is wrong with the recipe, if anything."""
        tuned = tuned_source(session, self.recipes)
        self.tuned = self.tuned and tuned is not None
        recipe = self.recipes.base(session)
        error = recipe if isinstance(recipe, StudioError) and not self.tuned else None
        source = tuned if self.tuned else base_source(session, recipe) if isinstance(recipe, Recipe) else None
        if source != self.source:
            self.source = source
            self.answers = self._open(source) if source is not None else None
        return error

    def _open(self, source: Source) -> Answers:
        known = self._opened.get(source.path)
        if known is None or known.recipe != source.recipe:
            known = self._opened[source.path] = Answers(source.folder, source.model, source.recipe)
        return known

    def turn(self, session: Session) -> bool:
        """From the base model to the tuned one, or back; False where there is no other."""
        if not self.other(session):
            return False
        self.tuned = not self.tuned
        return True

    def other(self, session: Session) -> str:
        """What `turn` leads to; empty where it leads nowhere."""
        if tuned_source(session, self.recipes) is None:
            return ""
        return "base model" if self.tuned else "tuned model"

    @property
    def recipe(self) -> Recipe | None:
        """The recipe of the model in view."""
        return self.source.recipe if self.source is not None else None

    def resolving(self, session: Session) -> bool:
        """Whether the data of the recipe is being opened; where its answers lie is known only after that."""
        return session.recipe is not None and self.recipes.base(session) is None
