"""Where two runs' recipes differ, key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ftstudio.core.errors import UsageError
from ftstudio.core.run import RunFolder
from ftstudio.core.text import one_line
from ftstudio.ui.text.table import Column, Table

LONGEST = 1 << 20  # bytes of a recipe that are read
DATA = ("resolved.data.train.sha256", "resolved.data.eval.sha256")  # of what the studio notes, this tells runs apart


def settings(run: RunFolder) -> dict[str, str]:
    """RUN's recipe as dotted keys and values; of what the studio noted only the data's hashes. Raises UsageError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        with open(run.recipe_path, "rb") as file:
            tree = YAML(typ="safe").load(file.read(LONGEST))
    except (OSError, YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The recipe of {run.name} can't be read ({one_line(error, 80)}).", "Choose another."
        ) from error
    found = dict(_flat(tree, "")) if isinstance(tree, Mapping) else {}
    return {key: value for key, value in found.items() if not key.startswith("resolved.") or key in DATA}


def _flat(tree: Mapping[Any, Any], before: str) -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, "–" if value is None else str(value)


def differing(one: Mapping[str, str], two: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(key, value in ONE, value in TWO) where they differ; a key that is missing there reads `–`."""
    keys = [*one, *(key for key in two if key not in one)]
    rows = [(key, one.get(key, "–"), two.get(key, "–")) for key in keys]
    return [row for row in rows if row[1] != row[2]]


class RecipeDiff(ModalScreen[None]):
    """The recipes of two runs, side by side where they differ."""

    BINDINGS = [("escape,d,q", "dismiss", "back")]
    DEFAULT_CSS = """
    RecipeDiff .dialog { height: 80%; }
    RecipeDiff Table { background: $surface; }
    """

    def __init__(self, one: RunFolder, two: RunFolder) -> None:
        super().__init__()
        self.one, self.two = one, two
        self.rows = differing(settings(one), settings(two))

    def compose(self) -> ComposeResult:
        count = len(self.rows)
        told = (
            f"{count} {'setting differs' if count == 1 else 'settings differ'}" if count else "The recipes are the same"
        )
        with Vertical(classes="dialog") as box:
            box.styles.width = 130  # or as much as there is
            yield Static(Content(f"{told}: {self.one.name} and {self.two.name}"), classes="dialog-title")
            names = [one_line(run.name, 40) for run in (self.one, self.two)]
            yield Table(
                [Column("setting", 28), *(Column(name) for name in names)], self._cells, empty="nothing differs"
            )
            yield Static(Content("esc goes back"), classes="dialog-hint")

    def on_mount(self) -> None:
        table = self.query_one(Table)
        table.show(len(self.rows))
        table.focus()

    def _cells(self, index: int) -> tuple[tuple[str, str], ...]:
        key, one, two = self.rows[index]
        shown = "data" if key in DATA else key
        values = (one[:12], two[:12]) if key in DATA else (one, two)
        return ((one_line(shown, 60), "key"), (one_line(values[0], 200), "strong"), (one_line(values[1], 200), ""))
