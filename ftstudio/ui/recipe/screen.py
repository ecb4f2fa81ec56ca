"""The Recipe screen: a wizard in six steps, the YAML growing beside it. What is typed is never lost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.jobs import Train
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.text import clean, one_line
from ftstudio.core.workspace import slug
from ftstudio.engine.prepare import prepare_run, run_stem
from ftstudio.engine.recipes import load_recipe
from ftstudio.ui.common.background import Background, Ended, Ticked
from ftstudio.ui.common.paths import shown
from ftstudio.ui.data import recent
from ftstudio.ui.recipe.draft import Draft, load_draft
from ftstudio.ui.recipe.frame import StepList, YamlPage
from ftstudio.ui.recipe.model_facts import explain
from ftstudio.ui.recipe.panel import About, Drafted, Next, Panel
from ftstudio.ui.recipe.presets import PresetsDialog, as_preset
from ftstudio.ui.recipe.step_data import DataPanel
from ftstudio.ui.recipe.step_method import MethodPanel
from ftstudio.ui.recipe.step_model import ModelPanel
from ftstudio.ui.recipe.step_review import ReviewPanel, StartLine
from ftstudio.ui.recipe.step_settings import SettingsPanel
from ftstudio.ui.recipe.step_task import TaskPanel
from ftstudio.ui.shell.actions import Action, bindings
from ftstudio.ui.shell.dialogs import Ask, Prompt
from ftstudio.ui.shell.screen import StudioScreen

PLACEHOLDER = "path/to/your"  # how shipped presets begin what must be named
SAVE_AFTER = 0.7  # seconds after the last change

NEXT = Action("n", "next", "next", "the next step (enter does the same)")
BACK = Action("escape,b", "back", "back", "the step before; nothing is lost")
FIELD = Action("tab", "app.focus_next", "next field", "the next field; shift+tab the one before, ↑ and ↓ too")
START = Action("s", "start", "start", "start the run")
COLUMNS = Action("c", "columns", "columns", "which column is the prompt, which the completion")
YAML = Action("v,ctrl+y", "yaml", "yaml", "show the recipe as YAML, or hide it")
OPEN = Action("o,ctrl+o", "open_preset", "presets", "open a preset")
SAVE = Action("w,ctrl+s", "save_preset", "save", "save the recipe as a preset of your own")
FRESH = Action("ctrl+n", "fresh", "new", "begin a new recipe; asks first")


class RecipeScreen(StudioScreen):
    """Task, data, model, method, settings, review; then the start."""

    MODE = "recipe"
    TITLE_TEXT = "Recipe"
    HELP = """
A recipe says what is trained, on which rows, how and how it is judged. The wizard asks for it in six steps; nearly \
everything has a good default, so that data and model are often all you name. Every change is kept: leave the screen, \
or the studio, and go on later.

enter goes to the next step, esc to the one before; tab and the arrows go from field to field. While you type in a \
field letters are text: ctrl+s saves, ctrl+o opens a preset, ctrl+y shows the YAML.

