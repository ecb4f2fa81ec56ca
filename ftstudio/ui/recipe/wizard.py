"""The wizard's steps, one in view, and the draft they fill in. What is typed is never lost."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.workspace import Workspace
from ftstudio.engine.hub_cache import cached_models
from ftstudio.engine.recipes import load_recipe
from ftstudio.ui.common.background import Background
from ftstudio.ui.common.paths import shown
from ftstudio.ui.data import recent
from ftstudio.ui.recipe.draft import Draft, load_draft
from ftstudio.ui.recipe.draft_file import DraftFile
from ftstudio.ui.recipe.frame import StepList, YamlPage
from ftstudio.ui.recipe.panel import About, Drafted, Next, Panel, Ready
from ftstudio.ui.recipe.step_data import DataPanel
from ftstudio.ui.recipe.step_method import MethodPanel
from ftstudio.ui.recipe.step_model import ModelPanel
from ftstudio.ui.recipe.step_review import ReviewPanel
from ftstudio.ui.recipe.step_settings import SettingsPanel
from ftstudio.ui.recipe.step_task import TaskPanel
from ftstudio.ui.shell.screen import StudioScreen

SAVE_AFTER = 0.7  # seconds after the last change
AGAIN = 3.0  # seconds until a draft that couldn't be written is tried again
# settings of these very rows
OF_THE_DATA = ("train", "eval", "parted_as", "columns", "split", "template", "limit", "reading")
MODELS = [("demo", "the bundled model: tiny, trains in minutes on a CPU")]


def models(workspace: Workspace) -> list[tuple[str, str]]:
    """Models to offer: those of the latest runs, the bundled one, and those in the hub's cache."""
    found: dict[str, str] = {}
    for run in workspace.runs()[:12]:
        try:
            model = load_recipe(run.recipe_path).model
        except StudioError:
            continue
        found.setdefault(model if model == "demo" else shown(model), f"used in {run.name}")
    own = {**found, **dict(MODELS)}
    cached = [(model.name, f"in the hub's cache: {model.told}") for model in cached_models() if model.name not in own]
    return [*list(own.items())[:8], *cached]


