"""A cell before and after a repair, as one marked text."""

from __future__ import annotations

from typing import Any

from ftstudio.data.personal import masked
from ftstudio.ui.data.cells import cell
from ftstudio.ui.text.lines import Line
from ftstudio.ui.text.marked import assemble, inked, wrap
from ftstudio.ui.text.worddiff import inline

CELL = 600  # characters of each


def differing(before: Any, after: Any, width: int, most: int, *, bare: bool, indent: str = "  ") -> list[Line]:
    """What became of BEFORE in at most MOST lines of WIDTH cells; personal data and secrets masked unless BARE."""
    one, two = cell(before, CELL), cell(after, CELL)
    marked = inline(one, two) if bare else inline(masked(one), masked(two))
    if not bare and one != two and masked(one) == masked(two):
        marked = assemble([(masked(two), ""), ("  (differs in what is masked: z shows it)", "warn")])
    places = wrap(marked.text, max(8, width - len(indent)))[:most]
    return [((indent, ""), *inked(marked, start, stop)) for start, stop in places]
