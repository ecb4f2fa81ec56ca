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
BARE = Action("z", "bare", "", "show personal data and secrets, or mask them again", name="show masked text")
CUT = Action("m", "cut", "length", "try another max_length and see what it cuts off")

UNDO = Action("u", "undo", "undo", "take the last repair back")
REDO = Action("ctrl+r", "redo", "redo", "do again what was undone last")
SAVE = Action("w", "save", "save", "save the repairs as a new version; your own file stays as it is")
PENDING_LIST = Action("P", "pending", "repairs", "the repairs that aren't saved yet")
REPAIR = (
    Action("e", "edit_cell", "edit", "edit the cell at hand"),
    Action("E", "edit_outside", "", "edit the cell at hand in your own editor (EDITOR)", name="edit in EDITOR"),
    Action("d", "drop_row", "drop", "leave the row at hand out"),
    Action("a", "duplicate_row", "", "the row at hand once more", name="duplicate row"),
    Action("A", "add_row", "", "a new row after the one at hand", name="add row"),
    UNDO,
    REDO,
)

PICTURE = Action("V", "enlarge", "", "the row's picture over the whole terminal", name="enlarge picture")
CHECK = Action("k", "checks", "checks", "what is wrong with the rows: duplicates, empty, cut, leaks and more")

TABLE = (
    Action("enter", "row", "row", "the whole row"),
    TOKENS,
    CHECK,
    REPAIR[0],
    REPAIR[2],
    RECIPE,
    Action("slash", "search", "search", "search in all columns; n and N go to the next and the previous hit"),
    Action("f", "filter", "filter", "show only rows that match; filters stack, esc takes the last away"),
    Action("equals_sign", "where", "where", "show only rows where an expression holds, such as words(answer) > 200"),
    Action(
        "F",
        "frequency",
        "values",
        "how often each value of the column at hand occurs in the rows in view; of lists, their items",
    ),
    Action("h", "lengths", "lengths", "how long prompts and completions are in tokens, and what max_length cuts"),
    COLUMNS,
    OPEN,
    Action("i,I", "statistics", "figures", "figures of every column: empty, distinct, lengths, commonest values"),
    Action("s", "sort", "sort", "sort by the column at hand: up, down, not at all"),
    Action("plus", "select('select')", "select", "select the row at hand and go on to the next"),
    Action("minus", "select('unselect')", "", "unselect the row at hand and go on to the next", name="unselect row"),
    Action("asterisk", "toggle_view", "", "select all rows in view, and unselect those that were", name="toggle rows"),
    Action("quotation_mark", "open_selected", "", "the rows selected as a sheet of their own", name="open selection"),
    BARE,
    Action("L", "steps", "", "what was done here, and the command that does it again", name="log of steps"),
    COPY,
    REPAIR[1],
    PICTURE,
    Action("x", "replace", "replace", "find and replace in the column at hand, over the rows in view"),
    *REPAIR[3:],
    Action("D", "drop_view", "", "drop all rows in view, after asking", name="drop rows in view"),
    PENDING_LIST,
    SAVE,
    Action("v", "versions", "versions", "the versions of this data, and what each changed"),
    Action("n", "hit(1)", "", "the next hit of the search", name="next hit"),
    Action("N", "hit(-1)", "", "the previous hit of the search", name="previous hit"),
    BACK,
)
FIRST = (SAVE, UNDO, PENDING_LIST)  # come first while repairs wait to be saved
EDIT_ROW = (
    Action("e", "edit_row", "edit", "edit the whole row, as JSON"),
    Action("E", "edit_row_outside", "", "edit the whole row in your own editor (EDITOR)", name="edit row in EDITOR"),
)
ROW = (NEXT, PREVIOUS, TOKENS, EDIT_ROW[0], COPY, BACK, COLUMNS, UNDO, EDIT_ROW[1], PICTURE, BARE)
TOKEN_VIEW = (
    NEXT,
    PREVIOUS,
    CUT,
    Action("s", "token_order", "order", "go through the rows by the share that is trained, or by what the cut loses"),
    Action("w", "way", "boundaries", "tell tokens apart by dots, by their ids, or read the text as it is"),
    BACK,
    COLUMNS,
    BARE,
)
STATISTICS = (
    Action("right", "column(1)", "next column", "the next column's commonest values"),
    Action("left", "column(-1)", "previous", "the previous column's"),
    BARE,
    BACK,
)
LENGTHS = (CUT, BACK)
CHECKS = (
    Action("enter", "check_rows", "rows", "show the rows that the check found"),
    Action("f", "repair_check", "repair", "mend all rows that the check found, after a look at what that does"),
    Action("a", "accept_check", "accept", "accept these errors by name, so that they don't stop a run"),
    BACK,
)
FREQUENCY = (Action("enter", "value_rows", "rows", "show the rows that have this value"), BARE, BACK)
STEPS = (BACK,)
VERSIONS = (
    Action("enter", "open_version", "open", "open this version"),
    Action("d", "difference", "difference", "what it has that its parent hasn't: rows changed, dropped, added"),
    BACK,
)
DIFFERENCE = (BARE, BACK)
PROBLEMS = (BARE, BACK)
PENDING = (Action("enter", "pending_rows", "rows", "show the rows of the repair"), UNDO, REDO, SAVE, BACK)
OPEN_TYPED = Action("enter", "open_typed", "open", "open what the line names")
COMPLETE = Action("tab", "complete", "complete", "complete the path, as a shell does; ↓ chooses one of those below")
LEAVE = Action("escape", "back", "leave the line", "out of the line: 1 to 6, ? and q are keys there again")
NAME = Action("o", "open_source", "name a file", "back into the line: a file or a hub id")
OPENING = (OPEN_TYPED, COMPLETE, LEAVE, NAME)
CANCEL = Action("escape", "back", "back", "leave things as they were")
ASKING = {
    "search": (Action("enter", "entered", "search", "go to the first hit; n and N to the others"), CANCEL),
    "filter": (Action("enter", "entered", "show only these", "show the rows that match, and no others"), CANCEL),
    "where": (Action("enter", "entered", "show only these", "show the rows where it holds, and no others"), CANCEL),
}
BY_VIEW = {
    "table": TABLE, "row": ROW, "tokens": TOKEN_VIEW, "stats": STATISTICS, "lengths": LENGTHS, "checks": CHECKS,
    "problems": PROBLEMS, "pending": PENDING, "frequency": FREQUENCY, "steps": STEPS,
    "versions": VERSIONS, "difference": DIFFERENCE, "open": OPENING,
}  # fmt: skip
# enter and tab are the line's own keys where one is typed
EVERY = tuple(dict.fromkeys(a for actions in BY_VIEW.values() for a in actions if a not in (OPEN_TYPED, COMPLETE)))


