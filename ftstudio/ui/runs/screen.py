"""The Runs screen, home of the studio: what was trained, what runs, what can go on."""

from __future__ import annotations

import threading
import time
from functools import partial

from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import Static

from ftstudio.core.errors import StudioError
from ftstudio.core.text import duration, one_line
from ftstudio.ui.common.paths import shown
from ftstudio.ui.runs.catalogue import LIVE, Catalogue, Summary
from ftstudio.ui.runs.cells import COLUMNS, cells_of, steps
from ftstudio.ui.runs.info import InfoPanel
from ftstudio.ui.runs.order import ORDERS, ordered, said
from ftstudio.ui.shell.actions import Action, bindings
from ftstudio.ui.shell.dialogs import Ask, Prompt
from ftstudio.ui.shell.screen import StudioScreen
from ftstudio.ui.text.empty import nothing
from ftstudio.ui.text.following import waits
from ftstudio.ui.text.lines import Line, Part
from ftstudio.ui.text.said import Said
from ftstudio.ui.text.table import Table
from ftstudio.ui.train import steer
from ftstudio.ui.train.actions import TAKE_BACK
from ftstudio.ui.train.notice import lines_of

LOOK_SECONDS = 1.0  # between two looks at the live runs
SCAN_SHARE = 40  # looking at all runs may take a fortieth of the time, and happens every three seconds at most
AT_ONCE = 0.03  # seconds the first look may take before the screen is shown

OPEN = Action("enter", "open", "open", "show the run: its curves, samples and log", priority=False)
COMPARE = Action("c", "compare", "compare", "compare base and tuned model of a run that has saved one")
RESUME = Action("r", "resume", "resume", "go on from the last checkpoint; starts a run that never began")
STOP = Action("s", "stop", "stop", "save a checkpoint and stop a live run; asks first")
DELETE = Action("d,delete", "delete", "delete", "move the run to the workspace's trash folder; asks first")
FILTER = Action("f,slash", "filter", "filter", "show only runs whose name, state, task, method or model hold a word")
ALL = Action(
    "R", "resume_all", "resume all", "go on with all interrupted runs, and with those that never began; asks first"
)
ORDER = Action("o", "order", "order", "by held-out loss, loss, name, state, time taken; then the newest first again")
TURN = Action("O", "turn", "", "the same order the other way round", name="turn the order")
INFO = Action("i", "info", "info", "the recipe and figures of the run under the cursor; again: hide them")
BACK = Action("escape", "back", "", "clear the filter, or hide the info", name="back")
DATA = Action("1", "app.go('data')", "data", "look at your data")
MAKE = Action("3", "app.go('recipe')", "recipe", "make a recipe and train")


