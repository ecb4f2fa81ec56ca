"""Step 5: how long, how fast, how much at once, how it is judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual import events
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from ftstudio.ui.common.fields import FieldRow
from ftstudio.ui.recipe.draft import Draft
from ftstudio.ui.recipe.forms import GROUPS, MORE
from ftstudio.ui.recipe.panel import About, Panel
from ftstudio.ui.text.lines import Line, Lines


class Fold(Lines):
    """A line that opens and closes what is below it."""

    DEFAULT_CSS = "Fold { height: 1; margin-top: 1; }"
    BINDINGS = [Binding("space,right,left", "fold", "open", show=False)]

    @dataclass
    class Toggled(Message):
        """It is `open` now."""

        open: bool

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.open = text, False
        self.total = 1

    def line(self, index: int) -> Line:
        return (("▾ " if self.open else "▸ ", "key"), (self.text, "strong"), ("  space", "dim"))

    def ground(self, index: int) -> str:
        return "cursor" if self.has_focus else ""

    def action_fold(self) -> None:
        """Open or close."""
        self.open = not self.open
        self.paint()
        self.post_message(self.Toggled(self.open))

    def on_click(self, event: events.Click) -> None:
        self.action_fold()


ONE_OF = (
    ("training.epochs", "training.steps", "by the steps"),
    ("training.batch_size", "training.batch_tokens", "by the tokens"),
)


class SettingsPanel(Panel):
    """Grouped fields; those that are rarely needed are folded away."""

    NAME, TITLE = "settings", "How is it trained?"
    KEYS = ("training", "evaluation", "data.max_length", "data.limit", "name")
    WHAT = "All of these may stay empty: what counts then is shown in the field."
    DEFAULT_CSS = "SettingsPanel #more-settings { height: auto; display: none; }"

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self.fold = Fold(f"{len(MORE)} more settings")

    def compose_fields(self) -> Iterable[Widget]:
        for place, (title, specs) in enumerate(GROUPS):
            yield Static(Content(title), classes="group" if place else "group first")
            yield from (FieldRow(spec, self.draft.get(spec.key)) for spec in specs)
        yield self.fold
        yield Vertical(id="more-settings")

    async def on_fold_toggled(self, event: Fold.Toggled) -> None:
        event.stop()
        more = self.query_one("#more-settings")
        more.display = event.open
        if event.open:
            if not more.children:  # made when they are first looked at
                await more.mount(*(FieldRow(spec, self.draft.get(spec.key)) for spec in MORE))
                self.show()
            self.call_after_refresh(self.fold.scroll_visible, top=True)

    def show(self) -> None:
        super().show()
        if any(spec.key in self.draft.faults for spec in MORE) and not self.fold.open:
            self.fold.action_fold()
        for key, other, instead in ONE_OF:  # what counts where the field is left empty
            named = self.draft.get(other) is not None
            row = self.query_one(f"#field-{key.replace('.', '-')}", FieldRow)
            row.query_one(Input).placeholder = instead if named else row.spec.default
        both = self.draft.get("training.epochs") is not None and self.draft.get("training.steps") is not None
        if both and "training" in self.draft.faults:
            self.query_one("#field-training-steps", FieldRow).fault("give epochs or steps, not both")

    def put(self, key: str, value: object) -> None:
        if key == "training.steps" and value is not None:
            self.draft.clear("training.epochs")
        elif key == "training.epochs" and value is not None:
            self.draft.clear("training.steps")
        super().put(key, value)

    def on_descendant_focus(self) -> None:
        if self.fold.has_focus:
            self.post_message(About("Precision, device, optimiser, checkpoints, seed, metrics and more. space opens."))
        else:
            super().on_descendant_focus()
