"""Whose answers are looked at: the base model's of the recipe, the tuned one's of the run in view, or a file's."""

from __future__ import annotations

from pathlib import Path

from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.ui.errors.answers import Answers
from ftstudio.ui.shell.session import Session
from ftstudio.ui.text.recipes import Recipes, Source, base_source, tuned_source

KINDS = {"base": "base model", "tuned": "tuned model", "stored": "stored answers"}


class Subject:
    """The answers in view, kept for each place they were opened from. No widgets here."""

    def __init__(self) -> None:
        self.recipes = Recipes()
        self.kind = "base"  # one of KINDS
        self._run: Path | None = None  # the run in view that the kind was last chosen for
        self._turned = False  # the person has said whose answers to look at
        self.source: Source | None = None
        self.answers: Answers | None = None
        self.stored: Source | None = None
        self._opened: dict[Path, Answers] = {}

    def choose(self, session: Session) -> StudioError | None:
        """Look at the answers of the kind that is wanted now; what is wrong with the recipe, if anything."""
        found = self._sources(session)
        run = session.feed.run.path if session.feed is not None else None
        if run != self._run and not self._turned and (found["base"] is not None or session.recipe is None):
            self._run = run
            self.kind = "tuned" if _answered(found.get("tuned")) and not _answered(found["base"]) else "base"
        self.kind = self.kind if self.kind in found else "base"
        source = found[self.kind]
        if source != self.source:
            self.source = source
            self.answers = self._open(source, session.workspace.path) if source is not None else None
        recipe = self.recipes.base(session)
        return recipe if isinstance(recipe, StudioError) and self.kind == "base" else None

    def _sources(self, session: Session) -> dict[str, Source | None]:
        """What there is of each kind; the base model always, though it be unknown yet where its answers are."""
        recipe = self.recipes.base(session)
        base = base_source(session, recipe) if isinstance(recipe, Recipe) else None
        others = {"tuned": tuned_source(session, self.recipes), "stored": self.stored}
        return {"base": base} | {kind: source for kind, source in others.items() if source is not None}

    def _open(self, source: Source, workspace: Path) -> Answers:
        known = self._opened.get(source.path)
        if known is None or known.recipe != source.recipe:
            known = self._opened[source.path] = Answers(source.folder, source.model, source.recipe, workspace)
        return known

    def look_at(self, stored: Source) -> None:
        """Look at STORED answers from now on."""
        self.stored, self.kind, self._turned = stored, "stored", True

    def turn(self, session: Session) -> bool:
        """To the next kind there is; False where there is no other."""
        following = self._following(session)
        self.kind = following or self.kind
        self._turned = True
        return bool(following)

    def _following(self, session: Session) -> str:
        kinds = list(self._sources(session))
        here = kinds.index(self.kind) if self.kind in kinds else 0
        return kinds[(here + 1) % len(kinds)] if len(kinds) > 1 else ""

    def other(self, session: Session) -> str:
        """What `turn` leads to; empty where it leads nowhere."""
        return KINDS.get(self._following(session), "")

    @property
    def recipe(self) -> Recipe | None:
        """The recipe of the model in view."""
        return self.source.recipe if self.source is not None else None

    def resolving(self, session: Session) -> bool:
        """Whether the data of the recipe is being opened; where its answers lie is known only after that."""
        return session.recipe is not None and self.recipes.base(session) is None


def _answered(source: Source | None) -> bool:
    """Whether there are answers of SOURCE."""
    return source is not None and (source.path / "outputs.jsonl").is_file()
