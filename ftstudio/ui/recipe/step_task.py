"""Step 1: what is learnt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from ftstudio import tasks
from ftstudio.core.text import clean, one_line
from ftstudio.engine.task_fit import Fits, fits, read_as, source_of
from ftstudio.tasks.base import Task
from ftstudio.ui.common.background import Background, Ended, Ticked
from ftstudio.ui.common.fields import FieldRow, Picker
from ftstudio.ui.recipe.draft import Draft
from ftstudio.ui.recipe.forms import task_specs
from ftstudio.ui.recipe.panel import About, Panel
from ftstudio.ui.text.marked import wrap

Parts = list[str | tuple[str, str]]
LABEL = 9  # cells of the words at the left of the explanation
ROLE = 12  # cells of the name of what a task reads
LOW = 30  # lines of a screen below which not all can be seen at once


def _brief(title: str) -> str:
    """What stands in the brackets of a task's TITLE: from what to what."""
    return title.partition("(")[2].rstrip(")") or title


class TaskPanel(Panel):
    """A line a task; below it what the one chosen is for, a row as it may look, which of the person's columns fit, what
    it answers; its options."""

    NAME, TITLE, KEYS = "task", "What is to be learnt?", ("task", "options")
    WHAT = "The task decides what a row looks like, what the model is taught, and how it is judged."
    DEFAULT_CSS = """
    TaskPanel #task-help { margin-top: 1; height: auto; }
    TaskPanel #task-fields { height: auto; margin-top: 1; }
    """

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        options = [(name, _brief(tasks.get(name).title)) for name in tasks.names()]
        self.picker = Picker(options, self.name_now, id="task-picker")
        self.background = Background(self)
        self.fits: Fits | None = None  # how the rows named suit the tasks
        self._looked_at: tuple[str, dict[str, Any]] | None = None
        self._filled = ""

    @property
    def name_now(self) -> str:
        """The task chosen."""
        name = str(self.draft.get("task") or "sft")
        return name if name in tasks.names() else "sft"

    def compose_fields(self) -> Iterable[Widget]:
        yield self.picker
        yield Static("", id="task-help")
        yield Vertical(id="task-fields")

    def entered(self) -> None:
        self.picker.focus(scroll_visible=False)
        self._look()

    def show(self) -> None:
        self.picker.put(self.name_now)
        self._explain()
        super().show()

    # -- the person's rows -------------------------------------------------------------------------------------------
    def _look(self) -> None:
        """See which tasks the rows named suit, off the thread; nothing where none are named yet."""
        source, how = source_of(self.draft.values), read_as(self.draft.values)
        if source is None or (source, how) == self._looked_at:
            return
        self._looked_at, self.fits = (source, how), None
        self.background.start(
            "fits", "looking at the rows",
            lambda work: fits(source, how, progress=work.progress, cancel=work.cancel), self._fitted, lambda _: None,
        )  # fmt: skip

    def _fitted(self, found: Fits) -> None:
        self.fits = found
        self._explain()

    def _yours(self, task: Task) -> Parts:
        """How the person's rows suit TASK, in words."""
        if self.fits is None:
            return []
        name = one_line(self.fits.name, 30)
        if self.fits.problem:
            return self._named("Yours", f"✗ {name}: {clean(self.fits.problem, 160)}")
        fit = self.fits.by_task[task.name]
        if fit.problem:
            better = ", ".join(self.fits.best[:3])
            more = f"; it suits {better}" if better else ""
            return self._named("Yours", f"✗ {name}: {clean(fit.problem, 160)}{more}")
        mapped = ", ".join(f"{role} ← {one_line(column, 24)}" for role, column in fit.columns.items())
        row = " · ".join(f"{role}: {one_line(text, 40)}" for role, text in fit.row)
        return [*self._named("Yours", f"✓ {name}: {mapped}"), *self._named("", row)]

    def _named(self, label: str, text: str) -> Parts:
        """TEXT behind LABEL, its further lines below its first."""
        return [(f"{label:<{LABEL}}", "bold"), self._below(text, LABEL)]

    def _below(self, text: str, indent: int) -> str:
        """TEXT wrapped, its lines after the first at INDENT."""
        spans = wrap(text, max(20, self.size.width - indent - 2))
        rest = "".join(f"\n{'':<{indent}}{text[start:stop].strip()}" for start, stop in spans[1:])
        return f"{text[spans[0][0] : spans[0][1]] if spans else ''}{rest}\n"

    # -- the task chosen ---------------------------------------------------------------------------------------------
    def _explain(self) -> None:
        task = tasks.get(self.picker.value)
        row = " · ".join(f"{role}: {text}" for role, text in task.example if role != "→")
        answer = next(text for role, text in task.example if role == "→")
        example: Parts = [*self._named("Example", row), *self._named("", f"→ {answer}"), *self._yours(task)]
        self.query_one(".step-help").display = not self.low
        # on a low screen what a row looks like comes first; what the task is for stands below, in the line of help
        parts: Parts = list(example) if self.low else [f"{task.help}\n\n"]
        if self.size.width < 78:
            parts += self._named("Reads", ", ".join(role.name for role in task.roles))
        else:
            for place, role in enumerate(task.roles):
                named = [(f"{'' if place else 'Reads':<{LABEL}}", "bold"), (f"{role.name:<{ROLE}}", "bold")]
                parts += [*named, self._below(role.help, LABEL + ROLE)]
        parts += [] if self.low else example
        judged = f"by {', '.join(task.default_metrics)}"
        parts += [*self._named("Answers", task.answers), *self._named("Judged", judged)]
        parts[-1] = str(parts[-1]).rstrip()
        self.query_one("#task-help", Static).update(Content.assemble(*parts))
        if self.picker.has_focus:
            self._tell()
        if self._filled != task.name:
            self._filled = task.name
            self.run_worker(self._refill(task.name), group="fields", exclusive=True)

    @property
    def low(self) -> bool:
        """Whether the screen has few lines."""
        return self.app.size.height < LOW

    def _tell(self) -> None:
        """The line of help of the list."""
        keys = "↑ ↓ chooses the task, enter goes on to the data; tab leads to its settings."
        self.post_message(About(tasks.get(self.picker.value).help if self.low else keys))

    async def _refill(self, name: str) -> None:
        """The options of task NAME, once those of the one before are gone."""
        fields = self.query_one("#task-fields", Vertical)
        await fields.remove_children()
        await fields.mount(*(FieldRow(spec, self.draft.get(spec.key)) for spec in task_specs(name)))
        fields.display = bool(task_specs(name))
        super().show()

    def on_resize(self) -> None:
        self._explain()
        if self.picker.has_focus:
            self.call_after_refresh(self.scroll_home, animate=False, force=True)

    def on_descendant_focus(self) -> None:
        if self.picker.has_focus:
            # the question stays above the list: the screen's own focus may scroll before all is laid out
            self.call_after_refresh(self.scroll_home, animate=False, force=True)
            self._tell()
        else:
            super().on_descendant_focus()

    def on_picker_picked(self, event: Picker.Picked) -> None:
        """Another task: options that it knows too stay, the others go."""
        event.stop()
        known = {spec.key for spec in task_specs(event.value)}
        old = self.draft.get("options")
        kept = {key: value for key, value in old.items() if f"options.{key}" in known} if isinstance(old, dict) else {}
        self.put("task", event.value)
        self.put("options", kept or None)
        self._explain()

    def on_ticked(self, event: Ticked) -> None:
        event.stop()

    def on_ended(self, event: Ended) -> None:
        event.stop()
        self.background.ended(event)

    def on_unmount(self) -> None:
        self.background.stop_all()
