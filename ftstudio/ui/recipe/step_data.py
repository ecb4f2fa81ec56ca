"""Step 2: which rows, which columns, and what is held out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from ftstudio import tasks
from ftstudio.core.text import clean, one_line
from ftstudio.engine.task_fit import row_of
from ftstudio.tasks.base import Task
from ftstudio.ui.common.background import Background, Ended, Ticked
from ftstudio.ui.common.fields import LABEL, FieldRow
from ftstudio.ui.common.pathfield import PathField
from ftstudio.ui.data.mapping import ColumnsDialog
from ftstudio.ui.recipe.draft import Draft
from ftstudio.ui.recipe.forms import EVAL, TEMPLATE
from ftstudio.ui.recipe.panel import About, Drafted, Next, Panel, explain, hung
from ftstudio.ui.recipe.survey import Survey, key_of, survey
from ftstudio.ui.text.lines import Line, Lines, fit
from ftstudio.ui.text.said import Said

WHOLE = ": all of its text is trained"  # what isn't so where words are hidden in it
GUESSED = "  (guessed)"
NONE = ("none", "null", "no")
HELP = "JSONL, JSON, CSV, TSV, Parquet, Arrow or text, a folder with one, or a hub id. demo is the bundled example."


class ColumnsLine(Lines):
    """The mapping on one line; space opens the list of columns."""

    DEFAULT_CSS = "ColumnsLine { height: 1; }"
    BINDINGS = [Binding("space,right", "press", "change", show=False)]

    @dataclass
    class Pressed(Message):
        """The person wants to change it."""

    def __init__(self) -> None:
        super().__init__(id="columns-line")
        self.text = ""
        self.total = 1

    def say(self, text: str) -> None:
        """Show TEXT."""
        self.text = text
        self.paint()

    def line(self, index: int) -> Line:
        label = fit("columns", LABEL)
        room = max(4, self.columns - LABEL)
        text = self.text if len(self.text) <= room else self.text.removesuffix(GUESSED)  # said below, too
        text = one_line(text, room) or "guessed once the data is read"
        hint = "  space changes" if self.has_focus and len(text) + 15 <= room else ""
        return ((label, "key" if self.has_focus else ""), (text, "" if self.text else "dim"), (hint, "dim"))

    def ground(self, index: int) -> str:
        return "resting" if self.has_focus else ""

    def action_press(self) -> None:
        """Ask for the list of columns."""
        self.post_message(self.Pressed())

    def on_click(self, event: events.Click) -> None:
        self.action_press()


class DataPanel(Panel):
    """Path, held-out share, template, columns; then what the rows turned out to be, and one of them written out."""

    NAME, TITLE = "data", "From which rows?"
    KEYS = ("data.train", "data.eval", "data.columns", "data.template", "data.split", "data")
    WHAT = "The rows to learn from."
    DEFAULT_CSS = """
    DataPanel .faulty { height: auto; color: $error; display: none; }
    DataPanel #data-found { margin-top: 1; }
    """

    def __init__(self, draft: Draft, offers: list[tuple[str, str]]) -> None:
        super().__init__(draft)
        self.background = Background(self)
        self.field = PathField(
            str(draft.get("data.train") or ""),
            placeholder="path, hub id or demo",
            offers=offers,
            rows=5,
            id="train-field",
        )
        self.columns_line = ColumnsLine()
        self.found = Survey()
        self.seen: tuple[Any, ...] | None = None

    def compose_fields(self) -> Iterable[Widget]:
        yield self.field
        yield Static("", classes="faulty", id="train-fault")
        yield FieldRow(EVAL, self._eval_text())
        yield FieldRow(TEMPLATE, self.draft.get("data.template"))
        yield self.columns_line
        yield Static("", classes="faulty", id="columns-fault")
        yield Said(grow=True, id="data-found")

    def entered(self) -> None:
        self.field.input.focus()
        self.look()

    def owns(self, key: str) -> bool:
        return super().owns(key) and key not in ("data.max_length", "data.limit")

    @property
    def learnt(self) -> Task:
        """The draft's task."""
        name = str(self.draft.get("task"))
        return tasks.get(name if name in tasks.names() else "sft")

    def _eval_text(self) -> Any:
        value = self.draft.get("data.eval")
        return "none" if value is None and self.draft.has("data.eval") else value

    # -- fields ------------------------------------------------------------------------------------------------------
    def show(self) -> None:
        self.field.put(str(self.draft.get("data.train") or ""))
        roles = ", ".join(role.name for role in self.learnt.roles[:2])  # the others instead of these, or beside them
        self.query_one(".step-help", Static).update(Content(f"{self.WHAT.rstrip('.')}: {roles}."))
        for row in self.query(FieldRow):
            if row.spec is TEMPLATE:  # a task that knows how its rows are read has none
                row.display = bool(self.learnt.templates) or self.draft.has(TEMPLATE.key)
            row.put(self._eval_text() if row.spec.key == "data.eval" else self.draft.get(row.spec.key))
        self._say_faults()
        mapping = self.draft.get("data.columns")
        shape = self.found.shape
        shown = mapping if isinstance(mapping, dict) else dict(shape.columns) if shape is not None else {}
        guessed = "" if isinstance(mapping, dict) or not shown else GUESSED
        self.columns_line.say(", ".join(f"{role} = {name}" for role, name in shown.items()) + guessed)

    def _say_faults(self) -> None:
        faults = dict(self.draft.faults)
        if self.found.problem:
            faults.setdefault(self.found.key, self.found.problem)
        whole = faults.get("data.train") or faults.get("data.split") or faults.get("data")
        self._say("#train-fault", self.needed("Name a file, a hub id or demo.") if whole == "needed" else whole)
        columns = next((text for key, text in faults.items() if key.startswith("data.columns")), None)
        self._say("#columns-fault", columns)
        for row in self.query(FieldRow):
            row.fault(faults.get(row.spec.key, ""))

    def _say(self, where: str, text: str | None) -> None:
        line = self.query_one(where, Static)
        line.update(Content(f"✗ {clean(text, 600)}" if text else ""))
        line.display = bool(text)

    def put(self, key: str, value: object) -> None:
        if key == "data.eval" and isinstance(value, str) and value.lower() in NONE:
            self.draft.set_null(key)
            self.post_message(Drafted())
        else:
            super().put(key, value)
        if key != "data.train":
            self.look()

    def on_path_field_edited(self, event: PathField.Edited) -> None:
        event.stop()
        if event.value != str(self.draft.get("data.train") or ""):
            self.problem = ""
            self.draft.clear("data.columns")  # columns of other data
            self.draft.clear("data.split")
            self.draft.clear("data.accepted")
            self.found = Survey()
            self.put("data.train", event.value or None)

    def on_path_field_chosen(self, event: PathField.Chosen) -> None:
        """Enter opens the data; enter again goes on."""
        event.stop()
        read = self.seen == key_of(self.draft.values) and not self.problem and self.found.dataset is not None
        if read or not event.value:  # where nothing is named, going on says so
            self.post_message(Next())
        else:
            self.look(again=True)

    def on_descendant_focus(self) -> None:
        if not self.field.has_focus_within:
            self.look()
        if self.field.has_focus_within:
            self.post_message(About(HELP))
        elif self.columns_line.has_focus:
            roles = "; ".join(f"{role.name}: {role.help}" for role in self.learnt.roles if role.help)
            self.post_message(About(f"Which column is which; space opens the list. {one_line(roles, 180)}"))
        else:
            super().on_descendant_focus()

    # -- what the rows are -------------------------------------------------------------------------------------------
    def look(self, *, again: bool = False) -> None:
        """Open the data named, off the thread, unless that was done for the very same settings."""
        key = key_of(self.draft.values)
        if not self.draft.get("data.train") or (key == self.seen and not again):
            return
        self.seen = key
        values = self.draft.plain()
        source = one_line(str(self.draft.get("data.train")), 50)
        self._tell((("▶ ", "good"), (f"reading {source} …", "")))
        self.background.start(
            "data", f"reading {source}", lambda work: survey(values, progress=work.progress, cancel=work.cancel),
            self._found, self._failed,
        )  # fmt: skip

    def _found(self, found: Survey) -> None:
        self.found, self.problem = found, found.problem
        self._tell(*self._told(found))
        self.show()
        self.post_message(Drafted())

    def _failed(self, error: BaseException) -> None:
        self._found(Survey(key="data.train", problem=explain(error)))

    def _tell(self, *lines: Line) -> None:
        self.query_one("#data-found", Said).say(*lines)

    def _told(self, found: Survey) -> list[Line]:
        """FOUND for a person: counts, mapping, and one row as it is read and learnt."""
        if found.problem or found.dataset is None or found.shape is None:
            return []
        width, most = max(30, self.size.width - 2), 3 if self.size.height < 24 else 8
        held = f"{found.held_out:,} held out" if found.held_out else "none held out"
        first = f"{found.train:,} rows to train on, {held}"
        template = f"  template {found.template}" if self.learnt.templates else ""
        lines: list[Line] = [(("✓ ", "good"), (first, "strong"), (template, "dim"))]
        if not isinstance(self.draft.get("data.columns"), dict):  # else the line of columns says it all
            why = found.shape.why if self.learnt.generates else found.shape.why.removesuffix(WHOLE)
            lines += hung("  ", f"guessed: {why}", width, 2)
        if found.note:
            lines += hung("  ", found.note, width, 2)
        if found.example:
            masked = "".join(piece.text for piece in found.example if not piece.trained)
            trained = "".join(piece.text for piece in found.example if piece.trained)
            if masked:
                lines += [(), *hung("reads   ", masked, width, most)]
                lines += hung("writes  " if self.learnt.generates else "learns  ", trained, width, most, "ins")
            else:  # running text, words and their tags: the columns say what is what
                parts = row_of(found.dataset, found.shape.columns)
                indent = max((len(role) for role, _ in parts), default=6) + 2
                lines += [(), *(line for role, text in parts for line in hung(f"{role:<{indent}}", text, width, most))]
        return lines

    def on_columns_line_pressed(self, event: ColumnsLine.Pressed) -> None:
        event.stop()
        self.ask_columns()

    def ask_columns(self) -> None:
        """Let the person choose the columns."""
        dataset = self.found.dataset
        if dataset is None or not len(dataset):
            return
        mapping = self.draft.get("data.columns")
        shape = self.found.shape
        chosen = mapping if isinstance(mapping, dict) else dict(shape.columns) if shape is not None else {}
        task = str(self.draft.get("task") or "sft")
        roles = tasks.get(task if task in tasks.names() else "sft").roles

        def done(columns: dict[str, str] | None) -> None:
            guessed = dict(shape.columns) if shape is not None and not isinstance(mapping, dict) else None
            if columns is not None and columns != guessed:
                self.put("data.columns", columns or None)
                self.look()

        self.app.push_screen(ColumnsDialog(dataset, 0, roles, chosen), done)

    def on_ticked(self, event: Ticked) -> None:
        event.stop()
        self._tell((("▶ ", "good"), (event.work.text, "")))

    def on_ended(self, event: Ended) -> None:
        event.stop()
        self.background.ended(event)

    def on_resize(self) -> None:
        if self.found.dataset is not None and not self.background.is_running("data"):
            self._tell(*self._told(self.found))

    def on_unmount(self) -> None:
        self.background.stop_all()
