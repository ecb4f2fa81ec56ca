"""Step 6: what the run would do, what is wrong with it, and the start."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.widget import Widget

from ftstudio.core import launch
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import duration, one_line, size
from ftstudio.core.workspace import slug
from ftstudio.data.checks import CHECKS
from ftstudio.engine import fit
from ftstudio.engine.pace import beside_training
from ftstudio.engine.prepare import run_stem
from ftstudio.ui.common.background import Background, Ended, Ticked
from ftstudio.ui.recipe import lessen
from ftstudio.ui.recipe.actions import SAVE, START
from ftstudio.ui.recipe.draft import Draft
from ftstudio.ui.recipe.panel import About, Drafted, Panel, explain, hung
from ftstudio.ui.text.lines import Line, Lines, Part
from ftstudio.ui.text.marked import wrap
from ftstudio.ui.text.said import Said

if TYPE_CHECKING:
    from ftstudio.ui.shell.session import Session

ACCEPTED = "data.accepted"
TOLD = {"good": ("✓ ", "good"), "warn": ("! ", "warn"), "bad": ("✗ ", "bad"), "note": ("· ", "dim")}
SIGNS = {"error": ("✗ ", "bad"), "warning": ("! ", "warn"), "note": ("· ", "dim")}


class StartLine(Lines):
    """Enter starts the run."""

    DEFAULT_CSS = "StartLine { height: 1; }"
    BINDINGS = [Binding("enter,space", "press", "start", show=False)]

    @dataclass
    class Pressed(Message):
        """The person wants to start."""

    def __init__(self) -> None:
        super().__init__(id="start-line")
        self.total = 1
        self.text = "Start training"
        self.ready = False

    def say(self, text: str, ready: bool) -> None:
        """Show TEXT; READY: nothing stands in the way."""
        self.text, self.ready = text, ready
        self.paint()

    def line(self, index: int) -> Line:
        return (("▶ " if self.ready else "  ", "good"), (self.text, "strong" if self.ready else "dim"))

    def ground(self, index: int) -> str:
        return "cursor" if self.has_focus else "resting"

    def action_press(self) -> None:
        """Start."""
        self.post_message(self.Pressed())

    def on_click(self, event: events.Click) -> None:
        self.action_press()


def _rows_of(recipe: Recipe) -> str:
    """What the loss of RECIPE goes by."""
    return f"{recipe.task} {recipe.options.get('loss')} {recipe.data.model_dump_json()}"


class ReviewPanel(Panel):
    """The plan in figures, its problems, and the line that starts it."""

    NAME, TITLE = "review", "Does it fit together?"
    WHAT = ""
    DEFAULT_CSS = "ReviewPanel Said { margin-top: 1; }"

    def __init__(self, draft: Draft, session: Session | None = None) -> None:
        super().__init__(draft)
        self.session = session
        self.workspace = session.workspace if session is not None else None
        self.background = Background(self)
        self.start_line = StartLine()
        self.planned: Recipe | None = None
        self.divisible: dict[str, bool] = {}  # whether a batch may be halved, as was found out for these rows
        self.plan: dict[str, Any] | None = None
        self.trouble = ""
        self.changes = lessen.Changes(draft)
        self._insisted: Recipe | None = None  # which fits, and is made less of all the same

    def compose_fields(self) -> Iterable[Widget]:
        yield self.start_line
        yield Said(grow=True, id="plan")

    def entered(self) -> None:
        self.start_line.focus()
        self.look()

    def show(self) -> None:
        if self.planned is not None and self.planned != self.draft.recipe:
            self.plan = self.planned = None
        if self.display:
            self.look()

    @property
    def compatible(self) -> bool:
        """Whether nothing is known that stops it."""
        return self.draft.recipe is not None and (self.plan is None or bool(self.plan.get("compatible")))

    def look(self) -> None:
        """Plan the recipe, off the thread, unless that was done."""
        recipe = self.draft.recipe
        if recipe is None:
            self.background.stop("plan")
            self._tell()
            return
        if recipe == self.planned:
            self._tell()
            return
        self._plan(recipe, "reading rows, counting tokens and parameters", False)

    def _plan(self, recipe: Recipe, text: str, measure: bool) -> None:
        self.planned, self.plan, self.trouble = recipe, None, ""
        session, workspace = self.session, self.workspace

        def run(work: Any) -> dict[str, Any]:
            from ftstudio.engine.plan import plan

            if measure and session is not None:
                session.unload()  # the steps are taken in a process of their own, which loads the model once more
            held = session.holds(recipe) if session is not None else 0
            return plan(
                recipe, progress=work.progress, cancel=work.cancel, measure=measure, workspace=workspace, held=held
            )

        self.background.start("plan", text, run, self._found, self._failed)
        self._tell()

    def measure(self, busy: bool) -> None:
        """Plan again with a few real steps; BUSY: not while the worker trains, which would falsify both."""
        recipe = self.draft.recipe
        if recipe is None or self.background.is_running("plan"):
            return
        if busy:
            self.trouble = "Something is running: measured beside it, neither time nor memory would be right."
            self._tell()
            self.trouble = ""
            return
        self._plan(recipe, "taking a few real steps", True)

    def lessen(self, tell: Callable[[str], None]) -> None:
        """Let less go through the model at once where that takes less memory; TELL what was done, or why nothing is."""
        recipe, known = self.draft.recipe, self.plan
        if recipe is None or known is None or self.background.is_running("plan"):
            tell("What the recipe takes isn't known yet." if recipe is not None else "It isn't a recipe yet.")
            return
        if why := lessen.refused(known, recipe):
            tell(why)
            return
        fits = lessen.fits(known)
        if fits and self._insisted != recipe:
            self._insisted = recipe
            tell(f"{fits}: nothing needs to be less. f again lets less go through at once all the same.")
            return
        divisible, session, workspace = self.divisible.get(_rows_of(recipe)), self.session, self.workspace
        held = session.holds(recipe) if session is not None else 0

        def run(work: Any) -> lessen.Less | None:
            from ftstudio.engine.plan import plan

            def planned(asked: Recipe) -> dict[str, Any]:
                return plan(asked, progress=work.progress, cancel=work.cancel, workspace=workspace, held=held)

            return lessen.find(recipe, known, divisible, planned)

        def done(found: lessen.Less | None) -> None:
            if self.draft.recipe != recipe:
                return
            if found is None:
                tell(f"Nothing that goes through at once makes it less. {fit.lighter(recipe, rows=True)}")
                self._tell()
                return
            self.changes.make(fit.changed(recipe, found.recipe))
            self.planned = self._insisted = self.draft.recipe  # who presses it again means it
            self._found(found.plan)
            self.post_message(Drafted())
            tell(f"Now {found.told} u takes it back.")

        self.background.start("plan", "looking for what takes less", run, done, self._failed)
        self._tell()

    def take_back(self, tell: Callable[[str], None]) -> None:
        """Undo what `lessen` did last; TELL it."""
        keys = self.changes.take_back()
        if keys:
            self.post_message(Drafted())
            tell(f"Taken back: {', '.join(keys)}.")

    def _found(self, found: dict[str, Any]) -> None:
        self.plan = found
        told = found["memory"].get("divisible")
        if self.planned is not None and told is not None:
            self.divisible = {_rows_of(self.planned): told}
        self._tell()

    def _failed(self, error: BaseException) -> None:
        self.trouble = explain(error)
        self._tell()

    def _tell(self) -> None:
        lines = self._lines(max(30, self.size.width - 2))
        self.query_one("#plan", Said).say(*lines)
        errors = [part for part in (self.plan or {}).get("problems", ()) if part.get("severity") == "error"]
        if self.draft.recipe is None:
            self.start_line.say("Not yet: something is missing or wrong", False)
        elif errors:
            count = len(errors)
            way = "; a accepts what is wrong in the rows" if len(self.acceptable) == count else " to solve first"
            self.start_line.say(f"Not yet: {count} problem{'s' if count > 1 else ''}{way}", False)
        else:
            self.start_line.say("Start training   enter or s", True)

    def _lines(self, width: int) -> list[Line]:
        if self.draft.recipe is None:
            lines: list[Line] = [(("Still to do, go back with esc:", "strong"),)]
            for key, text in self.draft.faults.items():
                lines += _hung(("✗ ", "bad"), f"{key}: {text}" if key else text, width)
            return lines
        work = self.background.running.get("plan")
        if work is not None:
            return [(("▶ ", "good"), (work.text, "strong"))]
        if self.trouble:
            return _hung(("✗ ", "bad"), self.trouble, width)
        return self._command(width) + _plan_lines(
            self.plan or {}, width, pairs=self.draft.get("task") == "few-shot-classification"
        )

    def _command(self, width: int) -> list[Line]:
        """The command that trains this without a screen, on all GPUs that the plan saw."""
        recipe, gpus = self.draft.recipe, int((self.plan or {}).get("gpus") or 0)
        if recipe is None or self.workspace is None or self.plan is None:
            return []
        path = self.workspace.presets_path / f"{slug(run_stem(recipe))}.yaml"
        rows = gpus * recipe.training.batch_size * recipe.training.gradient_accumulation
        note = "" if path.is_file() else f"after {SAVE.key.split(',')[0]} saved it there"
        if gpus > 1:
            note = "; ".join(filter(None, (f"all {gpus} GPUs, {rows} rows a step; {START.key[0]} trains on one", note)))
        near = os.path.relpath(path)
        place = self.workspace.path
        elsewhere = "" if place == Path("studio").absolute() else str(place)  # the command looks there
        text = launch.line(str(path) if near.startswith("..") else near, gpus, elsewhere)
        return hung(f"{'command':<12}", f"{text}  {note}".rstrip(), width, 3)

    @property
    def acceptable(self) -> list[str]:
        """The checks whose errors in the rows stand in the way, and which a person may accept."""
        problems = (self.plan or {}).get("problems", ())
        found = [part for part in problems if part.get("key") == ACCEPTED and part.get("severity") == "error"]
        return [name for part in found if (name := str(part.get("text")).partition(":")[0]) in CHECKS]

    def accept(self) -> None:
        """Take the errors in the rows as they are, by name; the recipe keeps which."""
        names = [*(self.draft.get(ACCEPTED) or ()), *self.acceptable]
        if self.acceptable and self.draft.set(ACCEPTED, list(dict.fromkeys(names))):
            self.post_message(Drafted())

    def on_start_line_pressed(self, event: StartLine.Pressed) -> None:
        if not self.start_line.ready:
            event.stop()

    def on_descendant_focus(self) -> None:
        self.post_message(About("enter or s starts the run; it goes on while you look elsewhere, and when SSH drops."))

    def on_resize(self) -> None:
        self.call_after_refresh(self._tell)

    def on_ticked(self, event: Ticked) -> None:
        event.stop()
        self._tell()

    def on_ended(self, event: Ended) -> None:
        event.stop()
        self.background.ended(event)

    def on_unmount(self) -> None:
        self.background.stop_all()


def _hung(sign: Part, text: str, width: int) -> list[Line]:
    """TEXT behind SIGN, its further lines indented."""
    text = one_line(text, 600)
    return [
        ((sign if not place else ("  ", "")), (text[start:stop], ""))
        for place, (start, stop) in enumerate(wrap(text, max(10, width - 2)))
    ]


def _percent(share: float) -> str:
    """SHARE in percent, by two digits below ten: `0.13 %`, `9.5 %`, `100 %`."""
    return f"{share:.2g} %" if share < 9.95 else f"{share:.0f} %"


def _plan_lines(plan: dict[str, Any], width: int, *, pairs: bool = False) -> list[Line]:
    """PLAN for a person. PAIRS: of the rows pairs are made, which are what is trained."""
    rows, tokens = plan.get("rows") or {}, plan.get("tokens") or {}
    weights, parts = plan.get("parameters") or {}, (plan.get("memory") or {}).get("parts") or {}
    lines: list[Line] = []

    def say(name: str, text: str, note: str = "") -> None:
        first, *rest = hung(f"{name:<12}", f"{text}  {note}", width, 4)
        said = first[1][0]
        bold = text if said.startswith(text) else ""
        lines.extend([(first[0], (bold, "strong"), (said[len(bold) :], "")), *rest])

    if rows.get("train") is not None:
        gone = f", {rows['test']:,} for the test" if rows.get("test") else ""
        gone += f", {rows['excluded']:,} left out" if rows.get("excluded") else ""
        say("pairs" if pairs else "rows", f"{rows['train']:,} to train on", f"{rows.get('eval') or 0:,} held out{gone}")
    if tokens.get("total"):
        share = 100 * tokens["trained"] / max(1, tokens["total"])
        lost = f", {tokens['lost']:,} cut off" if tokens.get("lost") else ", nothing cut off"
        learnt = f"{tokens['trained']:,} trained ({share:.0f} %)"
        if tokens["trained"] == rows.get("train"):  # a share of the tokens would say nothing
            learnt = f"read; {'whether a pair shares its label' if pairs else 'a label or score a row'} is learnt"
        say("tokens", f"{tokens['total']:,}", f"{learnt}{lost}")
    if plan.get("steps"):
        say("steps", f"{plan['steps']:,}", "updates of the weights")
    if weights.get("total"):
        share = 100 * (weights.get("trainable") or 0) / weights["total"]
        say("parameters", f"{weights['total']:,}", f"{weights.get('trainable') or 0:,} learn ({_percent(share)})")
    memory = plan.get("memory") or {}
    if parts:
        named = ", ".join(f"{name.replace('_', ' ')} {size(count)}" for name, count in parts.items() if count)
        needed, real = memory.get("estimated_bytes"), memory.get("measured_bytes")
        if real:
            say("memory", f"{size(real)} measured", f"{size(needed)} estimated: {named}" if needed else named)
        elif needed:
            say("memory", f"{size(needed)} estimated", named)
        else:
            say("memory", size(sum(parts.values())), f"without activations: {named}")
        lines += [line for text in fit.moments_of(memory) for line in hung(f"{'':<12}", text, width, 3)]
    for found in memory.get("fits") or ():
        sign = {"yes": ("✓ ", "good"), "tight": ("! ", "warn")}.get(found["fits"], ("✗ ", "bad"))
        more = "" if found["fits"] == "yes" or memory.get("beyond") else " f looks for what takes less."
        lines += _hung(sign, f"{found['text']}.{more}", width)
    if plan.get("seconds_estimated"):
        part = beside_training(plan.get("seconds") or {})
        say("time", f"about {duration(plan['seconds_estimated'])}", f"from measured steps{part}")
    told = [said for said in plan.get("model") or () if said["sign"] in ("warn", "bad")]
    told += plan.get("worth") or ()
    if told:
        lines.append(())
    for said in told:
        lines += _hung(TOLD[said["sign"]], str(said["text"]), width)
    problems = plan.get("problems") or []
    if lines and problems:
        lines.append(())
    for problem in problems:
        key = f"{problem['key']}: " if problem.get("key") else ""
        hint = f" {problem['hint']}" if problem.get("hint") else ""
        sign = SIGNS.get(str(problem.get("severity")), SIGNS["note"])
        lines += _hung(sign, f"{key}{problem.get('text', '')}{hint}", width)
    return lines
