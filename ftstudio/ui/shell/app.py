"""The app: six screens over one workspace. Holds no state of its own beside the session."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from textual import events
from textual.app import App
from textual.screen import Screen
from textual.theme import Theme

from ftstudio.core.errors import StudioError
from ftstudio.core.text import clean
from ftstudio.ui.shell.actions import Action, bindings
from ftstudio.ui.shell.bell import Bell
from ftstudio.ui.shell.dialogs import Ask
from ftstudio.ui.shell.drawn import DrawnApp
from ftstudio.ui.shell.help import Help
from ftstudio.ui.shell.palette import Palette
from ftstudio.ui.shell.screen import StudioScreen
from ftstudio.ui.shell.session import Session
from ftstudio.ui.shell.signals import Signals
from ftstudio.ui.shell.strip import MODES
from ftstudio.ui.shell.succession import Succession
from ftstudio.ui.text.following import described

PULL_SECONDS = 0.35  # how often the screen in view looks at the files
NOTICE_SECONDS = 6.0  # how long a notice stands there

SCREENS = tuple(str(place) for place in range(1, len(MODES) + 1))  # the keys that lead to them
EVERYWHERE = (
    *(
        Action(key, f"go('{mode}')", "", f"go to the screen {title}", name=title)
        for key, (mode, title) in zip(SCREENS, MODES, strict=True)
    ),
    Action("question_mark", "help", "", "what this screen is for, and its keys", name="help"),
    Action("ctrl+p", "command_palette", "", "find any action by its name", name="all actions"),
    Action("ctrl+l", "redraw", "", "draw the whole screen anew, after others have written on it", name="redraw"),
    Action("q,ctrl+q", "leave", "", "quit; asks while something is running", name="quit"),
)

THEME = Theme(
    name="studio",
    primary="#5fafd7",
    secondary="#87afaf",
    accent="#5fd7d7",
    warning="#d7af5f",
    error="#ff8787",
    success="#87d787",
    foreground="#d0d0d0",
    background="#121212",
    surface="#1c1c1c",
    panel="#262626",
    dark=True,
    variables={"footer-key-foreground": "#5fd7d7", "scrollbar": "#444444", "scrollbar-background": "#1c1c1c"},
)


def _screen(mode: str) -> Callable[[], Screen[Any]]:
    """A function that makes MODE's screen; its module is imported when it is first shown."""

    def make() -> Screen[Any]:
        module = importlib.import_module(f"ftstudio.ui.{mode}.screen")
        made: StudioScreen = getattr(module, f"{mode.capitalize()}Screen")()
        made.add_class(*made.size_classes(made.app.size), update=False)  # else it is styled twice
        return made

    return make


