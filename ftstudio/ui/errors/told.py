"""The lines above the lists: whose answers, how many, what is being done; and what stands there before."""

from __future__ import annotations

from rich.cells import cell_len

from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line
from ftstudio.evaluation.stored import quantised
from ftstudio.ui.errors.answers import Answers
from ftstudio.ui.errors.marks import PEN
from ftstudio.ui.shell.session import Session
from ftstudio.ui.text.following import queued_behind
from ftstudio.ui.text.lines import Line, Part
from ftstudio.ui.text.said import fitting, wrapped


def head(answers: Answers, wrong: tuple[int, int], width: int) -> Line:
    """Whose answers, how many, how many of them WRONG (of those judged), as much as fits into WIDTH cells."""
    rows = len(answers.predictions)
    parts: list[Part] = []
    full = answers.progress()
    brief = f"{answers.reviewed:,} reviewed {PEN}"
    for unit, said in (("rows answered", full), ("rows", full), ("rows", full.partition(" · ")[0]), ("rows", brief)):
        parts = [(one_line(answers.model, 40), "title")]
        if bits := quantised(answers.following.start):
            parts.append((f" in {bits}", "dim"))
        if rows:
            parts.append((f"  {rows:,} {unit}", ""))
        if wrong[1]:
            parts.append((f" · {wrong[0]:,} with errors ({100 * wrong[0] / wrong[1]:.0f} %)", ""))
        if answers.reviewed or answers.outdated:
            parts.append((f" · {said}", "key"))
        if sum(cell_len(text) for text, _ in parts) <= width:
            break
    mean = answers.mean("rougeL")
    if mean is not None:
        parts.append((f" · ROUGE-L {mean:.3f}", "dim"))
    return fitting(parts, width)


def status(answers: Answers, session: Session, asked: bool, kind: str, width: int, doing: str = "") -> list[Line]:
    """What is being done with ANSWERS, or which keys lead on, in lines of WIDTH cells.

    ASKED: the worker was asked and has not begun; KIND: whose they are, see `subject.KINDS`; DOING: what the screen
    itself is working out.
    """
    if doing:
        return [((one_line(doing, width - 10), "warn"), ("   s stops", "dim"))]
    following = answers.following
    if following.running:
        return [(*following.bar(16), ("   s stops", "dim"))]
    behind = queued_behind(session, answers.folder.path) if asked else None
    if behind:
        return [(("… queued behind ", "warn"), (one_line(behind, 60), ""), ("   s takes it back", "dim"))]
    if asked:
        return [(("▶ ", "good"), ("starting", ""))]
    failed = following.failed_lines(width)
    if failed:
        return failed
    if not answers.settled and answers.predictions:
        return [(("categorising …", "dim"),)]
    if answers.trouble:
        return wrapped(f"! {answers.trouble}", width, "warn")
    if following.alerts:
        return wrapped(f"! {following.alerts[-1]}", width, "warn")
    if following.state == "stopped":
        return [(("■ stopped; ", "dim"), ("g", "key"), (" goes on", "dim"))]
    if following.state == "interrupted":
        return [(("! was interrupted; ", "warn"), ("g", "key"), (" goes on", "dim"))]
    return [_onwards(session, kind, width)] if answers.predictions else []


def _onwards(session: Session, kind: str, width: int) -> Line:
    """The next steps of the loop, as many as fit into WIDTH cells."""
    compared = session.feed is not None and session.feed.run.model.is_dir()
    steps = [("enter", "reads rows")]
    if kind == "stored":
        steps += [("i", "another file"), ("3", "trains a better model")]
    elif kind == "tuned":
        steps += [("5", "compares with the base"), ("1", "back to the data")]
    else:
        steps += [("3", "trains a better model"), *([("5", "compares base and tuned")] if compared else [])]
    parts: list[Part] = []
    for key, what in steps:
        width -= len(key) + len(what) + 4
        if width >= -3:
            parts += [("   " if parts else "", ""), (key, "key"), (f" {what}", "dim")]
    return tuple(parts)


def opening(
    answers: Answers | None, rows: int, error: StudioError | None, waiting: bool, asked: bool, other: str, width: int
) -> list[Line]:
    """What stands on the screen before there are answers, with the keys that lead on.

    ROWS is how many would be answered, ERROR what is wrong with the recipe, WAITING whether its data is being opened,
    ASKED whether the job was handed over, OTHER what `b` leads to (empty: nothing), WIDTH the cells of a line.
    """
    lines: list[Line] = [(("What does the model get wrong on your data?", "strong"),), ()]
    if error is not None:
        lines += wrapped(one_line(error.message, 400), width, "bad", 4)
        lines += [*wrapped(one_line(error.hint, 300), width, "", 3), ()]
        lines.append((("3", "key"), ("  opens the recipe", "")))
    elif waiting:
        lines.append((("opening the data of the recipe …", "dim"),))
    elif answers is None:
        lines += [
            (("There is no recipe yet: it says which model and which data.", ""),),
            (),
            (("1", "key"), ("  opens a dataset", "")),
            (("3", "key"), ("  makes a recipe", "")),
            (("6", "key"), ("  opens an earlier run", "")),
            (("i", "key"), ("  reads answers from a file", "")),
        ]
    elif answers.following.running or asked:
        lines.append((("Answers appear here as they come.", ""),))
    else:
        lines += [
            (("g", "key"), (f"  lets the model answer held-out rows, {rows:,} at most,", "")),
            (("   and sorts what is wrong with the answers into categories", "dim"),),
            (("l", "key"), ("  sets how many rows", "")),
            (("i", "key"), ("  reads answers from a file instead", "")),
        ]
        failed = answers.following.failed_lines(width)
        if other:
            lines.append((("b", "key"), (f"  looks at the {other}", "")))
        if failed:
            lines += [(), *failed]
    return lines