class Wizard(StudioScreen):
    """Six steps over one draft, which is kept on disk; what is done with the recipe is the screen's business."""

    DEFAULT_CSS = """
    Wizard #wizard { height: 1fr; }
    Wizard #middle { width: 1fr; }
    Wizard #about { height: 5; color: $foreground 70%; border-top: solid $foreground 20%; }
    Wizard YamlPage { display: none; width: 38; margin-left: 2; }
    Wizard.-wide YamlPage { display: block; }
    Wizard.-huge YamlPage { display: block; width: 60; }
    Wizard.-wide.hide-yaml YamlPage, RecipeScreen.-huge.hide-yaml YamlPage { display: none; }
    Wizard.-narrow.show-yaml YamlPage { display: block; width: 1fr; margin-left: 0; }
    Wizard.-narrow.show-yaml #middle { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.draft = Draft()
        self.draft_file: DraftFile
        self.background = Background(self)
        self.published: Recipe | None = None  # what the session's recipe was when this screen last set or took it
        self.panels: list[Panel] = []
        self.at = 0
        self.visited: set[int] = set()
        self._changed_at: float | None = None
        self._unsaved = ""  # why it couldn't be written, as that was told

    def compose_body(self) -> ComposeResult:
        self._begin()
        data_offers = recent.offers(self.session.workspace)
        self.panels = [
            TaskPanel(self.draft), DataPanel(self.draft, data_offers), ModelPanel(self.draft, MODELS),
            MethodPanel(self.draft), SettingsPanel(self.draft), ReviewPanel(self.draft, self.session),
        ]  # fmt: skip
        with Horizontal(id="wizard"):
            yield StepList([panel.NAME for panel in self.panels])
            with Vertical(id="middle"):
                yield self.panel
                yield Static("", id="about")
            yield YamlPage()

    def on_mount(self) -> None:
        self._go(self.at)
        workspace = self.session.workspace
        self.background.start("models", "", lambda _: models(workspace), self._offer_models, lambda _: None)

    def _offer_models(self, found: list[tuple[str, str]]) -> None:
        field = next(panel.field for panel in self.panels if isinstance(panel, ModelPanel))
        field.offers = tuple(found)
        if field.is_mounted:
            field.offer_again()

    # -- the draft ---------------------------------------------------------------------------------------------------
    @property
    def draft_path(self) -> Path:
        """Where the draft is kept. Raises StudioError."""
        return self.draft_file.path()

    def _begin(self) -> None:
        """The recipe at hand, else the draft of last time, else an empty one."""
        self.draft_file = DraftFile(self.session.workspace.path)
        path = self.draft_file.newest()
        kept = load_draft(path) if path is not None else None
        if kept is None:
            self.draft_file.forget()
        if self.draft_file.others:
            text = "Another studio has its recipe open in this workspace; this one keeps its own."
            self.call_after_refresh(self.studio.tell, text)
        if self.session.recipe is not None:
            if kept is not None and kept.recipe != self.session.recipe:
                self.attempt(lambda: self.set_aside(kept))
            self._take(self.session.recipe)
            return
        if kept is not None:
            self.draft.values = kept.values
            self.draft.check()
            self.call_after_refresh(self.studio.tell, "The draft of last time is taken up again; ctrl+n begins anew.")

    def _take(self, recipe: Recipe) -> None:
        """Make RECIPE the draft. Where the draft was no recipe yet, what RECIPE says of the data goes into it."""
        values = recipe.plain()
        values.pop("resolved", None)
        if self.draft.recipe is None and self.draft.changed_ever:
            mine = self.draft.plain()
            data = {**values["data"], **{key: value for key, value in (mine.pop("data", None) or {}).items()
                                         if key not in OF_THE_DATA}}  # fmt: skip
            values = {**values, **mine, "data": data}
        self.published = recipe
        self.draft.values = values
        self.draft.changed = True
        self.draft.check()

    def set_aside(self, draft: Draft) -> str:
        """Keep a DRAFT that is about to be replaced; gives back where it lies, empty where there was nothing to keep.

        Another preset, or a new recipe, must not cost a person what they typed. Raises StudioError where it can't be.
        """
        if draft.plain() in ({"task": "sft"}, {}):
            return ""
        now = time.strftime("draft-%Y%m%d-%H%M%S")
        for more in itertools.chain([""], (f"-{number}" for number in itertools.count(2))):
            path = self.session.workspace.path / "trash" / f"{now}{more}.yaml"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.open("x").close()  # ours, and no other studio's of this second
            except FileExistsError:
                continue
            except OSError as error:
                raise files.explain(error, path) from error
            break
        draft.save(path)
        return shown(path)

    def on_screen_resume(self) -> None:
        recipe = self.session.recipe
        if recipe is not None and recipe is not self.published:  # another screen set it
            other = self.published is None or recipe.data != self.published.data
            self._take(recipe)
            self.set_focus(None)
            self.show_all()
            self._go(1 if other else self.at)

    def on_drafted(self, event: Drafted) -> None:
        event.stop()
        if self.draft.recipe is not None and self.draft.recipe != self.session.recipe:
            self.session.recipe = self.published = self.draft.recipe
        if self.draft.changed:
            self._changed_at = time.monotonic()
        if self.panel.ready:
            self.panel.show()
        self._tell()

    def pull(self) -> None:
        if self._changed_at is not None and time.monotonic() - self._changed_at >= SAVE_AFTER:
            self._keep()

    def on_screen_suspend(self) -> None:
        self._keep()

    def on_unmount(self) -> None:
        self._keep()
        self.draft_file.close()
        self.background.stop_all()

    def _keep(self) -> None:
        """Write the draft to disk, if it changed."""
        self._changed_at = None
        if not self.draft.changed:
            return
        try:
            self.draft.save(self.draft_path)
            self._unsaved = ""
        except StudioError as error:
            self._changed_at = time.monotonic() + AGAIN  # there may be room by then; it is told once
            told, self._unsaved = self._unsaved, str(error)
            if told != self._unsaved:
                self.studio.show_error(error)

    # -- steps -------------------------------------------------------------------------------------------------------
    @property
    def panel(self) -> Panel:
        """The step shown."""
        return self.panels[self.at]

    def _go(self, at: int) -> None:
        """Show step AT."""
        self.visited.add(self.at)
        if at != self.at:  # till the step tells about a field of its own
            self.query_one("#about", Static).update("")
        self.at = max(0, min(at, len(self.panels) - 1))
        self.visited.add(self.at)
        self._prepare(self.at)
        for place, panel in enumerate(self.panels):
            panel.display = place == self.at
        if self.panel.ready:
            self._enter()
        self._tell()
        self.refresh_shell()

    def _prepare(self, at: int) -> None:
        """Make the fields of step AT: steps are made one by one, so that the screen is there at once."""
        if at < len(self.panels) and not self.panels[at].is_attached and not self.panels[at].ready:
            self.panels[at].display = at == self.at
            self.query_one("#middle").mount(self.panels[at], before="#about")

    def _enter(self) -> None:
        self._share()
        self.panel.show()
        self.panel.scroll_home(animate=False)
        if self.is_current:
            self.panel.entered()

    def _share(self) -> None:
        """What one step has found out helps others: how long the rows are, and how many."""
        found = next((panel.found for panel in self.panels if isinstance(panel, DataPanel)), None)
        for panel in self.panels:
            if isinstance(panel, ModelPanel):
                panel.texts = found.texts if found is not None else ()
            elif isinstance(panel, MethodPanel):
                panel.rows = found.train or None if found is not None else None

    def on_ready(self, event: Ready) -> None:
        """A step's fields are there. The next step's are made while the person looks at this one."""
        event.stop()
        if event.panel is self.panel:
            self._enter()
            self._tell()
            self.set_timer(0.05, lambda: self._prepare(self.at + 1))

    def show_all(self) -> None:
        """Bring the steps up to date with the draft."""
        for panel in self.panels:
            if panel.ready:
                panel.show()

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

    def action_next(self) -> None:
        """On, unless this step has a fault."""
        if not self.panel.ready:
            return
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
        elif self.panel.ready:
            self.panel.entered()

    def action_columns(self) -> None:
        """Choose the columns, on the data step."""
        if isinstance(self.panel, DataPanel):
            self.panel.ask_columns()
