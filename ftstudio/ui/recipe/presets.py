"""The list of presets: one's own, then the shipped ones, each with its first line of comment."""

from __future__ import annotations

from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ftstudio.core.recipe import Recipe
from ftstudio.core.recipe_file import to_yaml
from ftstudio.core.text import one_line
from ftstudio.core.workspace import Workspace
from ftstudio.ui.text.table import Column, Table


def description(path: Path) -> str:
    """The first line of comment in PATH."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("#"):
                    return one_line(line.lstrip("# "), 200)
                if line.strip():
                    return ""
    except OSError:
        return "can't be read"
    return ""


def as_preset(recipe: Recipe, about: str) -> str:
    """RECIPE as the text of a preset: ABOUT on top, what a key is for beside it."""
    plain = recipe.model_copy(update={"resolved": None})
    return f"# {one_line(about, 110)}\n\n{to_yaml(plain, comments=True)}"


class PresetsDialog(ModalScreen[Path | None]):
    """Enter gives back the preset's path, escape None."""

    BINDINGS = [("escape", "dismiss(None)", "back")]
    DEFAULT_CSS = """
    PresetsDialog Table { height: auto; max-height: 11; background: $surface; }
    PresetsDialog .dialog { background: $surface; }
    PresetsDialog #preset-about { height: 3; margin-top: 1; }
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.paths = workspace.presets()
        self.rows = [
            (path.stem, "own" if path.parent == workspace.presets_path else "shipped", description(path))
            for path in self.paths
        ]
        columns = (Column("preset", 23), Column("whose", 8), Column("what it is"))
        self.table = Table(columns, lambda index: self.rows[index], empty="There are no presets.")

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.styles.width = 110
            yield Static(Content("Open a preset"), classes="dialog-title")
            yield self.table
            yield Static("", id="preset-about")
            yield Static(Content("enter opens it in the wizard · esc goes back"), classes="dialog-hint")

    def on_mount(self) -> None:
        self.table.styles.height = len(self.rows) + 1
        self.table.show(len(self.rows))
        self.table.focus()
        self._explain(0)

    def _explain(self, index: int) -> None:
        """All of what the preset at INDEX says of itself."""
        about = self.rows[index][2] if index < len(self.rows) else ""
        self.query_one("#preset-about", Static).update(Content(about))

    def on_table_moved(self, event: Table.Moved) -> None:
        event.stop()
        self._explain(event.index)

    def on_table_chosen(self, event: Table.Chosen) -> None:
        event.stop()
        self.dismiss(self.paths[event.index])
