"""The screen Compare: base and tuned on the same held-out rows, what got better, what broke, what is chance."""

from __future__ import annotations

from dataclasses import replace

from textual import events
from textual.app import ComposeResult
from textual.widget import Widget

from ftstudio.core import files
from ftstudio.core.run import trained_text
from ftstudio.core.text import clean, one_line
from ftstudio.ui.compare import actions, told
from ftstudio.ui.compare.categories import Changes
from ftstudio.ui.compare.choose import Choose
from ftstudio.ui.compare.detail import MODES, CompareDetail, arms_shown
from ftstudio.ui.compare.figures import Figures
from ftstudio.ui.compare.forgetting import Forgetting
from ftstudio.ui.compare.judged import JudgePage
from ftstudio.ui.compare.overview import Overview
from ftstudio.ui.compare.pages import Pages
from ftstudio.ui.compare.rows import Choice
from ftstudio.ui.compare.slicing import Slices
from ftstudio.ui.compare.sources import Sources, mixed
from ftstudio.ui.compare.views import VIEWS, rule
from ftstudio.ui.shell.actions import Action, bindings
from ftstudio.ui.text.copying import copy, shown
from ftstudio.ui.text.panes import Panes
from ftstudio.ui.text.said import Said

PAGES: dict[str, type[Widget]] = {
    "list": Overview,
    "detail": CompareDetail,
    "changes": Changes,
    "slices": Slices,
    "sources": Sources,
    "figures": Figures,
    "forgetting": Forgetting,
    "judge": JudgePage,
}


