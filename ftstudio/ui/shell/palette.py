"""ctrl+p: every action of the screen in view and of the studio, one a line, found by its name or by what it does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider, SearchIcon
from textual.content import Content
from textual.widgets import Input

from ftstudio.ui.shell.actions import Action
from ftstudio.ui.text.lines import fit

if TYPE_CHECKING:
    from ftstudio.ui.shell.app import StudioApp

NAME, KEYS = 17, 9  # cells of an action's name, and of its keys


class Actions(Provider):
    """The actions in the order of the key line: those of the screen first."""

    def _known(self) -> Iterator[tuple[str, Content, Action]]:
        """(text to search in, the line shown, the action)."""
        app = cast("StudioApp", self.app)
        room = max(20, app.size.width - NAME - KEYS - 8)
        for action in app.actions_known(self.screen):
            name = action.short
            line = Content.assemble(
                (fit(name, NAME), "bold"), (fit(action.help, room), "dim"), "  ", (fit(action.keys, KEYS), "$accent")
            )
            yield f"{name} {action.help}", line, action

    async def discover(self) -> Hits:
        """All of them, before anything is typed."""
        app = cast("StudioApp", self.app)
        for text, line, action in self._known():
            yield DiscoveryHit(line, app.runner(self.screen, action), text)

    async def search(self, query: str) -> Hits:
        """Those with all words of QUERY in name or help, names first; else those whose letters come in this order."""
        app = cast("StudioApp", self.app)
        matcher, words = self.matcher(query), query.lower().split()
        for text, line, action in self._known():
            lower = text.lower()
            score = 100.0 + lower.startswith(words[0]) if all(word in lower for word in words) else matcher.match(text)
            if score > 0:
                yield Hit(score, line, app.runner(self.screen, action), text)


class Palette(CommandPalette):
    """Textual's, without a picture that some terminals lack, and without a cursor that blinks over a slow link."""

    DEFAULT_CSS = "Palette > Vertical { margin-top: 2; }"

    def __init__(self) -> None:
        super().__init__([Actions], placeholder="what do you want to do?", id="--command-palette")

    def on_mount(self) -> None:
        self.query_one(SearchIcon).icon = "›"
        self.query_one(Input).cursor_blink = False
