"""A word-level diff as marked text: removed words as `[-so-]`, added ones as `{+so+}`, beside their colours."""

from __future__ import annotations

from ftstudio.evaluation.diff import diff
from ftstudio.ui.text.marked import LONGEST, Marked, assemble

_SIGNS = {"-": ("[-", "-]", "del"), "+": ("{+", "+}", "ins")}


def inline(before: str, after: str, limit: int = LONGEST) -> Marked:
    """AFTER with what changed from BEFORE; both cut to LIMIT characters first."""
    parts: list[tuple[str, str]] = []
    for operation, text in diff(before[:limit], after[:limit]):
        core = text.strip()
        if operation == "=" or (operation == "+" and not core):
            parts.append((text, ""))
        elif core:
            opening, closing, ink = _SIGNS[operation]
            start = text.index(core)
            parts += [(text[:start], ""), (f"{opening}{core}{closing}", ink), (text[start + len(core) :], "")]
    marked = assemble(parts, 2 * limit)
    return Marked(marked.text, marked.spans, marked.hidden + max(0, len(after) - limit))