class CompareScreen(Pages):
    """Verdict, metrics, rows; a row in full; categories, slices and totals."""

    MODE = "compare"
    SHOWS_RUN = True
    TITLE_TEXT = "Compare: is the tuned model really better?"
    HELP = """
Base (before fine-tuning) and tuned (after) answer the same rows, which neither was trained on.

ROUGE counts shared words with the reference: ROUGE-1 single words, ROUGE-2 pairs, ROUGE-L the longest run in order; \
1 is equal, 0 has nothing in common. Similarity compares meaning by an embedding model, which is named. The \
difference is tuned minus base. Its 95 % interval is where the true difference lies, given how few rows these are: \
if it excludes zero, the difference is more than chance. p is the chance of so large a difference if both were alike; \
where many parts are looked at, it is corrected for that (Holm).

Of a mix, u shows every metric on each source by itself: figures over all rows pool them, and one source may have \
gained what another lost.

A row is right by exact match where the recipe asks for it, else where no error was found in the answer. Fixed: wrong \
before, right after; broken: the other way round.

Forgetting: how much worse the tuned model has become on general text, in bits a byte.

In the word diff, [-so-] is missing and {+so+} was added.
"""
    ACTIONS = actions.ALL_ACTIONS
    BINDINGS = bindings(*ACTIONS)
    DEFAULT_CSS = """
    CompareScreen #compare-opening { height: 1fr; padding: 1 2; }
    CompareScreen.-wide #compare-choice, CompareScreen.-huge #compare-choice { margin-top: 1; }
    CompareScreen.-wide #compare-figures, CompareScreen.-huge #compare-figures { margin-top: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.mode = "off"

    def compose_body(self) -> ComposeResult:
        yield Said(id="compare-opening")
        for page in PAGES.values():
            yield page()

    def on_mount(self) -> None:
        self.look("opening")

    @property
    def overview(self) -> Overview:
        """Verdict, metrics and rows."""
        return self.query_one(Overview)

    def look(self, view: str) -> None:
        """Show one of the views."""
        self.view = view
        self.query_one("#compare-opening").display = view == "opening"
        for name, page in PAGES.items():
            self.query_one(page).display = view == name
        focus = {
            "list": lambda: self.overview.table,
            "detail": lambda: self.query_one(Panes),
            "changes": lambda: self.query_one(Changes).table,
            "slices": lambda: self.query_one(Slices).table,
        }
        if view != "opening":
            focus.get(view, lambda: self.query_one(PAGES[view]))().focus()
        if self.is_mounted:
            self.refresh_shell()

    # -- showing -----------------------------------------------------------------------------------------------------
    def begin_view(self) -> None:
        self.overview.begin()
        self.own = []
        self.look("opening")

    def show_view(self) -> None:
        arms = self.arms
        if arms is None or not arms.rows:
            if self.view != "opening":
                self.look("opening")
            self._show_opening()
            return
        if self.view == "opening":
            self.look("list")
        state = told.status(arms, self.session, self.asked, self.app.size.width - 3)
        self.overview.show(arms, state, hold=self.view == "detail")
        if self.view == "detail":
            self._show_detail(stay=True)
        else:
            self.show_page()

    def _show_opening(self) -> None:
        arms = self.arms
        has_model = arms is not None and arms.run.model.is_dir()
        state = self.session.feed.state if self.session.feed is not None else ""
        others = any(arms is None or run.path != arms.run.path for run in self.tuned_runs())
        width = self.app.size.width - 7
        trained = trained_text(self.session.feed.story.trained) if self.session.feed is not None else ""
        lines = told.opening(arms, has_model, state, others, self.rows_wanted, self.asked, width, trained)
        if arms is not None and (arms.following.running or self.asked):
            lines += [(), *told.status(arms, self.session, self.asked, width)]
        self.query_one("#compare-opening", Said).say(*lines)

    def _show_detail(self, *, stay: bool = False) -> None:
        arms, row = self.arms, self.overview.row
        if arms is None or row is None or row not in arms.base.known or row not in arms.tuned.known:
            self.look("list")
            return
        detail = self.query_one(CompareDetail)
        detail.show(arms, self.overview.rows, row, self.overview.place, self.mode, stay=stay)

    def current_actions(self) -> tuple[Action, ...]:
        pages = {
            "detail": actions.IN_DETAIL,
            "changes": actions.IN_CATEGORIES,
            "slices": actions.IN_SLICES,
            "sources": actions.IN_SOURCES,
            "figures": actions.IN_FIGURES,
            "judge": actions.IN_JUDGE,
        }
        if self.view in pages:
            return pages[self.view]
        if self.view == "forgetting":
            known = self.query_one(Forgetting).remedies
            fitting = tuple(action for action in actions.REMEDIES if action.run.split("'")[1] in known)
            return (*fitting, actions.EXPORT, actions.BACK)
        arms = self.arms
        if arms is None:
            return (actions.RUN,)
        start = (actions.COMPARE, actions.WANTED)
        work = (*((actions.STOP,) if arms.following.running or self.asked else start), actions.RUN, actions.ROWS)
        work = (*work, *((actions.PART,) if self.has_test else ()))
        if self.view == "opening":
            return (*work, *((actions.CHAT,) if arms.run.model.is_dir() else ()))
        first = (actions.BACK,) if self.overview.choice.narrowed else ()
        more = (actions.ARMS,) if len(arms.names) > 2 else ()
        own = (actions.SOURCES,) if mixed(arms) else ()
        return (*first, *own, *actions.IN_LIST, *more, *work, actions.EXPORT)

    def on_overview_opened(self, event: Overview.Opened) -> None:
        self.look("detail")
        self._show_detail()

    def on_changes_picked(self, event: Changes.Picked) -> None:
        self.list_rows(Choice(self.overview.choice.order, event.name, "changed"))

    def on_slices_picked(self, event: Slices.Picked) -> None:
        self.list_rows(Choice(self.overview.choice.order, part_name=one_line(event.name, 60), part=event.rows))

    def list_rows(self, choice: Choice) -> None:
        """List the rows of CHOICE."""
        self.overview.choose(choice)
        self.look("list")

    def on_resize(self, event: events.Resize) -> None:
        if self.is_mounted:
            self.call_after_refresh(self.show_view)

    # -- looking -------------------------------------------------------------------------------------------------------
    def action_choose(self) -> None:
        if self.view in ("list", "opening"):
            super().action_choose()

    def action_arms_wanted(self) -> None:
        if self.view in ("list", "opening"):
            super().action_arms_wanted()

    def action_limit(self) -> None:
        if self.view in ("list", "opening"):
            super().action_limit()

    def action_part(self) -> None:
        if self.view in ("list", "opening"):
            super().action_part()

    def action_open(self) -> None:
        """What enter does where no list has the focus."""
        if self.view == "list":
            self.overview.table.action_choose()
        elif self.view == "opening":
            self.action_compare()

    def action_order(self) -> None:
        """Gains, losses, rows."""
        if self.view == "list":
            self.list_rows(self.overview.choice.next_order())

    def action_views(self) -> None:
        """Choose which rows are listed."""
        if self.view != "list" or self.arms is None:
            return
        counts, names = self.overview.rows.counts(), list(VIEWS)

        def chosen(place: int | None) -> None:
            if place is not None:
                self.list_rows(replace(self.overview.choice, view=names[place]))

        entries = [(VIEWS[name].title, (f"{counts[name]:>6,}  {VIEWS[name].help}", "dim")) for name in names]
        title = f"Which rows?  ({rule(self.overview.rows.scores)})"
        self.app.push_screen(Choose(title, entries, names.index(self.overview.choice.view)), chosen)

    def action_filter(self) -> None:
        """Another kind of the category's rows; without a category, choose one."""
        if self.view == "list" and self.overview.choice.category:
            self.list_rows(self.overview.choice.next_kind())
        elif self.view == "list":
            self.action_categories()

    def action_vote(self) -> None:
        """Blind votes on the two arms in view."""
        arms = self.arms
        if arms is None or self.view == "opening":
            return
        from ftstudio.ui.compare.voting import VotesScreen

        self.app.push_screen(VotesScreen(arms))

    def action_chat(self) -> None:
        """Both arms answer what a person types."""
        arms = self.arms
        if arms is None or not arms.run.model.is_dir():
            self.studio.tell("This run has saved no model yet: 4 shows it.")
            return
        from ftstudio.engine.chat import WRITES
        from ftstudio.ui.compare.chat.screen import ChatScreen

        if arms.recipe is not None and arms.recipe.task not in WRITES:
            self.studio.tell(f"A model of the task {arms.recipe.task} writes no text: chat is for {', '.join(WRITES)}.")
            return
        self.app.push_screen(ChatScreen(arms))

    def action_arms(self) -> None:
        """Which two arms are held against each other."""
        arms = self.arms
        if arms is None or len(arms.names) < 2 or self.view == "opening":
            return
        pairs = [(a, b) for a in arms.names for b in arms.names if a != b]

        def chosen(place: int | None) -> None:
            if place is not None:
                arms.hold(*pairs[place])
                self.pull()
                self.show_view()

        entries = [(f"{arms.label(b)} against {arms.label(a)}", ("", "")) for a, b in pairs]
        self.app.push_screen(Choose("Which two?", entries, pairs.index((arms.a, arms.b))), chosen)

    def action_next(self, by: int) -> None:
        """The next row in this order, or the one before."""
        if self.view == "detail" and self.overview.step(by):
            self._show_detail()

    def action_difference(self) -> None:
        """Mark nothing, each against the first, all against the reference."""
        if self.view == "detail":
            self.mode = MODES[(MODES.index(self.mode) + 1) % len(MODES)]
            self._show_detail(stay=True)

    def action_fold(self) -> None:
        """All of the texts, or as much as leaves room for the last."""
        if self.view == "detail":
            self.query_one(Panes).toggle_fold()

    def action_copy(self) -> None:
        """Clipboard and file."""
        arms, row = self.arms, self.overview.row
        if arms is None or row is None or row not in arms.base.known or row not in arms.tuned.known:
            return
        first = arms.base.known[row]
        texts = [("prompt", first.prompt), ("reference", first.reference)]
        for name in arms_shown(arms, self.app.size.width):
            label = arms.label(name)
            if row in arms.answered[name].known:
                title = label if label == name else f"{label}: {name}"
                texts.append((title, arms.answered[name].known[row].output))
        text = "\n\n".join(f"--- {title}\n{clean(part)}" for title, part in texts if part is not None)
        self.attempt(lambda: copy(self.studio, f"row {row}\n\n{text}\n", self.session.workspace.path))

    def action_export(self) -> None:
        """The report as text, as Markdown and as one HTML page, beside its JSON."""
        arms = self.arms
        if arms is None or arms.report is None:
            self.studio.tell("There is nothing to export yet.")
            return
        from ftstudio.evaluation import publish
        from ftstudio.evaluation.report import compare_text

        folder, report = arms.folder.path, arms.report

        def export() -> None:
            files.write(folder / "report.txt", compare_text(report) + "\n")
            publish.write(report, folder)

        if self.attempt(export):
            self.studio.tell(f"Written: report.txt, report.md and report.html in {shown(folder)}")

    def action_back(self) -> None:
        """A level up; in the list, all rows again."""
        if self.view == "detail":
            self.look("list")
        elif self.view in PAGES and self.view != "list":
            self.look(self.came_from)
            self.show_view()
        elif self.view == "list" and self.overview.choice.narrowed:
            self.list_rows(Choice(self.overview.choice.order))
