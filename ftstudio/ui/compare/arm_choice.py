"""Which arms the next comparison has: base, with examples, tuned, its checkpoints, other runs, files, servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ftstudio.core import arm
from ftstudio.core.errors import UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder
from ftstudio.core.text import one_line
from ftstudio.ui.shell.dialogs import Prompt
from ftstudio.ui.text.table import Cells, Column, Table

USUAL = (
    ("base", "the base model, no examples"),
    ("base+1shot", "one training row as an example"),
    ("base+3shot", "three training rows as examples"),
    ("base+3near", "the three nearest training rows"),
    ("tuned", "this run"),
)
HINT = (
    "base+5shot, base+row4+row17 (training rows by number), tuned@200 (a checkpoint), a run's name, "
    "file:answers.jsonl (stored predictions), http://HOST:PORT/v1#MODEL (a server)"
)


def candidates(
    run: RunFolder, recipe: Recipe | None, others: Sequence[RunFolder], recipe_of: Callable[[RunFolder], Recipe | None]
) -> list[tuple[str, str]]:
    """(arm, what it is) of all that can be held against RUN (of RECIPE): checkpoints, and OTHERS of the same base and
    held-out rows, beside the usual ones."""
    found = list(USUAL)
    steps = sorted(
        int(path.name.rpartition("-")[2])
        for path in run.checkpoints.glob("checkpoint-*")
        if path.name.rpartition("-")[2].isdecimal() and (path / "complete.json").is_file()
    )
    found += [(f"tuned@{step}", f"this run at step {step:,}") for step in steps]
    if recipe is None:
        return found
    for other in others:
        known = recipe_of(other) if other.path != run.path else None
        if known is not None and _alike(known, recipe):
            found.append((other.name, f"another run: {known.method.name}"))
    return found


def _alike(a: Recipe, b: Recipe) -> bool:
    """Whether runs of A and B have the same base and the same held-out rows."""
    keys = (a.model, a.data.train, a.data.eval, a.data.split_by, a.rows_seed)
    return keys == (b.model, b.data.train, b.data.eval, b.data.split_by, b.rows_seed)


Picked = Callable[[tuple[int, ...]], None]


class ArmsDialog(ModalScreen[tuple[str, ...] | None]):
    """A list to tick; gives back the arms in its order, the first being held against, or None for escape."""

    BINDINGS = [
        Binding("escape,q", "dismiss(None)", "back"),
        Binding("space", "tick", "tick"),
        Binding("plus", "add", "another"),
        Binding("e", "examples", "examples"),
    ]
    DEFAULT_CSS = """
    ArmsDialog Table { height: auto; background: $surface; }
    ArmsDialog #arms-fault { height: auto; color: $error; }
    """

    def __init__(
        self, entries: Sequence[tuple[str, str]], present: Sequence[str], pick: Callable[[Picked], None] | None = None
    ) -> None:
        super().__init__()
        self.pick = pick  # lets the person choose training rows, and hands them on
        self.entries = list(entries)
        known = {text for text, _ in self.entries}
        self.entries += [(text, "named by you") for text in present if text not in known]
        self.ticked = set(present)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Content("Which arms are compared?  two to four"), classes="dialog-title")
            table = Table((Column("", 3), Column("arm", 24), Column("", 0)), self._cells)
            table.styles.height = min(12, len(self.entries) + 1)
            yield table
            yield Static("", id="arms-fault")
            hint = (
                "The others are held against the first.\n"
                "space ticks · e examples by hand · + another · enter starts\n"
                "esc goes back"
            )
            yield Static(Content(hint), classes="dialog-hint")

    def on_mount(self) -> None:
        self._show(0)
        self.query_one(Table).focus()

    def _show(self, place: int | None = None) -> None:
        table = self.query_one(Table)
        table.styles.height = min(12, len(self.entries) + 1)
        table.show(len(self.entries), place)

    def _cells(self, index: int) -> Cells:
        text, what = self.entries[index]
        ticked = text in self.ticked
        mark = ("[x]", "good") if ticked else ("[ ]", "dim")
        return (mark, (one_line(text, 60), "strong" if ticked else ""), (what, "dim"))

    def action_tick(self) -> None:
        """Take the arm at hand in or out."""
        text = self.entries[self.query_one(Table).cursor][0]
        self.ticked ^= {text}
        self._say("")
        self._show()

    def action_examples(self) -> None:
        """The base with training rows that the person chooses."""

        def picked(rows: tuple[int, ...]) -> None:
            named = "one row of yours" if len(rows) == 1 else f"{len(rows)} rows of yours"
            self._take("base" + "".join(f"+row{row}" for row in rows), f"{named} before every question")

        if self.pick is not None:
            self.pick(picked)

    def _take(self, text: str, what: str) -> None:
        """Tick the arm TEXT, put on the list where it isn't there."""
        if text not in {known for known, _ in self.entries}:
            self.entries.append((text, what))
        self.ticked.add(text)
        self._say("")
        self._show(next(place for place, (known, _) in enumerate(self.entries) if known == text))

    def action_add(self) -> None:
        """Name another arm."""

        def typed(text: str | None) -> None:
            if text and text.strip():
                self._take(arm.parse(text).text, "named by you")

        def check(text: str) -> object:
            return text.strip() and arm.parse(text)

        self.app.push_screen(Prompt("Which arm?", "", HINT, check=check), typed)

    def _say(self, text: str) -> None:
        self.query_one("#arms-fault", Static).update(Content(f"✗ {one_line(text, 300)}" if text else ""))

    def on_table_chosen(self, event: Table.Chosen) -> None:
        event.stop()
        chosen = tuple(text for text, _ in self.entries if text in self.ticked)
        try:
            arm.parse_all(chosen)
        except UsageError as error:
            self._say(str(error))
            return
        self.dismiss(chosen)