def name_of(run: str) -> str:
    """The action's name without its arguments."""
    return run.partition("(")[0]


NAMES = frozenset(name_of(action.run) for actions in BY_VIEW.values() for action in actions)

HELP = """
Data is where you look at the rows before a model sees them. Open a file (o), and the studio tells how it is \
read, which column is the prompt and which the completion, and what is wrong with it. Then r makes a recipe from it.

A model reads tokens, pieces of words, not letters. The token view (t) shows the very tokens it gets for a \
row, after the template has put prompt and completion together and max_length has cut what is too long. Only \
the trained ones (bold and underlined) are learnt; masked ones are read, not learnt. The end token should be \
learnt, or the model won't know when to stop. Tokenizer and model are those of the recipe at hand; without one, the \
bundled demo's.

Searching (/) and filtering (f) understand:
  cat dog              both words, in any column
  "cat and dog"        these very words
  -cat                 not this word
  answer:cat           the word in the column answer
  size=3  size>3       a column's value
  length>200           characters in all columns; answer.length>200 in one
  row>100              the row's number, counted from 0
  /c[au]t/             a regular expression

An expression (=) says more: words(answer) > 200 and "sorry" in lower(answer). It looks like Python, but can do \
nothing but compare. F counts the values of a column, i tells all columns in figures. + selects rows, * all in view, \
and " opens them as a sheet. All this, and every repair, is kept in a log (L) that \
`ftstudio data FILE --replay LOG` does again without a screen.

Repairs: e edits the cell at hand (in the view of a row all of it), d drops the row, A adds one, u takes it back. \
They are kept at once, even if the studio is killed, and marked in the table; P lists them. w saves them as a new \
version, called name@1, name@2 and so on; your own file is never written to.

E-mail addresses, phone, card and account numbers, keys and passwords are masked (•••) wherever rows are shown; z \
shows them. Editing and copying take rows as they are.

Checks (k) lists duplicates, empty answers, rows that are cut and the like, with the rows one key away.
"""
