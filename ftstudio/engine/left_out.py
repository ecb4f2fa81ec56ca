"""Which rows can't be used and why, in words: with their numbers, so that they can be found."""

from __future__ import annotations

from collections.abc import Sequence

from ftstudio.core.text import one_line

REASONS, NUMBERS = 3, 6  # reasons told, and row numbers of each


def left_out(rows: Sequence[tuple[int, str]]) -> str:
    """ROWS, (number from 0, why it can't be used) each, in words: by reason, the most frequent first."""
    by_reason: dict[str, list[int]] = {}
    for row, reason in rows:
        by_reason.setdefault(one_line(reason, 120), []).append(row + 1)
    parts = []
    for reason, numbers in sorted(by_reason.items(), key=lambda pair: (-len(pair[1]), pair[1][0]))[:REASONS]:
        parts.append(f"{reason} ({numbered(numbers)})")
    rest = len(by_reason) - REASONS
    return "; ".join(parts) + (f"; {rest} other reasons" if rest > 0 else "")


def numbered(numbers: Sequence[int]) -> str:
    """NUMBERS of rows, from 1 on, in words: `row 4`, `rows 4, 8`, the first few of many."""
    some = ", ".join(f"{one:,}" for one in sorted(numbers)[:NUMBERS])
    more = f" and {len(numbers) - NUMBERS:,} more" if len(numbers) > NUMBERS else ""
    return f"row{'s' if len(numbers) > 1 else ''} {some}{more}"