LoRA trains a small adapter beside the model and leaves the model as it is; QLoRA does the same over a model squeezed \
into 4 bits, for big models on small GPUs; full training changes every weight. An epoch is one pass over your rows. \
Held-out rows are kept away from training, to see whether the model really got better.
"""
    ACTIONS = (NEXT, BACK, FIELD, START, COLUMNS, OPEN, SAVE, YAML, FRESH)
    BINDINGS: ClassVar[list[Any]] = [
        *bindings(*ACTIONS),
        ("enter", "next", "next"),
        ("down", "app.focus_next", "next field"),
        ("up", "app.focus_previous", "field before"),
    ]
    DEFAULT_CSS = """
    RecipeScreen #wizard { height: 1fr; }
    RecipeScreen #middle { width: 1fr; }
    RecipeScreen #about { height: 5; color: $foreground 70%; border-top: solid $foreground 20%; }
    RecipeScreen YamlPage { display: none; width: 38; margin-left: 2; }
    RecipeScreen.-wide YamlPage { display: block; }
    RecipeScreen.-huge YamlPage { display: block; width: 60; }
    RecipeScreen.-wide.hide-yaml YamlPage, RecipeScreen.-huge.hide-yaml YamlPage { display: none; }
    RecipeScreen.-narrow.show-yaml YamlPage { display: block; width: 1fr; margin-left: 0; }
    RecipeScreen.-narrow.show-yaml #middle { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.draft = Draft()
        self.background = Background(self)
        self.published: Recipe | None = None  # what the session's recipe was when this screen last set or took it
        self.panels: list[Panel] = []
        self.at = 0
        self.visited: set[int] = set()
        self._changed_at: float | None = None

    def compose_body(self) -> ComposeResult:
        self._begin()
        data_offers = recent.offers(self.session.workspace)
        self.panels = [
            TaskPanel(self.draft), DataPanel(self.draft, data_offers), ModelPanel(self.draft, self._models()),
            MethodPanel(self.draft), SettingsPanel(self.draft), ReviewPanel(self.draft),
        ]  # fmt: skip
        with Horizontal(id="wizard"):
            yield StepList([panel.NAME for panel in self.panels])
            with Vertical(id="middle"):
                yield from self.panels
                yield Static("", id="about")
            yield YamlPage()

    def on_mount(self) -> None:
        for panel in self.panels:
            panel.show()
        self._go(self.at)

    def _models(self) -> list[tuple[str, str]]:
        """Models to offer: those of earlier runs, and the bundled one."""
        found: dict[str, str] = {}
        for run in self.session.workspace.runs()[:12]:
            try:
                model = load_recipe(run.recipe_path).model
            except StudioError:
                continue
            found.setdefault(model if model == "demo" else shown(model), f"used in {run.name}")
        found["demo"] = "the bundled model: tiny, trains in minutes on a CPU"
        return list(found.items())[:8]

    # -- the draft ---------------------------------------------------------------------------------------------------
    @property
    def draft_path(self) -> Path:
        """Where the draft is kept."""
        return self.session.workspace.path / "draft.yaml"

    def _begin(self) -> None:
        """The recipe at hand, else the draft of last time, else an empty one."""
        if self.session.recipe is not None:
            self._take(self.session.recipe)
            return
        kept = load_draft(self.draft_path)
        if kept is not None:
            self.draft.values = kept.values
            self.draft.check()
            self.call_after_refresh(self.studio.tell, "The draft of last time is taken up again; ctrl+n begins anew.")

    def _take(self, recipe: Recipe) -> None:
        """Make RECIPE the draft."""
        values = recipe.plain()
        values.pop("resolved", None)
        self.published = recipe
        self.draft.values = values
        self.draft.check()

    def on_screen_resume(self) -> None:
        recipe = self.session.recipe
        if recipe is not None and recipe is not self.published:  # another screen set it
            other = self.published is None or recipe.data != self.published.data
            self._take(recipe)
            self.set_focus(None)
            for panel in self.panels:
                panel.show()
            self._go(1 if other else self.at)

    def on_drafted(self, event: Drafted) -> None:
        event.stop()
        if self.draft.recipe is not None and self.draft.recipe != self.session.recipe:
            self.session.recipe = self.published = self.draft.recipe
        if self.draft.changed:
            self._changed_at = time.monotonic()
        self.panels[self.at].show()
        self._tell()

    def pull(self) -> None:
        if self._changed_at is not None and time.monotonic() - self._changed_at >= SAVE_AFTER:
            self._keep()

    def on_screen_suspend(self) -> None:
        self._keep()

    def on_unmount(self) -> None:
        self._keep()
        self.background.stop_all()

    def _keep(self) -> None:
        """Write the draft to disk, if it changed."""
        self._changed_at = None
        if not self.draft.changed:
            return
        try:
            self.draft.save(self.draft_path)
        except StudioError as error:
            self.draft.changed = False  # once is enough: the next change tries again
            self.studio.show_error(error)

    # -- steps -------------------------------------------------------------------------------------------------------
    @property
    def panel(self) -> Panel:
        """The step shown."""
        return self.panels[self.at]

    def _go(self, at: int) -> None:
        """Show step AT."""
        self.visited.add(self.at)
        self.at = max(0, min(at, len(self.panels) - 1))
        self.visited.add(self.at)
        for place, panel in enumerate(self.panels):
            panel.display = place == self.at
        self.panel.show()
        self.panel.scroll_home(animate=False)
        self._tell()
        if self.is_current:
            self.panel.entered()
        self.refresh_shell()

    def _tell(self) -> None:
        marks = []
        for place, panel in enumerate(self.panels):
            faults = panel.faults
            seen = place in self.visited
            needed = all(text == "needed" for text in faults.values())
            if panel.NAME == "review":
                marks.append(" ")
            elif faults and (place < self.at or not needed or (seen and place != self.at)):
                marks.append("✗")
            else:
                marks.append("✓" if seen and place != self.at and not faults else " ")
        self.query_one(StepList).say(self.at, marks)
        self.query_one(YamlPage).show(self.draft.yaml, self.panel.KEYS)

    def current_actions(self) -> tuple[Action, ...]:
        review = isinstance(self.panel, ReviewPanel)
        typing = isinstance(self.focused, Input)
        next_ = Action("enter", "next", "next step", "the next step; n does the same where nothing is typed")
        first = (START,) if review else (next_, FIELD)
        back = (Action("escape", "back", "back", "the step before; nothing is lost"),) if self.at else ()
        columns = (COLUMNS,) if isinstance(self.panel, DataPanel) and not typing else ()
        tail: tuple[Action, ...] = (OPEN, SAVE, YAML, FRESH)
        if typing:  # letters are text there: show the keys that work
            tail = tuple(Action(a.key.split(",")[-1], a.run, a.label, a.help) for a in tail)
        return (*first, *back, *columns, *tail)

    def action_next(self) -> None:
        """On, unless this step has a fault."""
        if self.panel.faults:
            self.panel.go_to_fault()
            self._tell()
            return
        if self.at < len(self.panels) - 1:
            self._go(self.at + 1)

    def action_back(self) -> None:
        """The step before."""
        if self.has_class("show-yaml") and self.has_class("-narrow"):
            self.action_yaml()
        elif self.at:
            self._go(self.at - 1)

    def on_next(self, event: Next) -> None:
        event.stop()
        self.action_next()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_next()

    def on_step_list_clicked(self, event: StepList.Clicked) -> None:
        event.stop()
        self._go(event.place)

    def on_about(self, event: About) -> None:
        event.stop()
        self.query_one("#about", Static).update(Content(event.text))
        self.refresh_shell()

    def action_yaml(self) -> None:
        """Show or hide the YAML."""
        name = "show-yaml" if self.has_class("-narrow") else "hide-yaml"
        self.toggle_class(name)
        if self.has_class("show-yaml"):
            self.query_one(YamlPage).focus()
        else:
            self.panel.entered()

    def action_columns(self) -> None:
        """Choose the columns, on the data step."""
        if isinstance(self.panel, DataPanel):
            self.panel.ask_columns()

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
        """Another recipe, from its first step on."""
        self.set_focus(None)  # what stands in a field is replaced, too
        self.visited.clear()
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
            panel.show()
        self.at = 0
        self._go(0)
        self.studio.tell(text)

    def action_fresh(self) -> None:
        """Begin anew, after asking."""

        def done(answer: str | None) -> None:
            if answer == "n":
                self._replace(None, "A new recipe.")

        self.studio.push_screen(
            Ask("Begin a new recipe?", "What stands here now is lost, unless you save it as a preset first.",
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
            Ask(f"There is a preset {path.stem} already.", description_of(path),
                {"o": "write over it", "n": "choose another name"}), done,
        )  # fmt: skip

    def _save_preset(self, recipe: Recipe, path: Path) -> None:
        data = one_line(Path(recipe.data.train).name or recipe.data.train, 40)
        about = f"{recipe.task} with {recipe.method.name} on {data}, model {one_line(Path(recipe.model).name, 40)}"
        try:
            files.write(path, as_preset(recipe, about))
        except StudioError as error:
            self.studio.show_error(error)
            return
        self.studio.tell(f"Saved: {shown(path)}")

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


def description_of(path: Path) -> str:
    """What the preset in PATH says of itself."""
    from ftstudio.ui.recipe.presets import description

    return description(path)
