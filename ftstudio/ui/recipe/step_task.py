"""Step 1: what is learnt."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from ftstudio import tasks
from ftstudio.ui.common.fields import Picker
from ftstudio.ui.recipe.draft import Draft
from ftstudio.ui.recipe.panel import About, Panel


class TaskPanel(Panel):
    """A line a task, and what the one chosen is for."""

    NAME, TITLE, KEYS = "task", "What is to be learnt?", ("task",)
    WHAT = "The task decides what a row looks like, what the model is taught, and how it is judged."
    DEFAULT_CSS = "TaskPanel #task-help { margin-top: 1; height: auto; }"

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        options = [(name, tasks.get(name).title) for name in tasks.names()]
        self.picker = Picker(options, str(draft.get("task") or "sft"), id="task-picker")

    def compose_fields(self) -> Iterable[Widget]:
        yield self.picker
        yield Static("", id="task-help")

    def show(self) -> None:
        self.picker.put(str(self.draft.get("task") or "sft"))
        self._explain()

    def _explain(self) -> None:
        task = tasks.get(self.picker.value)
        parts: list[str | tuple[str, str]] = [f"{task.help}\n\n", ("Columns it can use\n", "bold")]
        if self.size.width < 78:
            parts.append(", ".join(role.name for role in task.roles))
        else:
            for role in task.roles:
                parts += [(f"  {role.name:<12}", "bold"), f"{role.help}\n"]
        self.query_one("#task-help", Static).update(Content.assemble(*parts))

    def on_resize(self) -> None:
        self._explain()

    def on_descendant_focus(self) -> None:
        self.post_message(About("↑ ↓ chooses the task, enter goes on to the data."))

    def on_picker_picked(self, event: Picker.Picked) -> None:
        event.stop()
        self.put("task", event.value)
        self._explain()