class StudioApp(DrawnApp):
    """The studio. `return_value` after `run()`: "" quit, "headless" or "hangup" go on, "stop" checkpoint and end."""

    TITLE = "ftstudio"
    CSS_PATH = Path(__file__).with_name("studio.tcss")
    MODES = {mode: _screen(mode) for mode, _ in MODES}  # type: ignore[assignment]
    BINDINGS: ClassVar[list[Any]] = bindings(*EVERYWHERE)
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"

    def __init__(self, session: Session, start: str = "runs", signals: Signals | None = None) -> None:
        # the first screen is the one wanted, in its colours: making another first costs a quarter of the first paint
        self.DEFAULT_MODE = start  # type: ignore[misc]
        super().__init__()
        self.register_theme(THEME)
        self.set_reactive(App.theme, "studio")
        self.session = session
        self.signals = signals
        self.start_mode = start
        self.stylesheet.set_variables(self.get_css_variables())
        self._colours = (self.current_theme, self.ansi_theme)  # that the style sheets are parsed with
        self._told = ("", 0.0)  # the last notice, and when
        self._bell = Bell()
        self._succession = Succession(session)

    def on_mount(self) -> None:
        self._listen()
        self.delay_update()  # a half frame would be sent for nothing
        self._rung_by_view()  # what is there already rings no bell
        self.set_interval(PULL_SECONDS, self._pull)

    # -- what changes ----------------------------------------------------------------------------------------------
    def _pull(self) -> None:
        if (refusal := self.session.refusal()) is not None:
            self.show_error(refusal)
        self._listen_to_runs()
        base = self._base()
        if base is not None and base.is_mounted and self.is_running:  # not while the app ends
            base.refresh_shell()
            base.pull()
            above = self.screen
            if above is not base and isinstance(above, StudioScreen) and above.is_mounted:
                above.refresh_shell()
                above.pull()

    def _base(self) -> StudioScreen | None:
        """The screen under all dialogs; None before there is one."""
        base = self.screen_stack[0] if self.screen_stack else None
        return base if isinstance(base, StudioScreen) else None

    def _listen_to_runs(self) -> None:
        """Ring for what the runs that are trained here warn of, and the run in view, whoever trains it; say it where
        Train doesn't show it. Where the run in view has ended, the next of the queue may come into view."""
        news = self.session.hearing.look(self.session.jobs)
        rung = self._rung_by_view()
        if news or rung:
            self.bell()
        feed, base = self.session.feed, self._base()
        for one in news:
            viewed = feed is not None and one.run.path == feed.run.path
            if viewed and base is not None and base.MODE == "train":  # where it stands below the chart
                continue
            more = f" (and {one.count - 1} more)" if one.count > 1 else ""
            self.tell(f"{one.run.name}: {one.text}{more} · {'4' if viewed else '6'} shows it", one.level)
        free = base is not None and len(self.screen_stack) == 1 and base.gives_way
        if told := self._succession.look(free=free, shown=base is None or base.SHOWS_RUN):
            self.tell(told)

    def _rung_by_view(self) -> bool:
        """Take in what came of the run in view; whether that must be heard, and isn't as a run that is trained here."""
        feed = self.session.feed
        if feed is None:
            return False
        feed.poll()
        return self._bell.rings(feed.story, feed.state) and feed.run.path not in self.session.hearing.latest

    async def on_event(self, event: events.Event) -> None:
        """See App. What is pressed on a screen that shows the run in view is a sign that somebody reads there."""
        pressed = isinstance(event, (events.Key, events.Paste, events.MouseDown, events.MouseScrollDown))
        leaves = isinstance(event, events.Key) and event.key in SCREENS
        base = self._base()
        if pressed and not leaves and not event.is_forwarded and base is not None and base.SHOWS_RUN:
            self._succession.touched()
        await super().on_event(event)

    def show_error(self, error: BaseException) -> None:
        """Tell of ERROR in one sentence and its way out."""
        if not isinstance(error, StudioError):
            text = f"{type(error).__name__}: {error}"
            self.notify(clean(text, 400), title="Unexpected fault", severity="error", markup=False, timeout=15)
            return
        self.notify(clean(str(error), 600), severity="error", markup=False, timeout=12)

    def tell(self, text: str, severity: str = "information") -> None:
        """A short notice; one that stands there already isn't said again."""
        now = time.monotonic()
        if text == self._told[0] and now < self._told[1] + NOTICE_SECONDS:
            return
        self._told = (text, now)
        self.notify(clean(text, 400), severity=severity, markup=False, timeout=NOTICE_SECONDS)  # type: ignore[arg-type]

    def refresh_css(self, animate: bool = True) -> None:
        """See App. Textual also asks for it, twice, whenever a screen is first shown: all style sheets would be parsed
        again for the same colours."""
        colours = (self.current_theme, self.ansi_theme)
        if colours != self._colours:
            self._colours = colours
            super().refresh_css(animate)

    # -- actions ---------------------------------------------------------------------------------------------------
    def action_go(self, mode: str) -> None:
        """Show the screen MODE; dialogs in between are left alone."""
        if len(self.screen_stack) == 1:
            self.switch_mode(mode)

    def action_help(self) -> None:
        """Explain the screen in view."""
        screen = self.screen
        if isinstance(screen, StudioScreen):
            self.push_screen(Help(screen.TITLE_TEXT, screen.HELP, screen.current_actions(), EVERYWHERE))

    async def action_leave(self) -> None:
        """Quit; while a job runs here, ask what becomes of it."""
        if isinstance(self.screen, Ask):
            return
        if not self.session.busy:
            self.exit("")
            return

        def chosen(answer: str | None) -> None:
            if answer == "h":
                self.exit("headless")
            elif answer == "s":
                self.exit("stop")

        current = self.session.worker.current
        waiting = len(self.session.worker.waiting)
        more = f" {waiting} more wait for their turn; stopping drops them." if waiting else ""
        more = " 1 more waits for its turn; stopping drops it." if waiting == 1 else more
        self.push_screen(
            Ask(
                f"This process is {described(current)}." if current is not None else "Work is about to begin here.",
                f"It can go on without this screen; opening the studio again shows it live.{more}",
                {"h": "go on headless; the shell comes back when it has ended", "s": "save, stop and quit"},
            ),
            chosen,
        )

    async def action_quit(self) -> None:
        await self.action_leave()

    def action_command_palette(self) -> None:
        """Find an action by its name."""
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette())

    def actions_known(self, screen: Screen[Any]) -> list[Action]:
        """What ctrl+p finds while SCREEN is in view: its own actions, then those of the studio."""
        own = screen.current_actions() if isinstance(screen, StudioScreen) else ()
        return [*own, *(action for action in EVERYWHERE if action.run != "command_palette")]

    def runner(self, screen: Screen[Any], action: Action) -> Callable[[], None]:
        """A function that does ACTION, on SCREEN where it is one of the screen's."""
        place = self if action in EVERYWHERE else screen

        def run() -> None:
            self.call_later(self.run_action, action.run, place)

        return run

    # -- signals -----------------------------------------------------------------------------------------------------
    def _listen(self) -> None:
        """A hang-up lets go of the terminal and goes on headless; SIGTERM checkpoints and ends."""
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()

        def came(what: str) -> None:
            loop.call_soon_threadsafe(self.exit, what, context=context)

        if self.signals is not None:
            self.signals.listen(came)
            self.signals.going_on(self._driver, loop.call_soon_threadsafe)
