"""Which column plays which part: a short list to change, with a row written out as it would be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ftstudio.core.errors import StudioError
from ftstudio.core.text import clean, one_line
from ftstudio.data.dataset import Dataset
from ftstudio.data.example import BadRow
from ftstudio.data.personal import masked
from ftstudio.data.shape import Shape, recognise
from ftstudio.tasks.base import Role
from ftstudio.ui.data.model import NAMES
from ftstudio.ui.text.lines import Line, Lines, fit

NOBODY = "–"
ALONE = ("text", "messages")  # parts that are the whole row


class Parts(Lines):
    """A line for each part: its name, the column that plays it, what it is for."""

    BINDINGS = [
        Binding("up,shift+tab", "move(-1)", "up", show=False),
        Binding("down,tab", "move(1)", "down", show=False),
        Binding("right,space", "turn(1)", "next column", show=False),
        Binding("left", "turn(-1)", "previous column", show=False),
        Binding("delete,backspace,d", "clear", "no column", show=False),
    ]

    def __init__(self, roles: Sequence[Role], names: Sequence[str], chosen: Mapping[str, str]) -> None:
        super().__init__(id="parts")
        self.roles, self.names = tuple(roles), tuple(names)
        self.chosen = {role: name for role, name in chosen.items() if name in names}
        self.cursor = 0
        self.total = len(self.roles)
        self.styles.height = self.total

    def line(self, index: int) -> Line:
        role = self.roles[index]
        here = index == self.cursor
        column = self.chosen.get(role.name, "")
        shown = one_line(column, 22) or NOBODY
        value = f"‹ {shown} ›" if here else f"  {shown}"
        return (
            ("▸ " if here else "  ", "key"),
            (fit(role.name, 11), "strong" if here else ""),
            (fit(value, 28), "good" if column else "dim"),
            (one_line(role.help, max(4, self.columns - 42)), "dim"),
        )

    def ground(self, index: int) -> str:
        return "cursor" if index == self.cursor else ""

    def action_move(self, by: int) -> None:
        """Another part."""
        self.cursor = (self.cursor + by) % self.total
        self.paint()

    def action_turn(self, by: int) -> None:
        """Another column for the part at hand."""
        role = self.roles[self.cursor].name
        # passing by must take no column away from another part
        taken = set() if role in ALONE else {name for other, name in self.chosen.items() if other not in (role, *ALONE)}
        options = ["", *(name for name in self.names if name not in taken)]
        place = options.index(self.chosen.get(role, ""))
        self.put(role, options[(place + by) % len(options)])

    def action_clear(self) -> None:
        """No column plays the part at hand."""
        self.put(self.roles[self.cursor].name, "")

    def put(self, role: str, column: str) -> None:
        """COLUMN plays ROLE from now on; a column plays one part, and text or messages stand alone."""
        if column:
            for other, name in list(self.chosen.items()):
                apart = (role in ALONE or other in ALONE) and not {role, other} <= {"messages", "system"}
                if other != role and (name == column or apart):
                    del self.chosen[other]
            self.chosen[role] = column
        else:
            self.chosen.pop(role, None)
        self.paint()
        assert isinstance(self.screen, ColumnsDialog)
        self.screen.preview()


class ColumnsDialog(ModalScreen[dict[str, str] | None]):
    """Gives back role → column, `{}` for "guess again", None for escape."""

    BINDINGS = [
        Binding("escape", "dismiss(None)", "back"),
        Binding("enter", "accept", "accept", priority=True),
        Binding("g", "guess", "guess again"),
    ]
    DEFAULT_CSS = """
    ColumnsDialog #columns-why { height: 1; margin-top: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    ColumnsDialog #columns-example { height: auto; max-height: 5; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, dataset: Dataset, row: int, roles: Sequence[Role], chosen: Mapping[str, str]) -> None:
        super().__init__()
        self.dataset, self.row = dataset, row
        self.parts = Parts(roles, dataset.names, chosen)
        self.shape: Shape | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.styles.width = 100
            yield Static(Content("Which column plays which part?"), classes="dialog-title")
            yield self.parts
            yield Static("", id="columns-why")
            yield Static("", id="columns-example")
            yield Static(
                Content("↑↓ part · ←→ column · d none · g guess · enter accepts · esc back"),
                classes="dialog-hint",
            )

    def on_mount(self) -> None:
        self.parts.focus()
        self.preview()

    def preview(self) -> None:
        """Show what the row at hand becomes with the columns chosen."""
        why, example = self.query_one("#columns-why", Static), self.query_one("#columns-example", Static)
        try:
            self.shape = recognise(self.dataset, self.parts.chosen)
            kind = NAMES.get(self.shape.name, self.shape.name)
            why.update(Content.assemble(("✓ ", "bold"), f"{kind}; row {self.row} reads:"))
            example.update(self._example(self.shape))
        except StudioError as error:
            self.shape = None
            why.update(Content.assemble(("✗ ", "bold"), clean(error, 500)))
            example.update("")

    def _example(self, shape: Shape) -> Content:
        """The row at hand as turns."""
        try:
            turns = shape.example(self.dataset[self.row]).messages
        except (BadRow, IndexError, OSError, StudioError) as error:
            return Content.assemble((f"row {self.row}: ", "bold"), clean(error, 300))
        parts: list[str | tuple[str, str]] = []
        for turn in turns[:4]:
            parts += [(f"{turn.role:>10} ", "bold"), f"{one_line(masked(turn.content), 200)}\n"]
        if len(turns) > 4:
            parts.append(f"{'':>10} … {len(turns) - 4} more turns\n")
        return Content.assemble(*parts)

    def action_accept(self) -> None:
        """Take the columns chosen, if a row can be read with them."""
        if self.shape is not None:
            self.dismiss(dict(self.parts.chosen))

    def action_guess(self) -> None:
        """Let the studio guess from the columns' names."""
        self.dismiss({})
