"""The Train screen: the run in view, live or past, and the keys that steer it."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.containers import Grid, Horizontal, Vertical
from textual.widgets import Static

from ftstudio.core.errors import StudioError
from ftstudio.ui.plot.chart import LinePlot
from ftstudio.ui.shell.actions import Action, bindings
from ftstudio.ui.shell.dialogs import Prompt
from ftstudio.ui.shell.session import RunFeed
from ftstudio.ui.text.empty import nothing
from ftstudio.ui.text.following import waits
from ftstudio.ui.text.said import Said
from ftstudio.ui.text.table import Table
from ftstudio.ui.train import actions, course, side, steer, together
from ftstudio.ui.train.asked import Asked
from ftstudio.ui.train.logview import LogView
from ftstudio.ui.train.notice import KEYS, MOST, MOST_FAILED, PHASES, lines_of, notice
from ftstudio.ui.train.receipt import Receipt
from ftstudio.ui.train.replay import Replay
from ftstudio.ui.train.rowmap import RowMapPage
from ftstudio.ui.train.samples import SamplePanel
from ftstudio.ui.train.viewing import Viewing

SIDE_SECONDS = 0.9  # between two looks at the numbers beside the chart
OWNER_SECONDS = 5.0  # between two looks at who trains
SWEEP_SECONDS = 2.0  # between two looks at the other runs of a sweep
OPENED = frozenset(("-log", "-samples", "-rows"))  # what may stand in the place of the charts


class TrainScreen(Viewing):
    """Chart, numbers, samples; or the log; or the samples in full."""

    MODE = "train"
    SHOWS_RUN = True
    TITLE_TEXT = "Train: is it learning?"
    HELP = """
The chart shows the loss: how surprised the model is by the right answer, in nats a token. Lower is better. Dots are
single steps, the thick line is smoothed, ○ is the loss on held-out rows the model never trains on: when ○ rises while
the line falls, the model memorises instead of learning, and the lowest ○ ("best") was the better model.

A step is one change of the weights. An epoch is one pass over all training rows. lr is the learning rate, how large a
change may be; it usually warms up and then fades. The gradient norm says how strongly the rows pull at the weights:
sudden peaks mean trouble. tokens/s counts tokens that are not padding; MFU is how much of what the card could compute
at best the training uses (model FLOPs utilisation; a third is good). "trains" is how many of the model's weights
learn: all with full, a few percent with LoRA and QLoRA, which add small matrices beside frozen weights.

The sample below is a held-out prompt answered at every evaluation: by the base model, by the model as it is now, and
the reference. Pausing keeps the model in memory. Closing the terminal stops nothing: training goes on, and opening
the studio again shows it live. All keys work on runs that another process trains, too.

forget is what the model has lost off its task, measured at every evaluation: how many more bits a byte (bpb) general
text costs it than the base, and how far its next words moved from the base's on neutral prompts (KL divergence, nats a
token; 0 is not at all); of an encoder-decoder the second halves of the texts, which it writes after the first, of a
masked model the hidden words. ▲ marks more than 0.05 bpb: a lower learning rate, fewer steps or general rows mixed in
help. The base is the model as it was, also where the recipe leaves layers out or adds tokens.

T gives a run that is done more steps, from its last checkpoint on; without the studio that is `ftstudio train --resume
RUN training.steps=N`, and `--resume RUN@STEP` begins a new run at an earlier checkpoint that was kept.

