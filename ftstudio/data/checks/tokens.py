"""What a template and a tokenizer make of the rows: names and turns that get lost, cuts, masks, ends."""

from __future__ import annotations

from collections.abc import Sequence

from ftstudio.core.text import one_line
from ftstudio.data.checks.found import Check, found, said
from ftstudio.data.dataset import Dataset
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.example import BadRow, Turn
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template, Unread

LOOKED = 200  # rows taken through the template and back


def of_template(template: Template, dataset: Dataset, shape: Shape) -> list[Check]:
    """Names that no row has, and turns that don't come out of the template as they went in."""
    return [*_variables(template, dataset, shape), *_round_trip(template, dataset, shape)]


def _round_trip(template: Template, dataset: Dataset, shape: Shape) -> list[Check]:
    """The turns of the first rows, looked for in what the template makes of them."""
    if template.name != "chat":
        return []  # the others write turns as they are, or as a person wants them
    gone: list[int] = []
    what = ""
    for index in range(min(LOOKED, len(dataset))):
        try:
            example = shape.example(dataset[index])
            text = "".join(segment.text for segment in template.segments(example))
        except BadRow:
            continue
        seen = example.messages[: example.answer_at + 1]
        lost = next((turn for turn in seen if not _written(turn, text, template)), None)
        if lost is not None:
            gone.append(index)
            what = what or f"row {index}, {lost.role}: {one_line(lost.content, 40)}"
    text = f"{said(gone)} of the first {LOOKED} of which the template drops or changes a turn ({what})."
    return [found("template_text", "warning", gone, text)]


def _written(turn: Turn, text: str, template: Template) -> bool:
    """Whether what TURN says, and the names of what it calls, stand in TEXT."""
    if not (turn.calls and template.reads_calls):
        return turn.content.strip() in text
    return turn.said.strip() in text and all(call["function"]["name"] in text for call in turn.calls)


def _variables(template: Template, dataset: Dataset, shape: Shape) -> list[Check]:
    if not template.variables:
        return []
    known: set[str] = set(dataset.names)
    for index in range(min(20, len(dataset))):
        try:
            known |= set(shape.example(dataset[index]).fields)
        except BadRow:
            continue
    gone = sorted(template.variables - known - {"messages", "prompt", "completion"})
    if not gone:
        return []
    text = f"The template names {', '.join(gone)}, which no row has."
    return [Check("template_variable", "error", len(gone), (), text, {"variables": gone})]


def of_tokens(
    encoded: EncodedSet,
    dataset: Dataset,
    max_length: int | None,
    known: dict[str, set[int]],
    start: int | None = None,
) -> list[Check]:
    """What the tokens of DATASET tell; KNOWN are rows by check that were told already, START is the id of the start
    token."""
    table = encoded.table
    cut = [row for row, lost in enumerate(table["lost_completion"]) if lost or table["lost_prompt"][row]]
    lost, whole = encoded.stats.lost_completion, sum(table["completion"])
    gone = set(encoded.all_masked)
    merged = [row for row, flag in enumerate(table["merged"]) if flag]
    cut_rows = set(cut)
    open_end = [row for row in encoded.rows if not table["ends"][row] and row not in cut_rows]
    share = 100 * lost / max(1, whole)
    blank = blank_lines(encoded, dataset)
    skip = known.get("unusable", set()) | blank
    twice = _double(encoded, start)
    checks = [
        unread_parts(encoded),
        _unusable(encoded, gone | skip),
        found(
            "cut_by_max_length",
            "warning",
            cut,
            f"{said(cut)} longer than {max_length} tokens: {lost:,} trained tokens ({share:.1f} %) are lost.",
            lost_tokens=encoded.stats.lost,
            lost_trained=lost,
        ),
        _masked(encoded, blank),
        found(
            "end_not_learnt",
            "warning",
            open_end,
            f"{said(open_end)} not ending with an end token: the model isn't taught to stop.",
        ),
        found(
            "double_start",
            "warning",
            twice,
            f"{said(twice)} beginning with two start tokens: the template writes one, and so does the text.",
        ),
        found(
            "boundary_merge",
            "note",
            merged,
            f"{said(merged)} where prompt and answer would share a token; the answer is tokenised on its own there.",
        ),
    ]
    return checks


_UNREAD: dict[Unread, str] = {
    "tools": "with tools that the template doesn't write: the model doesn't see them",
    "calls": "calling tools, for which the template has no form: it is JSON",
    "thoughts": "with reasoning that the template doesn't write: it isn't learnt",
}


def unread_parts(encoded: EncodedSet) -> Check:
    """The rows of which the template has no place for a part."""
    texts = [f"{said(rows)} {_UNREAD[part]}." for part, rows in encoded.unread.items()]
    rows = sorted({row for some in encoded.unread.values() for row in some})
    return found("unread_parts", "warning", rows, " ".join(texts))


def _unusable_text(unusable: Sequence[tuple[int, str]]) -> str:
    return f"{said(unusable)} unusable: {unusable[0][1]}." if unusable else ""


def _double(encoded: EncodedSet, start: int | None) -> list[int]:
    """The rows that begin with START twice."""
    if start is None:
        return []
    ids, starts = encoded.ids, encoded.starts
    return [
        row
        for place, row in enumerate(encoded.rows)
        if starts[place + 1] - starts[place] > 1 and ids[starts[place]] == ids[starts[place] + 1] == start
    ]


def errors_of_tokens(encoded: EncodedSet, dataset: Dataset) -> list[Check]:
    """The errors alone: rows that can't be used, and rows of which nothing would be trained."""
    blank = blank_lines(encoded, dataset)
    gone = set(encoded.all_masked)
    return [check for check in (_unusable(encoded, gone | blank), _masked(encoded, blank)) if check.count]


def blank_lines(encoded: EncodedSet, dataset: Dataset) -> set[int]:
    """The rows left out of ENCODED that are blank lines of a text file: they part its paragraphs, and lack nothing."""
    return {row for row, _ in encoded.excluded if blank_line(dataset, row)}


def blank_line(dataset: Dataset, row: int) -> bool:
    """Whether ROW is a blank line of a text file."""
    return set(dataset.format.split(" + ")) == {"text"} and not str(dataset[row].get("text") or "").strip()


def _unusable(encoded: EncodedSet, skip: set[int]) -> Check:
    rows = [(row, why) for row, why in encoded.excluded if row not in skip]
    return found("unusable", "error", [row for row, _ in rows], _unusable_text(rows))


def _masked(encoded: EncodedSet, skip: set[int]) -> Check:
    rows = [row for row in encoded.all_masked if row not in skip]
    return found(
        "all_labels_masked",
        "error",
        rows,
        f"{said(rows)} that would train nothing, left out; raise max_length, or drop them.",
    )
