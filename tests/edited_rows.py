"""Rows that hold anything, with edits upon them that a plain list knows too."""

from __future__ import annotations

from hypothesis import strategies as st

from ftstudio.data.dataset import Row, from_rows
from ftstudio.data.versions.actions import add, drop, duplicate, set_cell, set_row
from ftstudio.data.versions.edit import Edit
from ftstudio.data.versions.identity import same
from ftstudio.data.versions.working import Working

CELL = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(width=16), st.text(max_size=5), st.binary(max_size=3),
    st.lists(st.text(max_size=2), max_size=2), st.dictionaries(st.sampled_from(["role", "$ftstudio"]), st.text()),
)  # fmt: skip
ROWS = st.lists(st.dictionaries(st.sampled_from("abc"), CELL, max_size=3), min_size=1, max_size=8)


@st.composite
def edited(draw: st.DrawFn) -> tuple[list[Row], Working, list[Row], list[Edit]]:
    """Rows, the same with edits upon them, what a plain list says they should be, and the edits."""
    rows = draw(ROWS)
    working, oracle, edits = Working(from_rows(rows)), [dict(row) for row in rows], []
    for _ in range(draw(st.integers(0, 6))):
        count = len(oracle)
        kind = draw(st.sampled_from(["cell", "row", "drop", "duplicate", "add", "end"] if count else ["end"]))
        at = draw(st.integers(0, count - 1)) if count else 0
        if kind == "cell":
            name, value = draw(st.sampled_from("abcd")), draw(CELL)
            edit = set_cell(working, at, name, value)
            oracle[at] = {**oracle[at], name: value}
        elif kind == "row":
            row = draw(st.dictionaries(st.sampled_from("abc"), CELL, max_size=3))
            edit = set_row(working, at, row)
            oracle[at] = row
        elif kind == "drop":
            some = draw(st.sets(st.integers(0, count - 1), min_size=1))
            edit = drop(working, some)
            oracle = [row for index, row in enumerate(oracle) if index not in some]
        elif kind == "duplicate":
            some = draw(st.sets(st.integers(0, count - 1), min_size=1))
            edit = duplicate(working, some)
            oracle = [copy for index, row in enumerate(oracle) for copy in [row] * (2 if index in some else 1)]
        else:
            new = draw(ROWS)
            edit = add(working, new, None if kind == "end" else at)
            place = len(oracle) if kind == "end" else at + 1
            oracle = [*oracle[:place], *new, *oracle[place:]]
        working = working.with_edit(edit)
        edits.append(edit)
    return rows, working, oracle, edits


def equal(one: list[Row], other: list[Row]) -> bool:
    return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
