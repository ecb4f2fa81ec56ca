"""The keys of the Data screen, view by view."""

from __future__ import annotations

from ftstudio.ui.shell.actions import Action

OPEN = Action("o", "open_source", "open", "open a file or a hub id")
COLUMNS = Action("c", "columns", "columns", "which column is the prompt, which the completion")
TOKENS = Action("t", "tokens", "tokens", "token view: what the model sees of this row, and what of it is trained")
COPY = Action("y", "copy", "copy", "copy this row (clipboard and a file)")
RECIPE = Action("r", "recipe", "recipe", "make a recipe from this data")
BACK = Action("escape", "back", "back", "back; in the table: undo the last filter, sort or search")
NEXT = Action("n,right", "step_row(1)", "next", "the next row")
PREVIOUS = Action("p,left", "step_row(-1)", "previous", "the previous row")
CUT = Action("m", "cut", "length", "try another max_length and see what it cuts off")

TABLE = (
    Action("enter", "row", "row", "the whole row"),
    TOKENS,
    COLUMNS,
    Action("slash", "search", "search", "search in all columns; n and N go to the next and the previous hit"),
    Action("f", "filter", "filter", "show only rows that match; filters stack, esc takes the last away"),
    Action(
        "i", "statistics", "columns' figures", "figures of every column: empty, distinct, lengths, commonest values"
    ),
    Action("h", "lengths", "lengths", "how long prompts and completions are in tokens, and what max_length cuts"),
    Action("k", "checks", "checks", "what is wrong with the rows: duplicates, empty, cut, leaks and more"),
    OPEN,
    Action("s", "sort", "sort", "sort by the column at hand: up, down, not at all"),
    RECIPE,
    COPY,
    Action("n", "hit(1)", "", "the next hit of the search"),
    Action("N", "hit(-1)", "", "the previous hit of the search"),
    BACK,
)
ROW = (NEXT, PREVIOUS, TOKENS, COLUMNS, COPY, BACK)
TOKEN_VIEW = (
    NEXT,
    PREVIOUS,
    CUT,
    Action("w", "way", "boundaries", "tell tokens apart by dots, by their ids, or read the text as it is"),
    COLUMNS,
    BACK,
)
STATISTICS = (
    Action("right", "column(1)", "next column", "the next column's commonest values"),
    Action("left", "column(-1)", "previous", "the previous column's"),
    BACK,
)
LENGTHS = (CUT, BACK)
CHECKS = (Action("enter", "check_rows", "rows", "show the rows that the check found"), BACK)
PROBLEMS = (BACK,)
OPENING = (BACK,)
BY_VIEW = {
    "table": TABLE, "row": ROW, "tokens": TOKEN_VIEW, "stats": STATISTICS, "lengths": LENGTHS, "checks": CHECKS,
    "problems": PROBLEMS, "open": OPENING,
}  # fmt: skip
EVERY = tuple(dict.fromkeys(action for actions in BY_VIEW.values() for action in actions))


def name_of(run: str) -> str:
    """The action's name without its arguments."""
    return run.partition("(")[0]


NAMES = frozenset(name_of(action.run) for action in EVERY)

HELP = """
Data is where you look at the rows before a model sees them. Open a file (o), and the studio tells how it is \
read, which column is the prompt and which the completion, and what is wrong with it.

A model reads tokens, pieces of words, not letters. The token view (t) shows the very tokens it gets for a \
row, after the template has put prompt and completion together and max_length has cut what is too long. Only \
the trained ones (bold and underlined) are learnt; masked ones are read, not learnt. The end token should be \
learnt, or the model won't know when to stop.

Searching (/) and filtering (f) understand words, column:word, column=value, length>200, /regular \
expressions/, and -word for "not". Checks (k) lists duplicates, empty answers, rows that are cut and the like, \
with the rows one key away.

The model named in the token view is that of the recipe at hand; without one it is the bundled demo's.
"""
