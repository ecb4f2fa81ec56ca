"""Whose answers can be looked at: the base model of the recipe at hand, and the tuned model of the run in view."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ftstudio.core.errors import StudioError
from ftstudio.core.folder import JobFolder
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.ui.shell.session import Session


@dataclass(frozen=True)
class Source:
    """A model, where its answers are kept, its resolved recipe (None where it can't be read); RUN for a tuned one."""

    model: str
    path: Path
    recipe: Recipe | None
    run: Path | None = None

    @property
    def folder(self) -> JobFolder:
        """The folder of the answers."""
        return JobFolder(self.path)


class Recipes:
    """Resolved recipes: of a draft, which means opening its data (in a thread), and of runs, which is quick."""

    def __init__(self) -> None:
        self.draft: Recipe | None = None  # the draft that was resolved, or is being
        self.found: Recipe | StudioError | None = None
        self._runs: dict[Path, tuple[float, Recipe | None]] = {}

    def wanted(self, session: Session) -> Recipe | None:
        """The draft that `resolve` must be called for; None where nothing is to be done."""
        recipe = session.recipe
        if recipe is None or recipe.resolved is not None or recipe == self.draft:
            return None
        return recipe

    def resolve(self, recipe: Recipe) -> Recipe | StudioError:
        """RECIPE with all defaults, or what is wrong with it. Opens the data: not for the screen's thread."""
        from ftstudio.engine.prepare import resolve

        try:
            return resolve(recipe)[0]
        except StudioError as error:
            return error

    def base(self, session: Session) -> Recipe | StudioError | None:
        """The resolved recipe whose base model is looked at, what is wrong with it, or None: none yet."""
        if session.recipe is None:
            return self.of_run(session.feed.run) if session.feed is not None else None
        return session.recipe if session.recipe.resolved is not None else self.found

    def of_run(self, run: RunFolder) -> Recipe | None:
        """The recipe of RUN; None where it can't be read."""
        from ftstudio.engine.recipes import load_recipe

        try:
            changed = run.recipe_path.stat().st_mtime
        except OSError:
            return None
        known = self._runs.get(run.path)
        if known is None or known[0] != changed:
            try:
                recipe = load_recipe(run.recipe_path)
            except StudioError:
                recipe = None
            known = self._runs[run.path] = (changed, recipe)
        return known[1]


def base_source(session: Session, recipe: Recipe) -> Source:
    """The base model of the resolved RECIPE."""
    from ftstudio.engine.answer import base_folder

    folder = base_folder(session.workspace, recipe)
    return Source(f"base model {Path(recipe.model).name}", folder.path, recipe)


def tuned_source(session: Session, recipes: Recipes) -> Source | None:
    """The tuned model of the run in view; None where there is none (yet)."""
    run = session.feed.run if session.feed is not None else None
    if run is None or not (run.model.is_dir() or run.errors.path.is_dir()):
        return None
    return Source(f"tuned model {run.name}", run.errors.path, recipes.of_run(run), run.path)
