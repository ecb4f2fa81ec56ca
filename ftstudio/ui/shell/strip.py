"""The two lines on top of every screen: where one is, what the run in view is doing, and which other run trains."""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from ftstudio.core.run import state_word
from ftstudio.core.text import duration, number, one_line
from ftstudio.ui.shell.bell import LIVE, warnings
from ftstudio.ui.shell.session import Session
from ftstudio.ui.text.following import waits
from ftstudio.ui.text.inks import Inks
from ftstudio.ui.text.lines import fit

MODES = (
    ("data", "Data"),
    ("errors", "Errors"),
    ("recipe", "Recipe"),
    ("train", "Train"),
    ("compare", "Compare"),
    ("runs", "Runs"),
)
MARKS = {
    "queued": "…", "running": "▶", "paused": "‖", "stopped": "■", "failed": "✗", "interrupted": "!", "done": "✓",
    "collapsed": "!",
}  # fmt: skip

INKS = {
    "here": "bold $accent", "text": "$foreground", "dim": "$foreground 60%", "good": "$success", "bad": "bold $error",
}  # fmt: skip


BESIDE = 24  # cells of the other run's name on a narrow terminal
GAP = 3  # cells around it


class TopStrip(Widget, can_focus=False):
    """Line 1: the screens and the run's name. Line 2: state, step, epoch, loss, eval, speed, ETA, GPU; the run that
    trains."""

    DEFAULT_CSS = "TopStrip { height: 2; dock: top; background: $panel; }"

    def __init__(self, session: Session, mode: str) -> None:
        super().__init__()
        self._inks = Inks(self, INKS)
        self.session = session
        self.mode = mode
        self._shown: tuple[str, tuple[str, str], str] | None = None

    def update_from(self) -> None:
        """Redraw where what is shown has changed; nothing is written to the terminal otherwise."""
        now = self._now()
        if now != self._shown:
            place_changed = self._shown is None or now[0] != self._shown[0]
            self._shown = now
            self.refresh(*([] if place_changed else [Region(0, 1, self.size.width, 1)]))

    def on_resize(self) -> None:
        """What fits is another now; before the first layout nothing did."""
        self.update_from()

    def _place(self) -> str:
        feed = self.session.feed
        return feed.run.name if feed is not None else str(self.session.workspace.path.name)

    def _now(self) -> tuple[str, tuple[str, str], str]:
        """What is shown: the place, the status, and the run that trains beside it."""
        beside = self._beside()
        return self._place(), self._status(self.size.width - (cell_len(beside) + GAP if beside else 0)), beside

    def _beside(self) -> str:
        """The run that this process trains, where another one is in view, and how often it has warned."""
        training, feed = self.session.training, self.session.feed
        if training is None or (feed is not None and feed.run.path == training.path):
            return ""
        heard = self.session.hearing.of(training.path)
        mark = MARKS["paused" if heard is not None and heard.paused else "running"]
        warned = f" ! {heard.warned}" if heard is not None and heard.warned else ""
        return f"{mark} {fit(one_line(training.name, 200), max(BESIDE, self.size.width // 3), 'ends').rstrip()}{warned}"

    def _status(self, room: int) -> tuple[str, str]:
        """(state, the rest of line 2, in ROOM cells if that can be)."""
        feed = self.session.feed
        if feed is None:
            return "", "no run in view · 3 makes a recipe and starts one"
        story, state = feed.story, feed.state
        if state not in ("running", "paused", "done") and (waits_for := waits(self.session, feed.run)) is not None:
            return "queued", f"waits for {one_line(waits_for, 80)}"
        if state == "queued":
            return state, "not begun"
        if state == "failed" and story.failure:
            return state, one_line(story.failure.get("text", "failed"), 200)
        if state == "running" and not story.step:
            told = story.last_state or {}
            said = [one_line(part, 80) for part in (story.phase, told.get("text")) if part]
            return state, ": ".join(said) or "beginning"
        total = f"/{story.total_steps}" if story.total_steps else ""
        # what is told, and what goes first (the highest number) where the line is too short for all
        parts = [(0, f"step {story.step}{total}")]
        if state in LIVE and (count := warnings(story)):
            parts.append((1, f"! {count} alert{'s' * (count > 1)}"))
        epoch, epochs = story.last_step.get("epoch"), story.start.get("epochs")
        if epoch is not None:
            digits = ".1f" if not epochs or epochs >= 1 else ".2g"  # of less than one pass: hundredths and on
            whole = f"/{epochs:{digits}}".removesuffix(".0") if epochs else ""
            parts.append((4, f"epoch {epoch:{digits}}{whole}"))
        if story.loss is not None:
            parts.append((0, f"loss {number(story.loss)}{self._trend()}"))
        if story.eval_loss is not None:
            parts.append((2, f"eval {number(story.eval_loss)}"))
        speed = story.last_step.get("tokens_per_second")
        if speed and state == "running" and feed.held is None:
            parts.append((3, f"{speed / 1000:.1f}k tok/s" if speed >= 1000 else f"{speed:.0f} tok/s"))
        if feed.held is not None:  # what is told is old
            parts.append((0, "nothing written since"))
        elif state == "running":
            phase = story.phase
            parts.append((0, f"ETA {duration(story.eta)}" if phase in ("", "training") else phase))
        gpus = story.telemetry.get("gpus") or []
        if gpus and state == "running" and gpus[0].get("use") is not None:
            parts.append((1, f"GPU {gpus[0]['use']:.0f}%"))
        word = state_word(state, story.collapsed)
        return word, fitting(parts, room - len(self._head(word)))

    def _head(self, state: str) -> str:
        """The state's mark, and its name where there is room or it isn't the usual one."""
        mark = MARKS.get(state, " ")
        return f" {mark} " if state == "running" and self.size.width < 100 else f" {mark} {state}  "

    def _trend(self) -> str:
        points = self.session.feed.story.curves.get("loss", []) if self.session.feed else []
        if len(points) < 20:
            return ""
        recent = sum(value for _, value in points[-10:]) / 10
        before = sum(value for _, value in points[-20:-10]) / 10
        return " ▼" if recent < before * 0.995 else " ▲" if recent > before * 1.005 else " ="

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._inks.forget()

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        width = self.size.width
        shown = self._shown = self._shown or self._now()
        segments = self._line_one(width, shown[0]) if y == 0 else self._line_two(width, *shown[1], shown[2])
        return Strip(segments).adjust_cell_length(width, base).apply_style(base)

    def _line_one(self, width: int, place: str) -> list[Segment]:
        segments, used = [Segment(" ")], 1
        for index, (mode, title) in enumerate(MODES, 1):
            here = mode == self.mode
            text = f"▸{index} {title}◂" if here else f" {index} {title} "
            segments.append(Segment(text, self._inks["here" if here else "text"]))
            used += len(text)
        name = fit(one_line(place, 200), max(0, width - used - 2), "ends").rstrip()
        if width - used - len(name) - 1 >= 1:
            segments += [Segment(" " * (width - used - len(name) - 1)), Segment(name, self._inks["dim"])]
        return segments

    def _line_two(self, width: int, state: str, text: str, beside: str) -> list[Segment]:
        bad = dict.fromkeys(("failed", "interrupted", "collapsed"), "bad")
        style = (bad | {"done": "good", "running": "good"}).get(state, "dim")
        head = Segment(self._head(state), self._inks[style]) if state else Segment("  ")
        ink = self._inks["text" if state else "dim"]
        if not beside:
            return [head, Segment(text, ink)]
        room = max(0, width - len(head.text) - cell_len(beside) - GAP)
        text = f"{fit(text, room)}{' ' * (GAP - 1)}"
        return [head, Segment(text, ink), Segment(beside, self._inks["good"])]


def fitting(parts: list[tuple[int, str]], width: int) -> str:
    """PARTS (rank, text) in one line of WIDTH cells, without those of the highest rank where they don't fit."""
    kept = list(parts)
    while sum(len(text) + 2 for _, text in kept) > width + 2 and any(rank for rank, _ in kept):
        kept.remove(max(kept, key=lambda part: part[0]))
    return "  ".join(text for _, text in kept)
