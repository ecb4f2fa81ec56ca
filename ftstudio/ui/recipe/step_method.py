"""Step 4: which weights learn."""

from __future__ import annotations

from collections.abc import Iterable

from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from ftstudio import methods
from ftstudio.ui.common.fields import FieldRow, Picker
from ftstudio.ui.recipe.draft import Draft
from ftstudio.ui.recipe.forms import method_specs
from ftstudio.ui.recipe.panel import About, Panel

DEFAULT = "lora"


class MethodPanel(Panel):
    """A line a method; below it what it does, what it costs, what it can't do, and its settings."""

    NAME, TITLE, KEYS = "method", "Which weights learn?", ("method",)
    WHAT = "All of them, or a small adapter beside them."
    DEFAULT_CSS = """
    MethodPanel #method-help { height: auto; margin: 1 0; }
    MethodPanel #method-fields { height: auto; }
    """

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        options = [(name, methods.get(name).title.partition(": ")[2]) for name in methods.names()]
        self.picker = Picker(options, self.name_now, id="method-picker")
        self._shown = ""

    @property
    def name_now(self) -> str:
        """The method chosen."""
        value = self.draft.get("method")
        name = value if isinstance(value, str) else self.draft.get("method.name")
        return name if name in methods.names() else DEFAULT

    def compose_fields(self) -> Iterable[Widget]:
        yield self.picker
        yield Static("", id="method-help")
        yield Vertical(id="method-fields")

    def entered(self) -> None:
        if not self.draft.get("method"):
            self.put("method.name", self.name_now)
        self.picker.focus(scroll_visible=False)

    def show(self) -> None:
        self.picker.put(self.name_now)
        self._explain()
        super().show()

    def _explain(self) -> None:
        name = self.picker.value
        if name == self._shown:
            return
        self._shown = name
        method = methods.get(name)
        parts: list[str | tuple[str, str]] = [f"{method.help}\n"]
        for limit in method.limits:
            parts += [("! ", "bold"), f"{limit}\n"]
        self.query_one("#method-help", Static).update(Content.assemble(*parts[:-1], str(parts[-1]).rstrip()))
        self.run_worker(self._refill(name), group="fields", exclusive=True)

    async def _refill(self, name: str) -> None:
        """The fields of method NAME, once those of the one before are gone: many have the same names."""
        fields = self.query_one("#method-fields", Vertical)
        await fields.remove_children()
        await fields.mount(*(FieldRow(spec, self.draft.get(spec.key)) for spec in method_specs(name)))
        super().show()

    def on_picker_picked(self, event: Picker.Picked) -> None:
        """Another method: settings that it knows too stay, the others go."""
        event.stop()
        known = {spec.key for spec in method_specs(event.value)}
        old = self.draft.get("method")
        kept = {key: value for key, value in old.items() if f"method.{key}" in known} if isinstance(old, dict) else {}
        self.put("method", {"name": event.value, **kept})
        self._explain()

    def on_descendant_focus(self) -> None:
        if self.picker.has_focus:
            self.post_message(About("↑ ↓ chooses the method. tab goes on to its settings; the defaults are good."))
        else:
            super().on_descendant_focus()