class RunsScreen(StudioScreen):
    """A table of runs, a line about the one under the cursor, and its recipe on demand."""

    MODE = "runs"
    TITLE_TEXT = "Runs: all you have trained"
    HELP = """
A run is one training from one recipe. It lives in a folder of the workspace, and everything about it stands in files
there, so runs that another terminal or another machine works on are shown live, too.

  ▶ running      being trained now
  ‖ paused       waiting, with the model kept in memory
  … queued       its turn has not come yet
  ■ stopped      ended by you, with a checkpoint
  ! interrupted  killed, or a power cut; it can go on
  ✗ failed       an error ended it; enter shows which
  ✓ done         trained to the end, model saved
  ! collapsed    trained to the end, but worth less than before training

r goes on with a stopped, interrupted or failed run exactly where its last checkpoint was: the same rows in the same
order. A run that waits for its turn names what it waits for, also in another process; s takes it out of that queue.
loss is the last training loss, eval the loss on held-out rows; lower is better. Deleted runs are moved to the trash
folder of the workspace and stay there until you remove them.
"""
    ACTIONS = (OPEN, COMPARE, RESUME, ALL, STOP, INFO, FILTER, ORDER, TURN, DELETE, BACK)
    BINDINGS = bindings(*[action for action in ACTIONS if action is not OPEN])
    AUTO_FOCUS = "Table"

    DEFAULT_CSS = """
    RunsScreen #runs-empty { display: none; }
    RunsScreen.-none #runs-empty { display: block; height: 1fr; }
    RunsScreen.-none #runs-body, RunsScreen.-none #heading, RunsScreen.-none #detail { display: none; }
    RunsScreen #heading { margin-bottom: 1; }
    RunsScreen #runs-body { height: 1fr; layout: vertical; }
    RunsScreen #runs { height: 1fr; }
    RunsScreen #info { display: none; height: 55%; }
    RunsScreen.-info #info { display: block; }
    RunsScreen.-huge #runs-body { layout: horizontal; }
    RunsScreen.-huge #info { width: 56; height: 1fr; }
    RunsScreen #detail { height: auto; min-height: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._catalogue: Catalogue | None = None
        self._shown: list[Summary] = []
        self._filter = ""
        self._order, self._turned = 0, False
        self._seen = -1
        self._scanning = threading.Event()
        self._next_look = self._next_scan = 0.0
        self._resumable: tuple[object, str] = (None, "")
        self._has_model: tuple[object, bool] = (None, False)

    @property
    def catalogue(self) -> Catalogue:
        """The runs in short."""
        if self._catalogue is None:
            self._catalogue = Catalogue(self.session.workspace)
        return self._catalogue

    def compose_body(self) -> ComposeResult:
        yield Said(id="heading")
        with Container(id="runs-body"):
            yield Table(COLUMNS, self._cells, empty="No run matches; esc clears the filter.", id="runs")
            yield InfoPanel(id="info")
        yield Said(grow=True, id="detail")
        place = one_line(str(self.session.workspace.path), 60)
        yield Static(
            nothing(
                f"No runs yet in {place}.",
                ("1", "opens your data: a file or a hub id"),
                ("3", "makes a recipe and trains"),
                more="To see the whole loop first, quit with q and run `ftstudio demo`:\n"
                "a small bundled model, fine-tuned on a bundled dataset in a few minutes.",
            ),
            id="runs-empty",
            classes="empty",
        )

    def _cells(self, index: int) -> tuple[str | Part, ...]:
        return tuple(cells_of(self._shown[index]))

    # -- bringing up to date -----------------------------------------------------------------------------------------
    def pull(self) -> None:
        if self._seen < 0:
            self.catalogue.scan(AT_ONCE)
        now = time.monotonic()
        if now >= self._next_look and not self._scanning.is_set():
            self._next_look = now + LOOK_SECONDS
            self._scanning.set()
            self.run_worker(self._scan, thread=True, group="runs", exit_on_error=False)
        self._show()

    def _scan(self) -> None:
        try:
            began = time.monotonic()
            if began < self._next_scan:
                self.catalogue.follow()
                return
            self.catalogue.scan()
            ended = time.monotonic()
            self._next_scan = ended + max(3 * LOOK_SECONDS, (ended - began) * SCAN_SHARE)
        finally:
            self._scanning.clear()

    def _show(self) -> None:
        catalogue, table = self.catalogue, self.query_one(Table)
        if catalogue.version != self._seen:
            self._seen = catalogue.version
            chosen = self.chosen
            self._choose_rows(chosen)
        else:
            table.paint()  # ages
        self.set_class(not catalogue.rows, "-none")
        self.query_one("#heading", Said).say(self._heading())
        self._show_chosen()

    def _choose_rows(self, chosen: Summary | None) -> None:
        words = self._filter.lower().split()
        rows = ordered(self.catalogue.rows, ORDERS[self._order], turned=self._turned)
        self._shown = [row for row in rows if row.matches(words)]
        cursor = 0
        if chosen is not None:
            at = [index for index, row in enumerate(self._shown) if row.run.path == chosen.run.path]
            cursor = at[0] if at else min(self.query_one(Table).cursor, max(0, len(self._shown) - 1))
        self.query_one(Table).show(len(self._shown), cursor)

    @property
    def chosen(self) -> Summary | None:
        """The run under the cursor."""
        table = self.query_one(Table)
        return self._shown[table.cursor] if 0 <= table.cursor < len(self._shown) else None

    def _heading(self) -> Line:
        rows = self.catalogue.rows
        count = f"{len(rows)} run{'' if len(rows) == 1 else 's'}"
        if self._filter:
            count = f"{len(self._shown)} of {count} with {self._filter!r}"
        parts: list[Part] = [(count, "strong")]
        if how := said(ORDERS[self._order], turned=self._turned):
            parts.append((f" {how}", "dim"))
        live = sum(row.state in LIVE for row in rows)
        lost = [row for row in rows if row.state == "interrupted"]
        if live:
            parts.append((f" · ▶ {live} live", "good"))
        if lost:
            which = one_line(lost[0].name, 28) if len(lost) == 1 else f"{len(lost)} runs"
            here = self.chosen is not None and self.chosen.run.path == lost[0].run.path
            way = f"was interrupted: {'r goes on with it' if here else 'r on its row goes on'}"
            way = way if len(lost) == 1 else "were interrupted: R goes on with all"
            parts.append((f" · ! {which} {way}", "warn"))
        return tuple(parts)

    def _show_chosen(self) -> None:
        chosen = self.chosen
        panel = self.query_one("#detail", Said)
        width = max(20, self.app.size.width - 3)  # the panel's own is not known at the first look
        panel.say(*(lines_of(*self._detail(chosen, width), width, 2) if chosen is not None else [()]))
        if self.has_class("-info"):
            self.query_one(InfoPanel).show(chosen)

    def _detail(self, row: Summary, width: int) -> tuple[str, str, str]:
        """(ink, mark, text) about ROW, in about two lines of WIDTH cells."""
        waits_for = waits(self.session, row.run) if row.state not in LIVE else None
        if waits_for is not None:
            return "dim", "…", f"queued: waits for {waits_for}"
        if row.state == "failed":
            return "bad", "✗", f"{one_line(row.failure, 2 * width - 40) or 'it failed'} · enter shows more"
        if row.state == "queued":
            return "dim", "…", "has not begun, and waits for nothing · r starts it"
        if row.state in steer.RESUMABLE:
            compares = " · c compares it as it is" if self._comparable(row) else ""
            mark = "!" if row.state == "interrupted" else "■"
            return "warn", mark, f"{row.state} · r {self._resume_text(row)}{compares}"
        if row.state == "running":
            eta = f", {duration(row.eta)} to go" if row.eta is not None else ""
            step = f", step {steps(row.step, row.total_steps)}" if row.step else ""
            return "good", "▶", f"being trained now{step}{eta} · enter shows it live"
        if row.state == "paused":
            return "warn", "‖", "paused, with the model kept in memory · enter, then p goes on"
        if row.word == "collapsed":
            return "bad", "!", "collapsed: worth less than before training · enter shows where · c compares"
        if row.state == "done":
            return "good", "✓", "done · enter shows its curves · c compares base and tuned"
        return "dim", "", ""

    def _comparable(self, row: Summary) -> bool:
        key = (row.run.path, row.state)
        if self._has_model[0] != key:
            self._has_model = (key, steer.comparable(row.run, row.state))
        return self._has_model[1]

    def _resume_text(self, row: Summary) -> str:
        key = (row.run.path, row.state)
        if self._resumable[0] != key:
            self._resumable = (key, steer.resume_text(steer.last_step(row.run)))
        return self._resumable[1]

    def on_table_moved(self, event: Table.Moved) -> None:
        """Another run is under the cursor."""
        event.stop()
        self._show_chosen()
        self.refresh_shell()

    def on_table_chosen(self, event: Table.Chosen) -> None:
        """Enter."""
        event.stop()
        self.action_open()

    def current_actions(self) -> tuple[Action, ...]:
        row = self.chosen
        if row is None:
            return (FILTER, BACK) if self._filter else (DATA, MAKE)
        every = (ALL,) if len(self._broken()) > 1 else ()
        view = (INFO, FILTER, ORDER, TURN)
        if row.state in LIVE:
            return (OPEN, STOP, *every, *view, BACK)
        if waits(self.session, row.run) is not None:
            return (OPEN, TAKE_BACK, *every, *view, BACK)
        more = ((RESUME,) if row.state in steer.RESUMABLE else ()) + ((COMPARE,) if self._comparable(row) else ())
        return (OPEN, *more, *every, *view, DELETE, BACK)

    def _broken(self) -> list[Summary]:
        """The runs that were interrupted or never began, and that nobody will train by itself; the oldest first."""
        left = [row for row in reversed(self.catalogue.rows) if row.state in ("interrupted", "queued")]
        return [row for row in left if waits(self.session, row.run) is None]

    # -- actions -----------------------------------------------------------------------------------------------------
    def action_open(self) -> None:
        """Show the run on Train."""
        if (row := self.chosen) is not None:
            self.session.view_run(row.run)
            self.studio.action_go("train")

    def action_compare(self) -> None:
        """Show the run on Compare."""
        row = self.chosen
        if row is None:
            return
        if not steer.comparable(row.run, row.state):
            self.studio.tell(f"{row.name} is {row.state} and has saved no model yet.")
            return
        self.session.view_run(row.run)
        self.studio.action_go("compare")

    def action_resume(self) -> None:
        """Go on with the run, and show it."""
        row = self.chosen
        if row is None:
            return
        try:
            if steer.resume(self.studio, row.run, row.run.state()):
                self.session.view_run(row.run)
                self.studio.action_go("train")
        except Exception as error:
            self.studio.show_error(error)

    def action_resume_all(self) -> None:
        """Go on with all interrupted runs and those that never began, one after another, after asking."""
        rows = self._broken()
        if not rows:
            self.studio.tell("No run was interrupted, and none waits for nothing.")
            return

        def chosen(answer: str | None) -> None:
            if answer != "r":
                return
            done = [row for row in rows if self.attempt(partial(steer.take_up, self.session, row.run))]
            if done:
                more = f", {len(done) - 1} more after it" if len(done) > 1 else ""
                self.studio.tell(f"{done[0].name} goes on{more}.")
            self._show()

        broken = sum(row.state == "interrupted" for row in rows)
        parts = [f"{broken} interrupted (from the last checkpoint)"] if broken else []
        parts += [f"{len(rows) - broken} that never began"] if len(rows) > broken else []
        title = f"Train {len(rows)} run{'s' if len(rows) > 1 else ''}, one after another?"
        text = f"{' and '.join(parts)}; the oldest first."
        self.studio.push_screen(Ask(title, text, {"r": "go on with all"}), chosen)

    def action_order(self) -> None:
        """The next order."""
        self._order, self._turned = (self._order + 1) % len(ORDERS), False
        self._choose_rows(None)
        self._show()

    def action_turn(self) -> None:
        """The other way round."""
        self._turned = not self._turned
        self._choose_rows(None)
        self._show()

    def action_stop(self) -> None:
        """Stop the run, after asking."""
        row = self.chosen
        if row is None:
            return

        def stop() -> None:
            try:
                waiting = row.run.owner() is None  # then asking says itself what becomes of it
                if steer.request(self.studio, row.run, "stop") and not waiting:
                    self.studio.tell(f"{row.name} saves a checkpoint and stops.")
            except Exception as error:
                self.studio.show_error(error)

        steer.ask_stop(self.studio, row.run, stop)

    def action_delete(self) -> None:
        """Move the run to the trash, after asking."""
        row = self.chosen
        if row is None:
            return
        if row.run.owner() is not None:
            self.studio.tell(f"{row.name} is being trained: stop it first (s).")
            return
        if (waits_for := waits(self.session, row.run)) is not None:
            self.studio.tell(f"{row.name} waits for {waits_for}: take it out of the queue first (s).")
            return
        if steer.works_on(self.session, row.run):
            self.studio.tell(f"{row.name} is being compared or answers: stop that first.")
            return

        def chosen(answer: str | None) -> None:
            if answer != "d":
                return
            try:
                trash = self.session.workspace.delete_run(row.run)
            except StudioError as error:
                self.studio.show_error(error)
                return
            feed = self.session.feed
            if feed is not None and feed.run.path == row.run.path:
                self.session.view_run(None)
            self.catalogue.forget(row.run)
            self._show()
            self.studio.tell(f"{row.name} lies in {trash} now.")

        trash_path = self.session.workspace.path / "trash"
        self.studio.push_screen(
            Ask(
                f"Delete {row.name}?",
                f"It is moved to the trash and stays there until you remove it:\n{shown(trash_path)}",
                {"d": "delete"},
            ),
            chosen,
        )

    def action_filter(self) -> None:
        """Ask for words that runs must hold."""

        def typed(text: str | None) -> None:
            if text is not None:
                self._set_filter(text.strip())

        hint = "Words of name, state, task, method or model, such as: failed qlora. Empty shows all."
        self.studio.push_screen(Prompt("Filter the runs", self._filter, hint), typed)

    def _set_filter(self, text: str) -> None:
        self._filter = text
        self._choose_rows(self.chosen)
        self._show()

    def action_info(self) -> None:
        """Show or hide the recipe."""
        self.toggle_class("-info")
        if not self.has_class("-info"):
            self.query_one(Table).focus()
        self._show_chosen()

    def action_back(self) -> None:
        """One level back: info, then filter."""
        if self.has_class("-info"):
            self.action_info()
        elif self._filter:
            self._set_filter("")
