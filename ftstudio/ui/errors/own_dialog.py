"""A category of one's own, with a live look at what it catches while it is written."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Input, Static

from ftstudio.core.errors import StudioError
from ftstudio.core.text import clean, one_line
from ftstudio.evaluation.categories import Finding
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.own import OwnCategory, catches, made
from ftstudio.evaluation.predictions import Prediction
from ftstudio.ui.common.background import Background, Ended, Ticked, Work
from ftstudio.ui.errors.marks import percent
from ftstudio.ui.text.lines import Line, Lines, fit
from ftstudio.ui.text.marked import mark
from ftstudio.ui.text.safe import SafeInput
from ftstudio.ui.text.said import Said, wrapped

WAIT = 0.25  # seconds after the last letter before it is tried
FIELDS = (
    ("name", "name", "letters, digits, _: rude"),
    ("pattern", "pattern", "a regular expression that is looked for in the output"),
    ("when", "or condition", 'words(output) > 20 and not matches(output, "sorry")'),
    ("key", "key", "the letter that tags with it; left out: a free one"),
    ("mark", "mark", "one sign: !"),
    ("colour", "colour", "red, green, yellow, blue, magenta, cyan, bright_red, …"),
    ("help", "help", "one sentence on what it means"),
)
Found = tuple[OwnCategory, list[Finding | None], int]


class Caught(Lines, can_focus=False):
    """The rows that the category catches, what it saw marked."""

    DEFAULT_CSS = "Caught { height: 1fr; min-height: 3; background: $surface; }"

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[tuple[Prediction, Finding]] = []

    def show(self, rows: Sequence[tuple[Prediction, Finding]]) -> None:
        """Show ROWS from now on."""
        self._rows, self.total, self.top = list(rows), len(rows), 0
        self.paint()

    def line(self, index: int) -> Line:
        prediction, finding = self._rows[index]
        head = f"{prediction.row:>6}  "
        width = self.columns - len(head)
        start = max(0, min((span[0] for span in finding.spans), default=0) - width // 3)
        text = prediction.output[start : start + 2 * width].replace("\n", " ")
        spans = [(a - start, b - start, "mark") for a, b in finding.spans if a >= start]
        marked = mark(text, spans)
        cut = marked.text[:width]
        parts: list[tuple[str, str]] = [(head, "dim")]
        at = 0
        for first, last, ink in marked.spans:
            if first < len(cut):
                parts += [(cut[at:first], ""), (cut[first:last], ink)]
                at = min(last, len(cut))
        parts.append((fit(cut[at:], max(0, width - at)), ""))
        return tuple(parts)


class OwnDialog(ModalScreen[OwnCategory | None]):
    """Gives back the category once it is whole and accepted with ctrl+s; None for escape."""

    BINDINGS = [
        ("escape", "dismiss(None)", "back"),
        ("ctrl+s", "accept", "save"),
        ("down", "app.focus_next", "next field"),
        ("up", "app.focus_previous", "field before"),
    ]
    DEFAULT_CSS = """
    OwnDialog .dialog { height: 94%; }
    OwnDialog .field { height: 1; }
    OwnDialog .label { width: 14; color: $foreground 75%; }
    OwnDialog Said { background: $surface; margin-top: 1; }
    """

    def __init__(self, predictions: Sequence[Prediction], context: Context, others: Sequence[OwnCategory]) -> None:
        super().__init__()
        self.predictions, self.context, self.others = list(predictions), context, list(others)
        self.background = Background(self)
        self.found: OwnCategory | None = None
        self.fault = ""
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.styles.width = 110  # or as much as there is
            yield Static(Content("A category of your own"), classes="dialog-title")
            for key, label, hint in FIELDS:
                with Horizontal(classes="field"):
                    yield Static(Content(label), classes="label")
                    field = SafeInput(placeholder=hint, compact=True, id=f"own-{key}")
                    field.cursor_blink = False
                    yield field
            yield Said(id="own-said", grow=True)
            yield Caught()
            yield Static(Content("↑ ↓ fields · ctrl+s saves to categories.yaml · esc"), classes="dialog-hint")

    def on_mount(self) -> None:
        self._say([(("Type a name and a pattern or a condition: what it catches shows here.", "dim"),)])
        self.query_one("#own-name", Input).focus()

    def on_unmount(self) -> None:
        self.background.stop_all()

    @property
    def values(self) -> dict[str, str]:
        """What stands in the fields."""
        return {key: self.query_one(f"#own-{key}", Input).value for key, _, _ in FIELDS}

    def on_input_changed(self, event: Input.Changed) -> None:
        """Look again shortly after the last letter."""
        event.stop()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(WAIT, self._look)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes to the next field."""
        event.stop()
        self.focus_next()

    def _look(self) -> None:
        values = self.values
        values["name"] = values["name"] or "unnamed"
        self.background.stop("preview")
        try:
            own = made(values, self.others)
        except StudioError as error:
            self.found, self.fault = None, str(error).removeprefix("This category: ")
            self._say(wrapped(f"✗ {clean(self.fault, 400)}", self._width, "bad"))
            return
        self.found, self.fault = own, ""
        predictions, context = self.predictions, self.context

        def work(work: Work) -> Found:
            return (own, *catches(own, predictions, context, work.cancel))

        self.background.start("preview", "trying it", work, self._tried, self._failed)

    def _tried(self, found: Found) -> None:
        own, findings, unjudged = found
        caught = [
            (prediction, finding)
            for prediction, finding in zip(self.predictions, findings, strict=False)
            if finding is not None
        ]
        share = percent(len(caught) / len(findings)) if findings else "–"
        line: list[tuple[str, str]] = [
            (f"{own.mark} ", f"@{own.colour}"),
            (f"{own.title}", "strong"),
            (f"  key {own.key.upper()}  ", "dim"),
            (f"catches {len(caught):,} of {len(findings):,} answers ({share})", "key"),
        ]
        if own.pattern is None and own.when is None:
            line[-1] = ("nothing finds it: it is given by hand", "dim")
        if unjudged:
            line.append((f"  {unjudged:,} can't be judged", "warn"))
        self._say([tuple(line)])
        self.query_one(Caught).show(caught)

    def _failed(self, error: BaseException) -> None:
        self.found = None
        self._say(wrapped(f"✗ {one_line(error, 300)}", self._width, "bad"))

    @property
    def _width(self) -> int:
        return max(20, self.query_one("#own-said", Said).size.width - 1)

    def _say(self, lines: Sequence[Line]) -> None:
        self.query_one("#own-said", Said).say(*lines)
        if self.found is None:
            self.query_one(Caught).show([])

    def on_ticked(self, event: Ticked) -> None:
        """The preview takes no longer than a moment: nothing is told."""
        event.stop()

    def on_ended(self, event: Ended) -> None:
        """The preview is there."""
        event.stop()
        self.background.ended(event)

    def action_accept(self) -> None:
        """Give back the category, where it is one."""
        values = self.values
        try:
            self.dismiss(made(values, self.others))
        except StudioError as error:
            self._say(wrapped(f"✗ {clean(str(error).removeprefix('This category: '), 400)}", self._width, "bad"))
