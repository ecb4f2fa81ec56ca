"""What a person can do on the screen Compare, and with which key."""

from __future__ import annotations

from ftstudio.ui.shell.actions import Action

OPEN = Action("enter", "open", "open", "see a row in full: prompt, reference, and what each arm answered")
COMPARE = Action("g", "compare", "compare", "let base and tuned answer the held-out rows, score both, report")
STOP = Action("s", "stop", "stop", "stop comparing; what was answered is kept")
ORDER = Action("o", "order", "order", "sort the rows: best gains, worst losses, in order")
VIEW = Action("w", "views", "views", "which rows: all, different, gained, lost, fixed, broken, still right, both wrong")
OWN = Action("slash", "own", "filter", "rows for which an expression of your own holds")
CATEGORIES = Action("c", "categories", "categories", "every error category before and after; enter shows its rows")
FILTER = Action(
    "f", "filter", "of a category", "rows of one category: fixed or broke, fixed, broke, base had it, tuned has it"
)
SLICES = Action("i", "slices", "slices", "every part of the rows by itself: source, lengths, labels, columns, errors")
SOURCES = Action("u", "sources", "sources", "of a mix: every metric on each source by itself")
FIGURES = Action("t", "figures", "totals", "every metric with its verdict in words, and pictures of the differences")
METRIC = Action("m", "metric", "metric", "another metric")
FORGETTING = Action("e", "forgetting", "forgetting", "what the tuning cost on general text, and what to do about it")
JUDGE = Action("J", "judge", "judge", "what the judge model found")
REMEDIES = tuple(
    Action(key, f"remedy('{name}')", label, text)
    for name, key, label, text in (
        ("adapter", "a", "adapter", "the same recipe with an adapter (LoRA) instead of all weights"),
        ("rate", "r", "smaller rate", "the same recipe with half the learning rate"),
        ("replay", "m", "replay", "the same recipe with general text trained along"),
        ("shorter", "k", "shorter", "the same recipe, half as long"),
    )
)
VOTE = Action("b", "vote", "votes", "blind votes: vote on the rows without knowing which answer is whose")
CHAT = Action("h", "chat", "chat", "type something yourself: both answer")
ARMS = Action("a", "arms", "arms", "which two arms are held against each other")
WANTED = Action(
    "A", "arms_wanted", "choose arms", "compare other arms: base with examples, checkpoints, other runs, files, servers"
)
RUN = Action("v", "choose", "run", "compare another run")
ROWS = Action("l", "limit", "rows", "how many held-out rows are answered")
PART = Action("T", "part", "test rows", "the rows kept for the test instead of the held-out ones, and back")
EXPORT = Action("x", "export", "export", "write the report as text, Markdown and one HTML page")
NEXT = Action("n", "next(1)", "next", "the next row in this order")
PREVIOUS = Action("p", "next(-1)", "previous", "the row before")
DIFFERENCE = Action("d", "difference", "diff", "mark words: against the first, all against the reference, nothing")
FOLD = Action("z", "fold", "unfold", "show shortened texts in full")
COPY = Action("y", "copy", "copy", "copy prompt, reference and all answers (clipboard and a file)")
BACK = Action("escape", "back", "back", "back; in the list: all rows again")

IN_LIST = (OPEN, FIGURES, VIEW, SLICES, VOTE, CHAT, CATEGORIES, ORDER, OWN, FILTER, FORGETTING)
IN_DETAIL = (NEXT, PREVIOUS, DIFFERENCE, FOLD, COPY, CATEGORIES, EXPORT, BACK)
IN_CATEGORIES = (OPEN, EXPORT, BACK)
IN_SLICES = (OPEN, METRIC, OWN, EXPORT, BACK)
IN_JUDGE = (ARMS, VOTE, EXPORT, BACK)
IN_SOURCES = (ARMS, SLICES, FIGURES, EXPORT, BACK)
IN_FIGURES = (METRIC, SLICES, CATEGORIES, ARMS, EXPORT, BACK)
ALL_ACTIONS = (
    *IN_LIST, SOURCES, METRIC, JUDGE, ARMS, COMPARE, WANTED, STOP, RUN, ROWS, PART, NEXT, PREVIOUS, DIFFERENCE, FOLD,
    COPY, EXPORT, BACK,
)  # fmt: skip
