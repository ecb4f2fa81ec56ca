"""What stands on the screen Compare before there is a comparison, and what is being done."""

from __future__ import annotations

from rich.cells import cell_len

from ftstudio.core.text import one_line
from ftstudio.ui.compare.arms import Arms
from ftstudio.ui.compare.summary import fell_and_rose, warnings
from ftstudio.ui.shell.session import Session
from ftstudio.ui.text.following import queued_behind
from ftstudio.ui.text.lines import Line, Part
from ftstudio.ui.text.said import fitting, wrapped


def status(arms: Arms, session: Session, asked: bool, width: int) -> list[Line]:
    """What is being done, or what makes the figures doubtful, or on how many rows, in lines of WIDTH cells."""
    following = arms.following
    if following.running:
        return [(*following.bar(12), ("   s stops", "dim"))]
    behind = queued_behind(session, arms.folder.path) if asked else None
    if behind:
        return [(("… queued behind ", "warn"), (one_line(behind, 60), ""), ("   s takes it back", "dim"))]
    if asked:
        return [(("▶ ", "good"), ("starting", ""))]
    failed = following.failed_lines(width)
    if failed:
        return failed
    if not arms.settled:
        return [(("scoring …", "dim"),)]
    rows = f"{len(arms.rows):,} {arms.rows_name}"
    doubts = warnings(arms)
    if doubts:
        more = f" (and {len(doubts) - 1} more)" if len(doubts) > 1 else ""
        return wrapped(f"! {doubts[0]}{more}", width, "warn")
    if not arms.final:
        why = "was stopped" if following.state == "stopped" else "isn't finished"
        return [((f"on {rows} · the comparison {why}; ", "dim"), ("g", "key"), (" goes on", "dim"))]
    parts: list[Part] = [(f"on {rows} that neither was trained on", "dim")]
    changed = fell_and_rose(arms.categories())
    if changed:
        parts.append((f" · {changed}", ""))
    parts += [("   2", "key"), (" shows the errors that are left", "dim")]
    return [fitting_pairs(parts, width)]


def fitting_pairs(parts: list[Part], width: int) -> Line:
    """PARTS within WIDTH cells, the last two (a key and what it does) both or neither."""
    whole = sum(cell_len(text) for text, _ in parts) <= width
    return fitting(parts if whole else parts[:-2], width)


def opening(
    arms: Arms | None,
    has_model: bool,
    state: str,
    others: bool,
    rows: int,
    asked: bool,
    width: int,
    trained: str = "",
) -> list[Line]:
    """What to do first. HAS_MODEL: the run in view has a tuned model; STATE: the run's; OTHERS: there are other runs;
    ROWS would be answered; ASKED: the job was handed over; WIDTH the cells of a line; TRAINED: of which step the model
    is, where that isn't the end of its training."""
    lines: list[Line] = [(("Is the tuned model really better?", "strong"),), ()]
    if arms is None:
        if others:
            lines += [(("No run is in view.", ""),), (), (("v", "key"), ("  chooses one", ""))]
        else:
            lines += [
                (("There is no run with a tuned model yet.", ""),),
                (),
                (("3", "key"), ("  makes a recipe and starts a run", "")),
            ]
        return lines
    name = one_line(arms.run.name, 40)
    if not has_model:
        lines += [((f"{name} has saved no model yet (it is {state}).", ""),), (), (("4", "key"), ("  shows it", ""))]
        if others:
            lines.append((("v", "key"), ("  chooses another run", "")))
        return lines
    if arms.following.running or asked:
        return [*lines, (("Rows appear here as both have answered them.", ""),)]
    lines += [
        ((f"{name} against its base model", "title"),),
        *([((f"! Its model: {trained}", "warn"),)] if trained else []),
        (),
        (("g", "key"), (f"  lets both answer the same {arms.rows_name}, {rows:,} at most,", "")),
        (("   side by side, and tells whether the difference is more than chance", "dim"),),
        (("A", "key"), ("  chooses what is compared: examples, checkpoints, runs, files, servers", "")),
        (("l", "key"), ("  sets how many rows", "")),
    ]
    if others:
        lines.append((("v", "key"), ("  chooses another run", "")))
    failed = arms.following.failed_lines(width)
    return [*lines, (), *failed] if failed else lines
