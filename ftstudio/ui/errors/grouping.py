"""Answers in groups by meaning, to find the category nobody named. A part of the screen Errors."""

from __future__ import annotations

from ftstudio import tasks
from ftstudio.evaluation.calibration import reliability
from ftstudio.evaluation.clusters import Cluster
from ftstudio.evaluation.confusion import confusion
from ftstudio.ui.common.background import Work
from ftstudio.ui.errors.answers import ALL, GROUP, Answers, Group
from ftstudio.ui.errors.backing import Backing
from ftstudio.ui.errors.confusion_page import ConfusionPage
from ftstudio.ui.errors.groups_page import GroupsPage


def _labelled(answers: Answers) -> bool:
    """Whether ANSWERS are labels: told by the task, of stored ones by what was looked for in them."""
    own = tasks.get(answers.recipe.task).error_categories if answers.recipe is not None else answers.known
    return "wrong_label" in own


class Grouping(Backing):
    """What the screen does with groups."""

    @property
    def groups_page(self) -> GroupsPage:
        """The page."""
        return self.query_one(GroupsPage)

    @property
    def confusion_page(self) -> ConfusionPage:
        """The page of labels that are taken for others."""
        return self.query_one(ConfusionPage)

    def action_groups(self) -> None:
        """Group the rows of the filter by what their outputs mean; labels, by what is taken for what."""
        answers, lists, page = self.answers, self.lists, self.groups_page
        if answers is None or not answers.predictions:
            self.studio.tell("There are no answers to group yet.")
            return
        rows, predictions = sorted(lists.rows), dict(answers.predictions)
        if _labelled(answers):
            which = "all answers" if lists.filter == ALL else lists.title
            shown = [predictions[row] for row in rows]
            self.confusion_page.begin(which, confusion(shown), len(rows), reliability(shown))
            self.open_page(self.confusion_page)
            self.confusion_page.matrix.focus()
            return
        texts = [predictions[row].output for row in rows]
        which = f" · {lists.title}" if lists.filter != ALL else ""
        page.begin(f"{len(rows):,} of {len(predictions):,} answers{which}", rows, predictions)
        self.open_page(page)
        page.table.focus()

        def work(work: Work) -> list[Cluster]:
            from ftstudio.evaluation.clusters import clusters
            from ftstudio.evaluation.similarity import load_embedder

            return clusters(texts, load_embedder("static", allow_torch=False))

        def done(found: list[Cluster]) -> None:
            page.doing = ""
            page.take(found)

        self.background.start("groups", f"grouping {len(rows):,} answers by meaning", work, done, self.failed)
        self.show_state()

    def action_reliability(self) -> None:
        """From which label is taken for which to how sure the answers are, or back."""
        self.confusion_page.turn()
        self.refresh_shell()

    def on_groups_page_chosen(self, event: GroupsPage.Chosen) -> None:
        event.stop()
        self._only(event.group)

    def on_confusion_page_chosen(self, event: ConfusionPage.Chosen) -> None:
        event.stop()
        self._only(event.group)

    def _only(self, group: Group) -> None:
        """Only the rows of GROUP from now on."""
        answers, lists = self.answers, self.lists
        if answers is None:
            return
        answers.group = group
        self.close_page()
        lists.filter, lists.row, lists.table.cursor = GROUP, None, 0
        lists.show(answers)
        self.leave_row()

    def leave_row(self) -> None:
        """From the row in full, if there is one, to the list of rows."""
        raise NotImplementedError