← → put a cursor on the chart, + and - show a part. ▴ on the axis is where learning rate or length were changed; the
cursor tells to what. o lays other runs over and pins a baseline (▲ in the legend): its held-out loss, and how far this
run's lies below (▼) or above (▲) it, at the same step while it trains and best beside best at the end. h maps the
training rows: those the model never becomes sure of are where wrong labels sit.
"""
    ACTIONS = actions.ALL_ACTIONS
    BINDINGS = bindings(*ACTIONS)
    AUTO_FOCUS = ""
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall"), (44, "-taller")]

    DEFAULT_CSS = """
    TrainScreen #train-empty { display: none; }
    TrainScreen.-nothing #train-empty { display: block; height: 1fr; }
    TrainScreen.-nothing #charts, TrainScreen.-nothing #log, TrainScreen.-nothing #notice { display: none; }
    TrainScreen #charts { height: 1fr; }
    TrainScreen #upper { height: 1fr; }
    TrainScreen LinePlot { width: 1fr; height: 1fr; }
    TrainScreen #all { display: none; grid-size: 2 2; }
    TrainScreen.-wide #all, TrainScreen.-huge #all { grid-size: 3 2; }
    TrainScreen.-narrow #all .second { display: none; }
    TrainScreen.-all #upper { display: none; }
    TrainScreen.-all #all { display: block; height: 1fr; }
    TrainScreen.-all SamplePanel { display: none; }
    TrainScreen.-samples #all { display: none; }
    TrainScreen.-samples SamplePanel { display: block; }
    TrainScreen #side { width: 25; height: 1fr; padding: 1 0 0 1; }
    TrainScreen.-wide #side { width: 33; }
    TrainScreen.-huge #side { width: 42; }
    TrainScreen.-tall SamplePanel { height: 11; }
    TrainScreen.-taller SamplePanel { height: 15; }
    TrainScreen #notice { height: auto; min-height: 1; }
    TrainScreen #log, TrainScreen RowMapPage { display: none; }
    TrainScreen.-rows #charts { display: none; }
    TrainScreen.-rows RowMapPage { display: block; }
    TrainScreen.-tall RowText { height: 9; }
    TrainScreen.-taller RowText { height: 13; }
    TrainScreen.-log RowMapPage { display: none; }
    TrainScreen.-log #charts { display: none; }
    TrainScreen.-log #log { display: block; }
    TrainScreen.-samples #upper { display: none; }
    TrainScreen.-samples SamplePanel { height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: RunFeed | None = None
        self._asked: Asked | None = None
        self._receipt: Receipt | None = None  # what is said once that is answered
        self._owner = ("", 0.0)  # who trains, where it isn't this process; and when to look again
        self._sweep: tuple[object, str, float] = (None, "", 0.0)  # of which runs, what is told, and when to look again
        self._sweep_of: Path | None = None  # which run that is told beside
        self._side: tuple[object, float] = (None, 0.0)  # what the numbers were last shown for, and when next
        self._checkpoint: tuple[object, int | None] = (None, None)
        self._has_model: tuple[object, bool] = (None, False)

    def compose_body(self) -> ComposeResult:
        with Vertical(id="charts"):
            with Horizontal(id="upper"):
                yield LinePlot(id="plot")
                yield Said(id="side")
            with Grid(id="all"):
                for place in range(6):
                    yield LinePlot(classes="second" if place > 3 else "")
            yield SamplePanel(id="samples")
        yield RowMapPage()
        yield LogView(id="log")
        yield Said(grow=True, id="notice")
        yield Static(
            nothing(
                "No run is in view.",
                ("3", "makes a recipe and starts training"),
                ("6", "opens an earlier run"),
                ("1", "looks at your data first"),
            ),
            id="train-empty",
            classes="empty",
        )

    # -- bringing up to date -----------------------------------------------------------------------------------------
    def pull(self) -> None:
        feed = self.session.feed
        self.set_class(feed is None, "-nothing")
        if feed is None:
            return
        if feed is not self._seen:
            self._seen, self._asked, self._owner = feed, None, ("", 0.0)
            self.begin_viewing()
            self._to_charts()
        if self.replay is not None:
            self.replay.poll()
        shown = self.replay or feed
        if self.has_class("-log"):
            self.query_one(LogView).open(feed.run.log_path)
        elif self.has_class("-rows"):
            self.show_rows(feed)
        elif self.has_class("-samples"):
            self.query_one(SamplePanel).show(shown.story)
        else:
            self.show_charts(shown, self._before_first_point(shown))
            if not self.has_class("-all"):
                self._show_side(shown)
                self.query_one(SamplePanel).show(shown.story)
        self._show_notice(feed)

    def _to_charts(self) -> None:
        """What was open of another run, its log, samples or rows, is shut."""
        panel = self.query_one(SamplePanel)
        panel.index, panel.top, panel.opened = 0, 0, False
        if self.classes & OPENED:
            self.remove_class(*OPENED)
            self.set_focus(None)

    def _before_first_point(self, feed: RunFeed | Replay) -> str:
        if feed.state == "replay":
            return "the replay begins before the first step"
        if feed.state == "running":
            phase = feed.story.phase
            return PHASES.get(phase, phase) if phase not in ("", "training") else "the first step is on its way"
        if waits(self.session, feed.run) is not None:
            return "queued"
        return {"queued": "not begun", "paused": "paused"}.get(feed.state, f"{feed.state} before the first step")

    def _show_side(self, feed: RunFeed | Replay) -> None:
        panel = self.query_one("#side", Said)
        # nearly every figure changes with every step: once a second is as much as one can read
        now, key = time.monotonic(), (feed, feed.state, panel.size)
        if key == self._side[0] and now < self._side[1]:
            return
        self._side = (key, now + SIDE_SECONDS)
        baseline = self.overlays.baseline(feed.run.name)
        size = max(10, panel.size.width - 1), max(1, panel.size.height)
        differ = self.differing(feed) if baseline is not None and baseline.best else None
        panel.say(*side.lines(feed.story, feed.state, *size, baseline, differ))

    def _show_notice(self, feed: RunFeed) -> None:
        panel = self.query_one("#notice", Said)
        if self.replay is not None:
            panel.say(*lines_of("key", "▶", self.replay.told, max(20, self.app.size.width - 3)))
            return
        if self.window.cursor is not None and not self.has_class("-all"):
            text = self.query_one("#plot", LinePlot).readout
            panel.say(*lines_of("key", "│", text, max(20, self.app.size.width - 3)))
            return
        waits_for = waits(self.session, feed.run) if feed.state not in steer.LIVE else None
        ink, mark, text = notice(
            feed.story,
            feed.state,
            waits_for=waits_for,
            asked=self._pending(feed),
            resumable=self._resumable(feed),
            comparable=self._comparable(feed),
            elsewhere=self._elsewhere(feed) if feed.state in steer.LIVE else "",
            keys=self.app.size.width < 100 and not (self.classes & OPENED),
            read=self.alerts_read,
            held=feed.held,
        )
        if feed.state in together.ENDED and waits_for is None and (of_all := self._of_sweep(feed)):
            text = f"{text} · {of_all}"
        if self.has_class("-all") and self.all_told:
            text = self.all_told if text in ("", KEYS) else f"{text} · {self.all_told}"
        most = MOST_FAILED if feed.state == "failed" else MOST
        panel.say(*lines_of(ink, mark, text, max(20, self.app.size.width - 3), most))

    def _of_sweep(self, feed: RunFeed) -> str:
        """How the sweep goes that the run is of; empty where it is of none."""
        now = time.monotonic()
        if feed.run.path != self._sweep_of or now >= self._sweep[2]:
            self._sweep_of = feed.run.path
            key = together.key(feed.run)
            told, stays = self._sweep[1], key == self._sweep[0]
            if not stays:
                told, stays = together.told(self.session, feed.run)  # in the end all of its runs' events are read
            self._sweep = (key if stays else None, told, now + SWEEP_SECONDS)
        return self._sweep[1]

    def _pending(self, feed: RunFeed) -> str:
        """What was asked and not answered yet."""
        if self._asked is not None and self._asked.answered(feed):
            self._asked = None
            if self._receipt is not None and (text := self._receipt.text(feed)):
                self.studio.tell(text)
        return self._asked.told if self._asked is not None else ""

    def _elsewhere(self, feed: RunFeed) -> str:
        """Who trains the run, where it isn't this process."""
        now = time.monotonic()
        if now >= self._owner[1]:
            self._owner = (steer.elsewhere(feed.run), now + OWNER_SECONDS)
        return self._owner[0]

    def _resumable(self, feed: RunFeed) -> str:
        """What `r` would do; the checkpoints are looked at again only when the run's state has changed."""
        key = (feed.run.path, feed.state, len(feed.story.checkpoints))
        if self._checkpoint[0] != key:
            self._checkpoint = (key, steer.last_step(feed.run) if feed.state in steer.RESUMABLE else None)
        return steer.resume_text(self._checkpoint[1])

    def _comparable(self, feed: RunFeed) -> bool:
        """Whether there is a model to compare; looked at again only when the run's state has changed."""
        key = (feed.run.path, feed.state)
        if self._has_model[0] != key:
            self._has_model = (key, steer.comparable(feed.run, feed.state))
        return self._has_model[1]

    def on_resize(self, event: events.Resize) -> None:
        if self.is_mounted:
            self.call_after_refresh(self.pull)

    @property
    def gives_way(self) -> bool:
        """See StudioScreen."""
        apart = self.window.shown is not None or self.window.cursor is not None
        return not (apart or self.replay is not None or self.classes & OPENED)

    # -- which keys work now -----------------------------------------------------------------------------------------
    def current_actions(self) -> tuple[Action, ...]:
        feed = self.session.feed
        if feed is None:
            return ()
        state = feed.state if self.replay is None else self.replay.state
        if state in steer.RESUMABLE and waits(self.session, feed.run) is not None:
            state = actions.WAITS
        return actions.working(
            state,
            log=self.has_class("-log"),
            samples=self.has_class("-samples"),
            rows=self.has_class("-rows"),
            apart=self.window.shown is not None or self.window.cursor is not None,
            alerts=bool(feed.story.alerts),
            model=self._comparable(feed),
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Some keys mean another thing where the charts aren't in view, or nothing."""
        if action in actions.OF_CHARTS:
            return not (self.has_class("-log") or self.has_class("-samples") or self.has_class("-rows"))
        if action == "aside":
            return self.has_class("-log")
        if action in actions.OF_ROWS or action == "compare":
            return self.has_class("-rows") == (action != "compare")
        return super().check_action(action, parameters)

    def on_table_chosen(self, event: Table.Chosen) -> None:
        """Enter on a row of the map."""
        event.stop()
        self.action_rows_to_data()

    # -- steering ----------------------------------------------------------------------------------------------------
    def _ask(self, what: str, **fields: Any) -> None:
        feed = self.session.feed
        if feed is None:
            return
        try:
            sent = steer.request(self.studio, feed.run, what, **fields)
        except StudioError as error:  # a full disk, a run folder that is not ours to write
            self.studio.show_error(error)
            return
        if sent:
            self._asked, self._receipt = Asked.now(what, feed), Receipt.now(what, feed)
            self._show_notice(feed)

    def action_pause(self) -> None:
        """Pause, or go on."""
        feed = self.session.feed
        self._ask("resume" if feed is not None and feed.state == "paused" else "pause")

    def action_stop(self) -> None:
        """Stop, after asking."""
        if self.session.feed is not None:
            steer.ask_stop(self.studio, self.session.feed.run, lambda: self._ask("stop"))

    def action_checkpoint(self) -> None:
        """Save a checkpoint."""
        self._ask("checkpoint")

    def action_evaluate(self) -> None:
        """Evaluate now."""
        self._ask("evaluate")

    def action_rate(self) -> None:
        """Ask for another learning rate."""
        feed = self.session.feed
        if feed is None or feed.state not in steer.LIVE:
            return
        now = course.peak(feed.run, feed.story)

        def check(text: str) -> object:
            return text.strip() and course.rate_of(text, now)

        def typed(text: str | None) -> None:
            if text and text.strip():
                self.attempt(lambda: self._ask("learning_rate", value=course.rate_of(text, now)))

        told = "–" if now is None else f"{now:g}"
        hint = f"its peak is {told} now; a number such as 1e-4, or x0.5 for half"
        self.studio.push_screen(Prompt("Which learning rate from here on?", "", hint, check=check), typed)

    def action_length(self) -> None:
        """Ask for more or fewer steps."""
        feed = self.session.feed
        if feed is None or feed.state not in (*steer.LIVE, "done"):
            return
        done = feed.state == "done"

        def meant(text: str) -> int:
            return course.steps_of(text, feed.story.step, feed.story.total_steps, ended=done)

        def check(text: str) -> object:
            return text.strip() and meant(text)

        def typed(text: str | None) -> None:
            if text and text.strip():
                run = feed.run
                on = (
                    partial(steer.train_on, self.studio, run) if done else lambda total: self._ask("steps", value=total)
                )
                self.attempt(lambda: on(meant(text)))

        hint = f"{feed.story.total_steps or '?'} now; all in all, or +100 for more, -50 for fewer"
        title = "How many steps?"
        if done:
            hint = f"{feed.story.step} are taken; all in all, or +100. The rate follows the schedule of so long a run"
            title = "Train on to how many steps?"
        self.studio.push_screen(Prompt(title, "", hint, check=check), typed)

    def action_resume(self) -> None:
        """Go on with a run nobody works on."""
        feed = self.session.feed
        if feed is None:
            return
        try:
            steer.resume(self.studio, feed.run, feed.state)
        except Exception as error:  # reading checkpoints and starting the worker import much: a fault is told
            self.studio.show_error(error)
        self.pull()

    def action_compare(self) -> None:
        """To the comparison."""
        feed = self.session.feed
        if feed is not None and self._comparable(feed):
            self.studio.action_go("compare")
        elif feed is not None:
            self.studio.tell(f"{feed.run.name} is {feed.state} and has saved no model yet.")

    # -- the view ----------------------------------------------------------------------------------------------------
    def action_sample(self, by: int) -> None:
        """The next or previous sample."""
        self.query_one(SamplePanel).turn(by)
        self.pull()

    def action_samples(self) -> None:
        """Samples in full, or back."""
        panel = self.query_one(SamplePanel)
        self.remove_class("-log", "-rows")
        self.toggle_class("-samples")
        panel.opened = self.has_class("-samples")
        panel.top = 0
        self.set_focus(panel if panel.opened else None)
        self.pull()

    def action_log(self) -> None:
        """The log, or back."""
        if self.session.feed is None:
            return
        if self.has_class("-samples"):
            self.action_samples()
        self.remove_class("-rows")
        self.toggle_class("-log")
        self.set_focus(self.query_one(LogView) if self.has_class("-log") else None)
        self.pull()

    def action_back(self) -> None:
        """Back to the chart."""
        if self.has_class("-log"):
            self.action_log()
        elif self.has_class("-rows"):
            self.action_rows()
        elif self.has_class("-samples"):
            self.action_samples()
        elif self.window.shown is not None or self.window.cursor is not None:
            self.action_whole()
        elif self.replay is not None:
            self.action_replay()
        elif self.has_class("-all"):
            self.action_all()

    def action_difference(self) -> None:
        """Of the answers where the samples are in full view, else of the recipes."""
        if self.has_class("-samples"):
            self.query_one(SamplePanel).next_difference()
            self.pull()
        elif not (self.has_class("-log") or self.has_class("-rows")):
            self.recipe_difference()

    def action_find(self) -> None:
        """Ask what to search the log for."""
        if not self.has_class("-log"):
            return
        view = self.query_one(LogView)

        def typed(text: str | None) -> None:
            if text is not None:
                view.look_for(text, anew=True)

        self.studio.push_screen(Prompt("Search the log", view.pattern, "any part of a line; empty ends it"), typed)

    def action_again(self, backwards: int) -> None:
        """The next or previous place."""
        view = self.query_one(LogView)
        if self.has_class("-log") and view.pattern:
            view.look_for(view.pattern, backwards=bool(backwards))

    def action_follow(self) -> None:
        """To the end of the log."""
        if self.has_class("-log"):
            self.query_one(LogView).action_follow()

    def action_aside(self, by: int) -> None:
        """To the right of long lines of the log, or back."""
        if self.has_class("-log"):
            self.query_one(LogView).action_aside(by)

    def on_log_view_not_found(self, event: LogView.NotFound) -> None:
        """Say so."""
        event.stop()
        self.studio.tell("It stands nowhere further on.")
