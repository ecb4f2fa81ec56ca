"""The base of the six screens: strip on top, key line below, one timer that pulls, one list of actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.geometry import Size
from textual.screen import Screen
from textual.widgets import Input, Static

from ftstudio.core.errors import StudioError
from ftstudio.ui.shell.actions import Action
from ftstudio.ui.shell.keyline import KeyLine
from ftstudio.ui.shell.session import Session
from ftstudio.ui.shell.strip import TopStrip

if TYPE_CHECKING:
    from ftstudio.ui.shell.app import StudioApp


LEAST = (60, 18)  # columns, lines


class StudioScreen(Screen[None]):
    """One of the six screens.

    A subclass sets MODE, TITLE_TEXT, HELP (what the screen is for, in plain words, shown by `?`) and ACTIONS (and
    BINDINGS = bindings(*ACTIONS)), yields its widgets in `compose_body` and, if it shows things that change, pulls
    them in `pull`, which is called about three times a second while the screen is in view. `pull` must be quick,
    must never wait for the worker, and must refresh only what changed. Anything that takes longer than 30 ms runs in
    `self.run_worker(..., thread=True, exclusive=True, group=...)` and comes back by a message.
    """

    MODE: ClassVar[str] = ""
    TITLE_TEXT: ClassVar[str] = ""
    HELP: ClassVar[str] = ""
    ACTIONS: ClassVar[tuple[Action, ...]] = ()
    SHOWS_RUN: ClassVar[bool] = False  # whether it shows the run in view, and not only its strip does
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (140, "-huge")]

    @classmethod
    def size_classes(cls, size: Size) -> list[str]:
        """The classes that a screen of SIZE has by its breakpoints."""
        by = ((size.width, cls.HORIZONTAL_BREAKPOINTS), (size.height, cls.VERTICAL_BREAKPOINTS))
        return [next(name for least, name in reversed(points) if length >= least) for length, points in by if points]

    @property
    def studio(self) -> StudioApp:
        """The app."""
        from ftstudio.ui.shell.app import StudioApp

        return cast(StudioApp, self.app)

    def attempt(self, what: Callable[[], object]) -> bool:
        """Do WHAT; tell of it and give False where it can't be done."""
        try:
            what()
        except StudioError as error:
            self.studio.show_error(error)
            return False
        return True

    @property
    def session(self) -> Session:
        """What the studio is working on."""
        return self.studio.session

    def compose(self) -> ComposeResult:
        yield Static(id="too-small")
        yield TopStrip(self.session, self.MODE)
        with Container(id="body"):
            yield from self.compose_body()
        yield KeyLine()

    def on_resize(self, event: events.Resize) -> None:
        """Below the smallest size that shows anything whole, say so instead."""
        width, height = event.size
        small = width < LEAST[0] or height < LEAST[1]
        self.set_class(small, "-too-small")
        if small:
            self.query_one("#too-small", Static).update(
                Content(
                    f"This terminal is {width}×{height}. The studio needs {LEAST[0]}×{LEAST[1]}, "
                    "and 80×24 to be whole. Make it larger; whatever runs goes on."
                )
            )

    def compose_body(self) -> ComposeResult:
        """The widgets between strip and key line."""
        yield from ()

    @property
    def gives_way(self) -> bool:
        """Whether another run may come into view by itself: not while one is being read here."""
        return not self.SHOWS_RUN

    def current_actions(self) -> tuple[Action, ...]:
        """The actions that work now; a subclass may leave out those that don't."""
        return self.ACTIONS

    def pull(self) -> None:
        """Bring the view up to date with the files."""

    def refresh_shell(self) -> None:
        """Bring strip and key line up to date."""
        self.query_one(TopStrip).update_from()
        self.query_one(KeyLine).show_actions(self.current_actions(), isinstance(self.focused, Input))

    def on_descendant_focus(self) -> None:
        """Other keys may work in another field."""
        if self.is_current and self.app.is_running:
            self.refresh_shell()

    def on_screen_resume(self) -> None:
        """Coming into view: show the present at once, not at the next tick."""
        self.pull()
        self.refresh_shell()
