"""What a person can do on the screen Errors, and with which key."""

from __future__ import annotations

from ftstudio.ui.shell.actions import Action

OPEN = Action("enter", "open", "open", "see a category's rows, then a row in full")
ANSWER = Action("g", "answer", "answer", "let the model answer the held-out rows (those not answered yet)")
STOP = Action("s", "stop", "stop", "stop what is being done; what was answered is kept")
MODEL = Action("b", "other_model", "base/tuned", "base model, tuned model of the run in view, stored answers")
FILE = Action("i", "import", "import", "read answers from a file: JSON lines with prompt, reference, output")
ROWS = Action("l", "limit", "rows", "how many held-out rows are answered")
ORDER = Action("o", "order", "order", "the order of the rows: as in the data, by category, like this one, …")
EXPORT = Action("x", "export", "export", "write files: the table and all rows, held-out rows, preference pairs")
NEXT = Action("n", "next(1)", "next", "the next row of this category")
PREVIOUS = Action("p", "next(-1)", "previous", "the row before")
TAG = Action("capitals", "nothing", "tag", "a capital letter puts the row into that category or takes it out")
AGREE = Action("space", "agree", "agree", "note that you looked and agree; go to the next row (enter does, too)")
NOTE = Action("j", "note", "note", "jot down a note on this row: why you decided so, what to do about it")
UNDO = Action("u", "undo", "undo", "take back your last tag")
AUTOMATIC = Action("r", "automatic", "automatic", "forget your tags on this row: the checks decide again")
DIFFERENCE = Action("d", "difference", "diff", "mark what differs from the reference, word by word")
FOLD = Action("z", "fold", "unfold", "show a shortened prompt in full")
COPY = Action("y", "copy", "copy", "copy prompt, reference and output (clipboard and a file)")
TRAINING = Action("t", "training", "training", "the training rows near this one, and those with the same fault")
GROUPS = Action("m", "groups", "groups", "group these answers by meaning; of labels, which is taken for which")
CHOOSE = Action("enter", "open", "show its rows", "only the rows of this group, or pair of labels, in the list")
SURE = Action(
    "r", "reliability", "sure/labels", "how sure the answers are and how often right, or which label is taken for which"
)
FAULT = Action("f", "same_fault", "fault", "rows near the failing one, or all training rows with the same fault")
CORRECT = Action("e", "correct", "your answer", "type in the answer the row should have had (ctrl+o: your editor)")
ADD_ROW = Action("a", "add_row", "add row", "the prompt with your answer, else the reference, as a new training row")
SUGGEST = Action("w", "suggest", "suggest", "let the base, the tuned model or a server write the answer: a suggestion")
OWN = Action("c", "own_category", "own category", "write a category of your own and see what it catches")
OUTCOME = Action("f", "outcome", "before/after", "what the repair before this run did, category by category")
CATEGORY = Action("c", "category", "category", "the next category that occurs in the training answers")
DROP = Action("d", "drop", "drop", "leave this training row out of the next version: a pending repair")
EDIT = Action("e", "edit", "edit", "change this row's answer in the next version: a pending repair")
DROP_ALL = Action("D", "drop_all", "", "leave all listed training rows out; asks first", name="drop all listed")
HEAVIER = Action("plus", "weigh(2.0)", "weigh", "train this row twice as often in the next version", name="weigh up")
LIGHTER = Action("minus", "weigh(0.5)", "", "train this row half as often in the next version", name="weigh down")
RELABEL = Action("h", "relabel", "relabel", "the likelier label instead of the one in doubt: a pending repair")
PENDING = Action("l", "pending", "repairs", "the repairs that wait to be saved, and what they are meant to fix")
UNDO_REPAIR = Action("u", "undo_repair", "undo", "take back the last repair")
VERSION = Action("v", "version", "save", "save the repairs as a new version of the data, and train on it")
BACK = Action("escape", "back", "back", "back to the list")

IN_DETAIL = (
    NEXT, PREVIOUS, TAG, DIFFERENCE, AGREE, UNDO, TRAINING, CORRECT, ADD_ROW, SUGGEST, ORDER, GROUPS, AUTOMATIC, COPY,
    FOLD, EXPORT, OWN, OUTCOME, NOTE, RELABEL, BACK,
)  # fmt: skip
IN_TRAINING = (
    DROP, EDIT, UNDO_REPAIR, VERSION, FAULT, BACK, PENDING, HEAVIER, SUGGEST, CATEGORY, FOLD, LIGHTER, DROP_ALL,
    RELABEL,
)  # fmt: skip
IN_GROUPS = (CHOOSE, BACK, FOLD)
IN_CONFUSION = (CHOOSE, SURE, BACK)
IN_RELIABILITY = (SURE, BACK)
IN_A_PAGE = (*(action for action in IN_TRAINING if action not in IN_DETAIL), SURE)
# where the answers are labels, some of which are in doubt
LABELS_IN_DETAIL = (*IN_DETAIL[:3], RELABEL, *(action for action in IN_DETAIL[3:] if action is not RELABEL))
LABELS_IN_TRAINING = (RELABEL, *(action for action in IN_TRAINING if action is not RELABEL))
ONLY_IN_A_ROW = (CORRECT, ADD_ROW)
ALL_ACTIONS = (OPEN, ANSWER, STOP, MODEL, ROWS, FILE, *IN_DETAIL, *IN_A_PAGE)
