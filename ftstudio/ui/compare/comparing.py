"""The comparison in view: brought up to date from its folder, scored where the worker hasn't yet, started, stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from ftstudio.core.arm import BASE, TUNED
from ftstudio.core.jobs import Compare
from ftstudio.core.run import RunFolder
from ftstudio.ui.compare.arm_choice import ArmsDialog, Picked, candidates
from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.compare.choose import choose_run
from ftstudio.ui.compare.shots import ShotsDialog, Shown
from ftstudio.ui.shell.screen import StudioScreen
from ftstudio.ui.text.asking import ask_rows
from ftstudio.ui.text.following import pending
from ftstudio.ui.text.recipes import Recipes


class Comparing(StudioScreen):
    """The half of the Compare screen that looks after the comparison; the views are the other half's."""

    def __init__(self) -> None:
        super().__init__()
        self.arms: Arms | None = None
        self.limit: int | None = None
        self.chosen: dict[Path, tuple[str, ...]] = {}  # which arms a run's next comparison has, by folder
        self._recipes = Recipes()
        self.part: Literal["eval", "test"] = "eval"  # on which rows
        self._opened: dict[Path, Arms] = {}
        self._was_asked = False

    def show_view(self) -> None:
        """Bring what is in view up to date."""

    def begin_view(self) -> None:
        """Another run is looked at."""

    # -- bringing up to date -----------------------------------------------------------------------------------------
    def _choose(self) -> bool:
        """Look at the run in view; True where it is another than before."""
        feed = self.session.feed
        run = feed.run if feed is not None else None
        same = (run.path if run else None) == (self.arms.run.path if self.arms else None)
        if same and (self.arms is None or self.arms.part == self.part):
            return False
        if not same:
            self.part = "eval"
        self.arms = None
        if run is not None:
            folder = run.compared_on(self.part).path
            if folder not in self._opened:
                self._opened[folder] = Arms(run, self._recipes.of_run(run), self.part)
            self.arms = self._opened[folder]
        self.begin_view()
        return True

    def pull(self) -> None:
        other = self._choose()
        arms = self.arms
        changed = arms is not None and arms.poll()
        if arms is not None and arms.behind:
            self._score(arms)
        asked = self.asked
        if changed or other or asked or self._was_asked or arms is None or not arms.rows:
            self.show_view()
        self._was_asked = asked

    def _score(self, arms: Arms) -> None:
        work = arms.begin()

        def score() -> None:
            began = time.monotonic()
            found: dict[str, Any] | None = None
            error: Exception | None = None
            try:
                found = arms.score(work)
            except Exception as caught:  # told on screen, not lost in a thread
                error = caught
            self.app.call_from_thread(done, found, error, time.monotonic() - began)

        def done(found: dict[str, Any] | None, error: Exception | None, seconds: float) -> None:
            arms.finish(work, found, seconds)
            if error is not None:
                self.studio.show_error(error)
            if self.arms is arms and self.is_current:
                self.show_view()

        self.run_worker(score, thread=True, group="score", exit_on_error=False)

    @property
    def asked(self) -> bool:
        """Whether the worker was asked for what is in view and hasn't begun."""
        arms = self.arms
        return arms is not None and not arms.following.running and pending(self.session, arms.folder.path)

    @property
    def rows_wanted(self) -> int:
        """How many held-out rows are answered, at most."""
        recipe = self.arms.recipe if self.arms else None
        return self.limit or (recipe.evaluation.rows if recipe else 200)

    def tuned_runs(self) -> list[RunFolder]:
        """The runs of the workspace that have a tuned model."""
        return [run for run in self.session.workspace.runs() if run.model.is_dir()]

    # -- comparing -----------------------------------------------------------------------------------------------------
    def action_compare(self) -> None:
        """Hand the job to the worker."""
        arms = self.arms
        if arms is None:
            self.action_choose()
            return
        if arms.following.running or self.asked:
            self.studio.tell("The comparison is being made already.")
            return
        if not arms.run.model.is_dir():
            self.studio.tell("This run has saved no model yet: 4 shows it.")
            return
        job = Compare(
            arms.folder.path, (arms.run.path,), self.limit, arms=self.chosen.get(arms.run.path), part=arms.part
        )
        if self.attempt(lambda: self.session.submit(job)):
            self.show_view()
            self.refresh_shell()

    def action_stop(self) -> None:
        """Ask the worker to stop; it keeps what was answered."""
        arms = self.arms
        if arms is None or not (arms.following.running or self.asked):
            return
        folder = arms.folder
        if self.attempt(lambda: folder.request("stop")):
            self.studio.tell("Stopping after the answers at hand.")

    @property
    def has_test(self) -> bool:
        """Whether the run in view keeps rows for a test."""
        recipe = self.arms.recipe if self.arms else None
        return recipe is not None and recipe.data.test is not None

    def action_part(self) -> None:
        """The test rows instead of the held-out ones, and back."""
        if not self.has_test:
            self.studio.tell("This run keeps no test rows: data.test in its recipe would (0.1, or a file).")
            return
        self.part = "eval" if self.part == "test" else "test"
        self.pull()
        self.show_view()
        self.refresh_shell()

    def action_choose(self) -> None:
        """Another run."""
        runs = self.tuned_runs()
        if not runs:
            self.studio.tell("There is no run with a tuned model yet: 3 makes a recipe and starts one.")
            return

        def chosen(place: int | None) -> None:
            if place is not None:
                self.session.view_run(runs[place])
                self.refresh_shell()
                self.pull()

        self.app.push_screen(choose_run(runs, self.arms.run if self.arms else None), chosen)

    def action_arms_wanted(self) -> None:
        """Tick the arms, and start."""
        arms = self.arms
        if arms is None or not arms.run.model.is_dir():
            self.action_compare()
            return
        if arms.following.running or self.asked:
            self.studio.tell("The comparison is being made already.")
            return
        entries = candidates(arms.run, arms.recipe, self.tuned_runs(), self._recipes.of_run)
        present = self.chosen.get(arms.run.path) or _asked_before(arms) or (BASE, TUNED)

        def chosen(found: tuple[str, ...] | None) -> None:
            if found is not None:
                self.chosen[arms.run.path] = found
                self.action_compare()

        self.app.push_screen(ArmsDialog(entries, present, self._pick_examples), chosen)

    def _pick_examples(self, then: Picked) -> None:
        """Let the person choose training rows of the run in view, and hand their numbers to THEN."""
        arms = self.arms
        if arms is None:
            return

        def opened(found: tuple[int, Callable[[int], Shown]] | None) -> None:
            if found is None:
                self.studio.tell("The training rows can't be read: 1 shows the data.", "warning")
            else:
                self.app.push_screen(ShotsDialog(*found), lambda rows: then(rows) if rows else None)

        def work() -> None:
            found = arms.training_rows()
            self.app.call_from_thread(opened, found)

        self.run_worker(work, thread=True, group="examples", exit_on_error=False)

    def action_limit(self) -> None:
        """Ask how many rows are answered."""
        if self.arms is None:
            return

        def chosen(rows: int | None) -> None:
            self.limit = rows
            self.show_view()

        ask_rows(self.studio, self.rows_wanted, chosen)


def _asked_before(arms: Arms) -> tuple[str, ...]:
    """The arms of the comparison that is there, as they were asked for."""
    entries = (arms.report or {}).get("arms", ()) if arms.final else ()
    return tuple(arms.own_as(str(entry["spec"]), TUNED) for entry in entries if isinstance(entry.get("spec"), str))
