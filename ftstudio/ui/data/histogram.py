"""Lengths in tokens as upright bars, with the place where max_length cuts."""

from __future__ import annotations

from collections.abc import Sequence

from ftstudio.core.text import one_line
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.profile import Lengths, lengths
from ftstudio.ui.data.page import Page
from ftstudio.ui.text.lines import Line, Part

BARS = " ▁▂▃▄▅▆▇█"
NAMES = {"total": "total", "prompt": "prompt (masked)", "completion": "completion (trained)"}


def bars(counts: Sequence[int], height: int) -> list[str]:
    """COUNTS as HEIGHT lines of block characters, the highest first; whatever isn't zero shows at least a trace."""
    top = max(counts, default=0)
    if not top:
        return [" " * len(counts)] * height
    eighths = [0 if not count else max(1, round(count / top * height * 8)) for count in counts]
    return [
        "".join(BARS[max(0, min(8, value - 8 * level))] for value in eighths) for level in range(height - 1, -1, -1)
    ]


class LengthsPage(Page):
    """Three histograms: total, prompt, completion; behind the cut the bars are hollow."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id)
        self.encoded: EncodedSet | None = None
        self.max_length: int | None = None
        self.said = ""
        self.parted, self.windows = True, False

    def show(
        self, encoded: EncodedSet, max_length: int | None, said: str, *, parted: bool = True, windows: bool = False
    ) -> None:
        """Show the lengths in ENCODED, cut at MAX_LENGTH; SAID names tokenizer and template. PARTED: rows have a prompt
        and a completion that is trained, token by token. WINDOWS: a longer row becomes several, and loses nothing."""
        self.encoded, self.max_length, self.said = encoded, max_length, said
        self.parted, self.windows = parted, windows
        self.fresh()

    def compose_lines(self, width: int) -> list[Line]:
        if self.encoded is None:
            return []
        table = self.encoded.table
        usable = [row for row, total in enumerate(table["total"]) if total]
        lines: list[Line] = [((one_line(self.said, 300), "dim"),), self._loss()]
        if not usable:
            return [*lines, (), (("No row can be tokenised: k lists what is wrong.", "warn"),)]
        span = max(20, min(width - 9, 120))
        each = (self.size.height - 2) // 3  # lines for a title, the bars and an axis
        height, apart = max(3, min(8, each - 3)), each >= 6
        for name, title in NAMES.items() if self.parted else (("total", "tokens a row"),):
            values = [table[name][row] for row in usable]
            found = lengths(values, limit=self.max_length, bins=span)
            lines += [()] if apart else []
            cut = self.max_length if name == "total" and not self.windows else None
            lines += self._chart(title, found, cut, height)
        return lines

    def _loss(self) -> Line:
        """What the cut loses, in a sentence."""
        assert self.encoded is not None
        stats = self.encoded.stats
        trained = f"{stats.trained:,} of {stats.tokens:,} tokens are trained"
        if not self.parted:
            trained = f"{stats.tokens:,} tokens"
        if self.max_length is None:
            return ((f"no cut; {trained}", ""),)
        if self.windows and stats.kept > stats.rows - stats.unusable:
            windows = f": {stats.kept:,} windows of at most {self.max_length:,} tokens"
            return (("✓ nothing is cut", "good"), (f"{windows}; {trained}", ""))
        if not stats.lost:
            return (("✓ nothing is cut", "good"), (f"; {trained}", ""))
        rows = 100 * stats.truncated / max(1, stats.rows)
        of = f", {stats.lost_completion:,} of them trained" if self.parted else ""
        return (
            (
                f"! {stats.truncated:,} {'row' if stats.truncated == 1 else 'rows'} ({rows:.1f} %) "
                f"{'is' if stats.truncated == 1 else 'are'} cut",
                "warn",
            ),
            (f": {stats.lost:,} tokens lost{of}", ""),
        )

    def _chart(self, title: str, found: Lengths, limit: int | None, height: int) -> list[Line]:
        about = f"  mean {found.mean:,.0f} · half ≤ {found.p50:,} · 95 % ≤ {found.p95:,} · longest {found.max:,}"
        lines: list[Line] = [((f"{title}", "title"), (about, "dim"))]
        counts = list(found.counts)
        wide = max(1, min(4, 60 // max(1, len(counts)))) if len(counts) < 60 else 1
        cut = None if limit is None else next((i for i, edge in enumerate(found.edges[:-1]) if edge > limit), None)
        scale = f"{max(counts):,}"[:7]
        for level, text in enumerate(bars(counts, height)):
            stretched = "".join(char * wide for char in text)
            label = scale if level == 0 else "0" if level == height - 1 else ""
            parts: list[Part] = [(f"{label:>7} ", "dim")]
            if cut is None:
                parts.append((stretched, "key"))
            else:
                beyond = "".join("░" if char != " " else " " for char in stretched[cut * wide :])
                parts += [(stretched[: cut * wide], "key"), ("┆", "bad"), (beyond, "bad")]
            lines.append(tuple(parts))
        lines.append(self._axis(found, len(counts) * wide, cut, wide, limit))
        return lines

    @staticmethod
    def _axis(found: Lengths, span: int, cut: int | None, wide: int, limit: int | None) -> Line:
        low, high = f"{found.edges[0]:,}", f"{found.max:,}"
        marks = [" "] * (8 + max(span + 1, len(low) + len(high) + 2))
        for place, text in ((8, low), (max(8 + len(low) + 2, 8 + span - len(high)), high)):
            marks[place : place + len(text)] = text
        if cut == 0 and limit is not None:  # every row is longer: the cut lies before the first bar
            text = f"{limit:,}"[-7:]
            marks[7 - len(text) : 7] = text
            marks[8 : 9 + len(low)] = f"┆{low}"
        elif cut is not None and limit is not None:
            text = f"┆{limit:,}"
            place = 8 + cut * wide
            if place > 8 + len(low) and place + len(text) < len(marks) - len(high):
                marks[place : place + len(text)] = text
        return (("".join(marks).rstrip(), "dim"),)
