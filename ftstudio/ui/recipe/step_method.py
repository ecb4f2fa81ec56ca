"""Step 4: which weights learn."""

from __future__ import annotations

import time
from collections.abc import Iterable

from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from ftstudio import methods
from ftstudio.core.errors import StudioError
from ftstudio.core.text import clean
from ftstudio.engine.choices import Choices, choices
from ftstudio.ui.common.background import Background, Ended, Ticked
from ftstudio.ui.common.fields import FieldRow, Picker
from ftstudio.ui.recipe.draft import Draft
from ftstudio.ui.recipe.forms import method_specs
from ftstudio.ui.recipe.method_table import HEADING, MethodTable, short, tree_lines
from ftstudio.ui.recipe.panel import About, Panel, explain
from ftstudio.ui.recipe.step_settings import Fold

DEFAULT = "lora"
AFTER = 0.4  # seconds after the last change of a setting that its costs are counted again


class MethodPanel(Panel):
    """The methods with their costs for this model; below, what the chosen one does, its settings, the model's parts."""

    NAME, TITLE, KEYS = "method", "Which weights learn?", ("method",)
    WHAT = "All of them, some, or a small adapter beside them."
    DEFAULT_CSS = """
    MethodPanel #method-heading { height: 1; color: $foreground 60%; display: none; }
    MethodPanel #method-found { height: auto; margin-top: 1; }
    MethodPanel #method-help { height: auto; margin: 1 0; }
    MethodPanel #method-fields { height: auto; }
    MethodPanel #method-tree { height: auto; display: none; }
    """

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        options = [(name, methods.get(name).title.partition(": ")[2]) for name in methods.names()]
        self.picker = MethodTable(options, self.name_now, id="method-picker")
        self.fold = Fold("the model's parts, and what learns")
        self.background = Background(self)
        self.rows: int | None = None
        self._shown = ""
        self._counted: object = None  # what the table was counted for

    @property
    def name_now(self) -> str:
        """The method chosen."""
        value = self.draft.get("method")
        name = value if isinstance(value, str) else self.draft.get("method.name")
        return name if name in methods.names() else DEFAULT

    def compose_fields(self) -> Iterable[Widget]:
        yield Static(Content(HEADING), id="method-heading")
        yield self.picker
        yield Static("", id="method-found")
        yield Static("", id="method-help")
        yield Vertical(id="method-fields")
        yield self.fold
        yield Static("", id="method-tree")

    def entered(self) -> None:
        if not self.draft.get("method"):
            self.put("method.name", self.name_now)
        self.picker.focus(scroll_visible=False)
        self._count()

    def show(self) -> None:
        self.picker.put(self.name_now)
        self._explain()
        super().show()
        self._leave_out()
        if self.display and self._counted is not None:
            self._count(AFTER)

    # -- costs -------------------------------------------------------------------------------------------------------
    def _count(self, after: float = 0.0) -> None:
        """Count for the model and settings at hand, off the thread; nothing where they are no recipe yet."""
        recipe = self.draft.recipe
        if recipe is None:
            return
        key = (recipe.model, recipe.task, recipe.method, recipe.training, recipe.architecture)
        if key == self._counted:
            return
        self._counted = key
        if self.picker.found is None:
            self._say("▶ counting what learns with each method …")

        def run(work: object) -> Choices:
            time.sleep(after)  # someone may still be typing: a new count stops this one
            return choices(recipe, self.rows, getattr(work, "cancel"))  # noqa: B009

        self.background.start("choices", "counting", run, self._found, self._failed)

    def _found(self, found: Choices) -> None:
        self.picker.say(found)
        self.query_one("#method-heading").display = True
        self._say(f"* {found.recommended}: {found.why}")
        self._draw_tree()

    def _failed(self, error: BaseException) -> None:
        self._counted = None
        self.picker.say(None)
        self.query_one("#method-heading").display = False
        self._say(f"What the methods cost can't be told yet: {explain(error)}")

    def _say(self, text: str) -> None:
        self.query_one("#method-found", Static).update(Content(clean(text, 400)))

    def _draw_tree(self) -> None:
        choice = self.picker.found.of(self.name_now) if self.picker.found is not None else None
        tree = self.query_one("#method-tree", Static)
        tree.display = self.fold.open
        if not self.fold.open:
            return
        if choice is None or not choice.tree:
            tree.update(Content("Known once the model is."))
            return
        first = f"{short(choice.total)} weights, {short(choice.trainable)} learn   ● all  ◐ some  · none"
        lines = tree_lines(choice.tree, max(40, self.size.width - 3))
        tree.update(Content("\n".join([first, *(clean(line, 200) for line in lines)])))

    def on_fold_toggled(self, event: Fold.Toggled) -> None:
        event.stop()
        self._draw_tree()
        if event.open:
            self.set_timer(0.05, lambda: self.fold.scroll_visible(top=True, animate=False))

    def on_ticked(self, event: Ticked) -> None:
        event.stop()

    def on_ended(self, event: Ended) -> None:
        event.stop()
        self.background.ended(event)

    def on_unmount(self) -> None:
        self.background.stop_all()

    # -- the method chosen -------------------------------------------------------------------------------------------
    def _explain(self) -> None:
        name = self.picker.value
        if name == self._shown:
            return
        self._shown = name
        method = methods.get(name)
        parts: list[str | tuple[str, str]] = [f"{method.title}.\n", f"{method.help}\n"]
        for limit in method.limits:
            parts += [("! ", "bold"), f"{limit}\n"]
        self.query_one("#method-help", Static).update(Content.assemble(*parts[:-1], str(parts[-1]).rstrip()))
        self.run_worker(self._refill(name), group="fields", exclusive=True)
        self._draw_tree()

    async def _refill(self, name: str) -> None:
        """The fields of method NAME, once those of the one before are gone: many have the same names."""
        fields = self.query_one("#method-fields", Vertical)
        await fields.remove_children()
        await fields.mount(*(FieldRow(spec, self.draft.get(spec.key)) for spec in method_specs(name)))
        super().show()
        self._leave_out()

    def _leave_out(self) -> None:
        """Hide the empty fields that would do nothing beside what is chosen, such as p-tuning's for a prefix."""
        values = self.draft.get("method")
        values = {key: value for key, value in values.items() if key != "name"} if isinstance(values, dict) else {}
        try:
            idle = methods.get(self.name_now).settings(values).idle()
        except StudioError:  # told beside its field
            return
        for row in self.query_one("#method-fields").query(FieldRow):
            key = row.spec.key.partition(".")[2]
            row.display = key not in idle or values.get(key) is not None

    def on_picker_picked(self, event: Picker.Picked) -> None:
        """Another method: settings that it knows too stay, the others go."""
        event.stop()
        known = {spec.key for spec in method_specs(event.value)}
        old = self.draft.get("method")
        kept = {key: value for key, value in old.items() if f"method.{key}" in known} if isinstance(old, dict) else {}
        if isinstance(kept.get("kind"), str):  # means something else in each
            del kept["kind"]
        choice = self.picker.found.of(event.value) if self.picker.found is not None else None
        needs = choice.needs if choice is not None else {}
        self.put("method", {"name": event.value, **needs, **kept})
        self._explain()

    def on_descendant_focus(self) -> None:
        if self.picker.has_focus:
            self.post_message(
                About(
                    "↑ ↓ chooses; tab goes on to its settings. memory: weights, gradients, optimiser; activations "
                    "come on top. "
                    "work: arithmetic of a step against full. * is a good one to begin with."
                )
            )
        elif self.fold.has_focus:
            self.post_message(About("The parts of the model, how many weights each has, and how many of them learn."))
        else:
            super().on_descendant_focus()
