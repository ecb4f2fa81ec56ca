"""What a person can do on the screen Compare, and with which key."""

from __future__ import annotations

from ftstudio.ui.shell.actions import Action

OPEN = Action("enter", "open", "open", "see a row in full: prompt, reference, base and tuned")
COMPARE = Action("g", "compare", "compare", "let base and tuned answer the held-out rows, score both, report")
STOP = Action("s", "stop", "stop", "stop comparing; what was answered is kept")
ORDER = Action("o", "order", "order", "sort the rows: best gains, worst losses, in order")
CATEGORIES = Action("c", "categories", "categories", "every error category before and after; enter shows its rows")
FILTER = Action(
    "f", "filter", "filter", "rows of one error category: fixed or broke, fixed, broke, base had it, tuned has it"
)
RUN = Action("v", "choose", "run", "compare another run")
ROWS = Action("l", "limit", "rows", "how many held-out rows are answered")
EXPORT = Action("x", "export", "export", "write the report as text")
NEXT = Action("n", "next(1)", "next", "the next row in this order")
PREVIOUS = Action("p", "next(-1)", "previous", "the row before")
DIFFERENCE = Action("d", "difference", "diff", "mark words: base against tuned, both against the reference, nothing")
FOLD = Action("z", "fold", "unfold", "show shortened texts in full")
COPY = Action("y", "copy", "copy", "copy prompt, reference and both answers (clipboard and a file)")
BACK = Action("escape", "back", "back", "back; in the list: all rows again")

IN_DETAIL = (NEXT, PREVIOUS, DIFFERENCE, FOLD, COPY, CATEGORIES, EXPORT, BACK)
IN_CATEGORIES = (OPEN, EXPORT, BACK)
ALL_ACTIONS = (OPEN, COMPARE, STOP, ORDER, FILTER, CATEGORIES, RUN, ROWS, *IN_DETAIL[:-3], EXPORT, BACK)
