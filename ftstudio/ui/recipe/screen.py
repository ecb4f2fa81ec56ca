"""The Recipe screen: the wizard, and what is done with its recipe: presets opened and saved, runs started."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual.widgets import Input

from ftstudio.core import files
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.jobs import Train
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.text import clean, one_line
from ftstudio.core.workspace import slug
from ftstudio.engine.prepare import prepare_run, run_stem
from ftstudio.engine.recipes import load_recipe, with_overrides
from ftstudio.engine.sweep import Waiting, grid, join, named, on_same_rows, words_of
from ftstudio.ui.common.background import Ended, Ticked
from ftstudio.ui.common.paths import shown
from ftstudio.ui.recipe import actions
from ftstudio.ui.recipe.actions import (
    ACCEPT,
    COLUMNS,
    FIELD,
    FRESH,
    MEASURE,
    OPEN,
    SAVE,
    SMALLER,
    START,
    SWEEP,
    UNDO,
    YAML,
)
from ftstudio.ui.recipe.panel import explain
from ftstudio.ui.recipe.presets import PresetsDialog, as_preset, description
from ftstudio.ui.recipe.step_data import DataPanel
from ftstudio.ui.recipe.step_review import ReviewPanel, StartLine
from ftstudio.ui.recipe.wizard import Wizard
from ftstudio.ui.shell.actions import Action, bindings
from ftstudio.ui.shell.dialogs import Ask, Prompt

MOST_RUNS = 50  # of a sweep
PLACEHOLDER = "path/to/your"  # how shipped presets begin what must be named


class RecipeScreen(Wizard):
    """Task, data, model, method, settings, review; then the start."""

    MODE = "recipe"
    TITLE_TEXT = "Recipe"
    HELP = actions.HELP
    ACTIONS = actions.ALL
    BINDINGS: ClassVar[list[Any]] = [
        *bindings(*actions.ALL),
        ("enter", "next", "next"),
        ("down", "app.focus_next", "next field"),
        ("up", "app.focus_previous", "field before"),
    ]

    def current_actions(self) -> tuple[Action, ...]:
        review = isinstance(self.panel, ReviewPanel)
        if self.has_class("show-yaml") and self.has_class("-narrow"):
            return (Action("v,ctrl+y", "yaml", "hide the yaml", "back to the fields"), OPEN, SAVE, FRESH)
        typing = isinstance(self.focused, Input)
        next_ = Action("enter", "next", "next step", "the next step; n does the same where nothing is typed")
        first: tuple[Action, ...] = (START, MEASURE, SMALLER, SWEEP) if review else (next_, FIELD)
        if isinstance(self.panel, ReviewPanel) and self.panel.changes.there:
            first = (START, MEASURE, SMALLER, UNDO, SWEEP)
        if isinstance(self.panel, ReviewPanel) and self.panel.acceptable:
            first = (ACCEPT,)
        back = (Action("escape", "back", "back", "the step before; nothing is lost"),) if self.at else ()
        columns = (COLUMNS,) if isinstance(self.panel, DataPanel) and not typing else ()
        tail: tuple[Action, ...] = (OPEN, SAVE, YAML, FRESH)
        if typing:  # letters are text there: show the keys that work
            tail = tuple(Action(a.key.split(",")[-1], a.run, a.label, a.help) for a in tail)
        return (*first, *back, *columns, *tail)

    # -- presets -----------------------------------------------------------------------------------------------------
    def action_open_preset(self) -> None:
        """Open a preset in the wizard."""

        def done(path: Path | None) -> None:
            if path is None:
                return
            try:
                recipe = load_recipe(path)
            except StudioError as error:
                self.studio.show_error(error)
                return
            self._replace(recipe, f"Preset {path.stem} is open.")

        self.studio.push_screen(PresetsDialog(self.session.workspace), done)

    def _replace(self, recipe: Recipe | None, text: str) -> None:
        """Another recipe, from its first step on; what stood here is set aside."""
        try:
            kept = self.set_aside(self.draft)
        except StudioError as error:  # what a person typed isn't replaced where it can't be kept
            self.studio.show_error(error)
            return
        self.set_focus(None)  # what stands in a field is replaced, too
        self.visited.clear()
        self.draft.changed_ever = False
        if recipe is not None:
            self._take(recipe)
            for key in ("model", "data.train"):  # a shipped preset's placeholders: to be named by the person
                if str(self.draft.get(key)).startswith(PLACEHOLDER):
                    self.draft.clear(key)
            self.session.recipe = self.published = self.draft.recipe
        else:
            self.draft.values = {"task": "sft"}
            self.session.recipe = self.published = None
            self.draft.check()
        self.draft.changed = True
        self._changed_at = time.monotonic()
        for panel in self.panels:
            panel.problem, panel.asked = "", False
        self.show_all()
        self.at = 0
        self._go(0)
        self.studio.tell(f"{text} What stood here before lies in {kept}." if kept else text)

    def action_fresh(self) -> None:
        """Begin anew, after asking."""

        def done(answer: str | None) -> None:
            if answer == "n":
                self._replace(None, "A new recipe.")

        self.studio.push_screen(
            Ask("Begin a new recipe?", "What stands here now is moved to the workspace's trash folder.",
                {"n": "begin anew"}), done,
        )  # fmt: skip

    def action_save_preset(self, name: str = "") -> None:
        """Ask for a name and save the recipe as a preset."""
        recipe = self.draft.recipe
        if recipe is None:
            key, text = next(iter(self.draft.faults.items()), ("", "it is incomplete"))
            self.studio.tell(f"Not yet a recipe: {key} {text}.", "warning")
            return

        def named(given: str | None) -> None:
            if given and given.strip():
                path = self.session.workspace.presets_path / f"{slug(given)}.yaml"
                if path.exists():
                    self._ask_overwrite(recipe, path)
                else:
                    self._save_preset(recipe, path)

        where = f"a name; the file goes to {shown(self.session.workspace.presets_path)}/"
        self.studio.push_screen(Prompt("Save as preset", name or slug(run_stem(recipe)), where), named)

    def _ask_overwrite(self, recipe: Recipe, path: Path) -> None:
        def done(answer: str | None) -> None:
            if answer == "o":
                self._save_preset(recipe, path)
            elif answer == "n":
                self.action_save_preset(path.stem)

        self.studio.push_screen(
            Ask(f"There is a preset {path.stem} already.", description(path),
                {"o": "write over it", "n": "choose another name"}), done,
        )  # fmt: skip

    def _save_preset(self, recipe: Recipe, path: Path) -> None:
        train = recipe.data.train if isinstance(recipe.data.train, str) else "several sources"
        data = one_line(Path(train).name or train, 40)
        about = f"{recipe.task} with {recipe.method.name} on {data}, model {one_line(Path(recipe.model).name, 40)}"
        try:
            files.write(path, as_preset(recipe, about))
        except StudioError as error:
            self.studio.show_error(error)
            return
        self.studio.tell(f"Saved: {shown(path)}")

    def action_accept(self) -> None:
        """Accept the errors in the rows."""
        if isinstance(self.panel, ReviewPanel):
            self.panel.accept()

    # -- start -------------------------------------------------------------------------------------------------------
    def on_start_line_pressed(self, event: StartLine.Pressed) -> None:
        event.stop()
        self.action_start()

    def action_start(self) -> None:
        """Prepare the run off the thread, hand it to the worker, go to Train."""
        recipe = self.draft.recipe
        if not isinstance(self.panel, ReviewPanel):
            self._go(len(self.panels) - 1)
            return
        if recipe is None or not self.panel.compatible or self.background.is_running("start"):
            return
        workspace = self.session.workspace
        self._say_start("preparing the run")
        self.background.start(
            "start", "preparing the run",
            lambda work: prepare_run(recipe, workspace, progress=work.progress, cancel=work.cancel),
            self._started, self._not_started,
        )  # fmt: skip

    def action_sweep(self) -> None:
        """Ask for values, and start a run for each of them, or for each combination."""
        recipe = self.draft.recipe
        if not isinstance(self.panel, ReviewPanel) or recipe is None or self.background.is_running("start"):
            return

        def typed(text: str | None) -> None:
            if text and text.strip():
                self.attempt(lambda: self._sweep(recipe, grid(words_of(text))))

        hint = "such as training.learning_rate=1e-4,2e-4; several keys: every combination"
        self.studio.push_screen(
            Prompt("A run for each of which values?", "", hint, check=lambda text: grid(words_of(text))), typed
        )

    def _sweep(self, recipe: Recipe, chosen: list[list[str]]) -> None:
        """Prepare a run of RECIPE for each of the CHOSEN overrides, off the thread. Raises UsageError for too many."""
        if len(chosen) > MOST_RUNS:
            raise UsageError(f"That makes {len(chosen)} runs.", f"List values for {MOST_RUNS} at most.")
        workspace = self.session.workspace

        def work(work: Any) -> list[Waiting]:
            # none is begun if one is wrong
            made = partial(with_overrides, recipe)
            recipes = [named(on_same_rows(words, made), words, chosen) for words in chosen]
            found = []
            for place, (words, one) in enumerate(zip(chosen, recipes, strict=True), 1):
                work.progress(place - 1, len(recipes))
                waiting = Waiting(" ".join(words), chosen=words)
                try:
                    waiting.run = prepare_run(one, workspace, cancel=work.cancel)
                except StudioError as error:  # the others can still be trained
                    waiting.error = error
                found.append(waiting)
            join(found)
            return found

        self._say_start(f"preparing {len(chosen)} runs")
        self.background.start("start", f"preparing {len(chosen)} runs", work, self._swept, self._not_started)

    def _swept(self, found: list[Waiting]) -> None:
        self._say_start("")
        failed = [one for one in found if one.error is not None]
        runs = [one.run for one in found if one.run is not None]
        for run in runs:
            self.session.submit(Train(run.path))
        if failed and failed[0].error is not None:
            error = failed[0].error
            self.studio.show_error(StudioError(f"{failed[0].name}: {error.message}", error.hint))
        if runs:
            self.session.view_run(runs[0])
            self.studio.tell(f"{len(runs)} runs train one after another; 6 shows them.")
            self.studio.action_go("train")

    def action_measure(self) -> None:
        """A few real steps, on the review step."""
        if isinstance(self.panel, ReviewPanel):
            self.panel.measure(self.session.busy)

    def action_smaller(self) -> None:
        """Less at once through the model, on the review step."""
        if isinstance(self.panel, ReviewPanel):
            self.panel.lessen(self.studio.tell)

    def action_undo(self) -> None:
        """Take back what that did."""
        if isinstance(self.panel, ReviewPanel):
            self.panel.take_back(self.studio.tell)

    def _say_start(self, text: str) -> None:
        self.query_one(StartLine).say(f"▶ {text} …" if text else "Start training   enter or s", not text)

    def _started(self, run: RunFolder) -> None:
        waiting = self.session.busy
        self._say_start("")
        self.session.submit(Train(run.path))
        self.session.view_run(run)
        if waiting:
            self.studio.tell(f"{run.name} waits until what is running has ended.")
        self.studio.action_go("train")

    def _not_started(self, error: BaseException) -> None:
        self._say_start("")
        if isinstance(error, StudioError):
            self.studio.show_error(error)
        else:
            self.studio.tell(clean(explain(error), 300), "error")

    def on_ticked(self, event: Ticked) -> None:
        event.stop()
        if event.work.group == "start":
            self._say_start(event.work.text.removesuffix(" …"))

    def on_ended(self, event: Ended) -> None:
        event.stop()
        self.background.ended(event)
