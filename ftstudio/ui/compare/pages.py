"""The pages of a comparison beside its rows: categories, slices, sources, totals, forgetting, judge, own filters."""

from __future__ import annotations

from dataclasses import replace

from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line
from ftstudio.ui.compare.categories import Changes
from ftstudio.ui.compare.comparing import Comparing
from ftstudio.ui.compare.figures import Figures, row_metrics
from ftstudio.ui.compare.filtering import HINT, Found, matching
from ftstudio.ui.compare.forgetting import Forgetting
from ftstudio.ui.compare.judged import JudgePage
from ftstudio.ui.compare.overview import Overview
from ftstudio.ui.compare.remedies import changed
from ftstudio.ui.compare.rows import Choice
from ftstudio.ui.compare.slicing import Slices, Wanted, wanted
from ftstudio.ui.compare.sources import Sources, mixed
from ftstudio.ui.shell.dialogs import Prompt


class Pages(Comparing):
    """The part of the Compare screen that turns to its pages; where one is, is `view`."""

    def __init__(self) -> None:
        super().__init__()
        self.view = "opening"
        self.came_from = "list"
        self.own: list[Found] = []  # filters of one's own, the last first
        self._working: Wanted | None = None

    def look(self, view: str) -> None:
        """Show one of the views."""
        raise NotImplementedError

    def list_rows(self, choice: Choice) -> None:
        """List the rows of CHOICE."""
        raise NotImplementedError

    def show_page(self) -> None:
        """Bring the page in view up to date."""
        arms = self.arms
        if arms is None:
            return
        if self.view == "changes":
            self.query_one(Changes).show(arms)
        elif self.view == "figures":
            self.query_one(Figures).show(arms)
        elif self.view == "forgetting":
            self.query_one(Forgetting).show(arms)
        elif self.view == "sources":
            self.query_one(Sources).show(arms)
        elif self.view == "judge":
            self.query_one(JudgePage).show(arms)
        elif self.view == "slices":
            self._show_slices()

    def turn_to(self, view: str) -> None:
        """Show VIEW, to come back from it to where one is."""
        if self.arms is None or self.view == "opening":
            return
        if self.view in ("list", "detail"):
            self.came_from = self.view
        self.look(view)
        self.show_page()
        self.refresh_shell()

    def action_categories(self) -> None:
        """The before/after table."""
        self.turn_to("changes")

    def action_figures(self) -> None:
        """Totals and pictures."""
        self.turn_to("figures")

    def action_sources(self) -> None:
        """Every metric, source by source."""
        if mixed(self.arms):
            self.turn_to("sources")
        elif self.view != "opening":
            self.studio.tell("These rows are of one source: i shows other parts of them.")

    def action_forgetting(self) -> None:
        """What the tuning cost elsewhere."""
        self.turn_to("forgetting")

    def action_judge(self) -> None:
        """What the judge found."""
        self.turn_to("judge")

    def action_slices(self) -> None:
        """The parts of the rows."""
        self.turn_to("slices")

    def action_remedy(self, name: str) -> None:
        """Open the recipe with a change that makes it forget less."""
        recipe = self.arms.recipe if self.arms is not None else None
        remedy = self.query_one(Forgetting).remedies.get(name) if self.view == "forgetting" else None
        if recipe is None or remedy is None:
            return

        def done(path: str | None) -> None:
            if path is None or (remedy.asks and not path.strip()):
                return
            if self.attempt(lambda: setattr(self.session, "recipe", changed(recipe, remedy, path.strip()))):
                self.studio.action_go("recipe")
                self.studio.tell(f"The recipe of this run with {remedy.title}.")

        if remedy.asks:
            hint = "file, folder or hub id, general text of the kind it must not forget; not what it is measured on"
            self.app.push_screen(Prompt("Which text is trained along?", "", hint), done)
        else:
            done("")

    def action_own(self) -> None:
        """Rows for which an expression holds."""
        if self.view not in ("list", "slices") or self.arms is None:
            return
        before = self.own[0].text if self.own else ""
        self.app.push_screen(Prompt("Rows for which this holds:", before, HINT), self._filter)

    def _filter(self, text: str | None) -> None:
        arms = self.arms
        if text is None or not text.strip() or arms is None:
            return

        def work() -> None:
            found: Found | None = None
            error: Exception | None = None
            try:
                if not arms.columns:
                    arms.columns = arms.read_columns()
                found = matching(arms, text)
            except StudioError as caught:
                error = caught
            self.app.call_from_thread(done, found, error)

        def done(found: Found | None, error: Exception | None) -> None:
            if error is not None:
                self.studio.show_error(error)
            if found is None or self.arms is not arms:
                return
            self.own = [found, *(known for known in self.own if known.text != found.text)][:8]
            if found.unjudged:
                self.studio.tell(f"It could not be judged on {found.unjudged:,} rows: they are left out.")
            if self.view == "slices":
                self._show_slices()
            else:
                self.list_rows(
                    replace(self.query_one(Overview).choice, part_name=one_line(found.text, 60), part=found.rows)
                )

        self.run_worker(work, thread=True, group="filter", exclusive=True, exit_on_error=False)

    def _show_slices(self) -> None:
        """Show the slices; where they are not known, work them out in a thread."""
        arms, page = self.arms, self.query_one(Slices)
        if arms is None or arms.report is None:
            return
        names = row_metrics(arms)
        if page.metric not in names:
            gain = arms.report.get("gain")
            page.metric = gain if gain in names else names[0] if names else ""
        now = wanted(arms, page.metric, self.own)
        if page.key == now.key:
            page.show(arms, page.key, page.entries)
            return
        if self._working is not None:
            return  # what is being worked out shows the next when it is done
        self._working = now

        def work() -> None:
            error: Exception | None = None
            entries = []
            job = now
            try:
                if not arms.columns:
                    arms.columns = arms.read_columns()
                    job = wanted(arms, page.metric, self.own)
                entries = job.work()
            except Exception as caught:  # told on screen, not lost in a thread
                error = caught
            self.app.call_from_thread(done, job, entries, error)

        def done(job: Wanted, entries: list[dict[str, object]], error: Exception | None) -> None:
            self._working = None
            if error is not None:
                self.studio.show_error(error)
            elif self.arms is arms:
                page.show(arms, job.key, entries)
                if self.view == "slices":
                    self._show_slices()

        self.run_worker(work, thread=True, group="slices", exit_on_error=False)

    def action_metric(self) -> None:
        """Another metric for the picture or the slices."""
        arms = self.arms
        if arms is not None and self.view == "figures":
            self.query_one(Figures).next_metric()
        elif arms is not None and self.view == "slices" and (names := row_metrics(arms)):
            page = self.query_one(Slices)
            place = names.index(page.metric) + 1 if page.metric in names else 0
            page.metric = names[place % len(names)]
            self._show_slices()
