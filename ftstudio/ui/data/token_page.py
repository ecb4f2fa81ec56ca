"""The token view: the very tokens the model sees of a row, which are trained, which are masked, which are lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, get_character_cell_size
from rich.style import Style

from ftstudio.core.text import clean, one_line
from ftstudio.data.personal import masked_pieces
from ftstudio.data.view import Piece, TokenView
from ftstudio.ui.data.page import Page
from ftstudio.ui.text.lines import Line, Part

SHOWN = 8_192  # tokens laid out; more are counted, not drawn
WAYS = ("tokens", "ids", "text")  # how tokens are told apart: a dot between, the id behind, not at all


class TokenPage(Page):
    """Tokens in reading order. Trained ones are bold and underlined, masked ones plain and dim, special ones reversed,
    lost ones struck out behind a line that says where the cut is: readable without any colour."""

    INKS = {
        **Page.INKS,
        "trained": "bold underline $success", "masked": "$foreground 65%", "special": "reverse $foreground 65%",
        "special-trained": "bold underline reverse $success", "lost": "strike $error",
    }  # fmt: skip

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id)
        self.view: TokenView | None = None
        self.way = WAYS[0]
        self.said = ""
        self.order = ""  # of the rows one goes through
        self.row: Sequence[str] = ()  # the texts of the row
        self.texts: list[str] = []  # of the tokens laid out; what is personal or secret is masked unless asked for
        self.fixed = 4

    def show(self, view: TokenView, said: str, row: Sequence[str] = (), *, stay: bool = False) -> None:
        """Show VIEW; SAID names tokenizer, template and limit, ROW holds the texts of the row."""
        self.view, self.said, self.row = view, said, row
        self._mask()
        self.fresh(stay=stay)

    def show_bare(self, bare: bool) -> None:
        self.bare = bare
        self._mask()
        self.fresh(stay=True)

    def _mask(self) -> None:
        texts = [piece.text for piece in self.view.pieces[:SHOWN]] if self.view is not None else []
        self.texts = texts if self.bare else masked_pieces(texts, self.row)

    def next_way(self) -> None:
        """Tell tokens apart in the next way."""
        self.way = WAYS[(WAYS.index(self.way) + 1) % len(WAYS)]
        self.fresh(stay=True)

    def _ink(self, name: str) -> Style:
        if name in ("special", "special-trained"):
            style = self._inks[name]
            return Style(color=style.color, bold=style.bold, underline=style.underline, reverse=True)
        return super()._ink(name)

    # -- the lines on top --------------------------------------------------------------------------------------------
    def heading(self, y: int) -> Line:
        view = self.view
        if view is None:
            return ()
        if y == 0:
            return self._account(view)
        if y == 1:
            merged = "  ·  prompt and answer would share a token" if view.boundary == "merged" else ""
            note = f"  ·  {one_line(view.note, 200)}" if view.note else ""
            order = f"{self.order} first (s)  ·  " if self.order else ""
            said = one_line(self.said, 300)
            if cell_len(f"{order}{said}{merged}{note}") > self.columns:  # what is special here first
                said, note = note.removeprefix("  ·  "), f"{'  ·  ' if note else ''}{said}"
            return ((order, "mark"), (said, "dim"), (merged, "warn"), (note, "dim"))
        if y == 2:
            dot = {"tokens": "a·b two tokens", "ids": "a⟨7⟩ its id", "text": ""}[self.way]
            return (
                ("trained", "trained"), ("  ", ""), ("masked", "masked"), (" (read, not learnt)  ", "dim"),
                ("<s>", "special"), (" special  ", "dim"), ("lost", "lost"), (" cut off  ", "dim"), (dot, "dim"),
            )  # fmt: skip
        return (("─" * self.columns, "rule"),)

    def _account(self, view: TokenView) -> Line:
        if view.problem:
            return ((f"row {view.row}  ", "title"), (f"✗ {one_line(view.problem, 200)}", "bad"))
        kept = view.trained + view.masked
        counted = (
            (f"row {view.row}  ", "title"),
            (f"{kept:,} tokens", "strong"),
            (f": {view.trained:,} trained ({view.percent_trained:.0f} %), {view.masked:,} masked, ", ""),
            (f"{view.lost:,} lost", "bad" if view.lost else ""),
            ("  ", ""),
        )
        left = self.columns - sum(cell_len(text) for text, _ in counted)
        if view.ends is None:
            return counted
        good = bool(view.ends)
        ways = ("✓ end token learnt", "✓ end learnt", "✓") if good else ("! end token not learnt", "! end not learnt")
        text = next((way for way in ways if cell_len(way) <= left), ways[-1])
        return (*counted, (text, "good" if good else "warn"))

    # -- the tokens --------------------------------------------------------------------------------------------------
    def compose_lines(self, width: int) -> list[Line]:
        view = self.view
        if view is None or not view.pieces:
            return []
        lines: list[Line] = []
        row: list[Part] = []
        used = 0
        lost = False

        def end_line() -> None:
            nonlocal row, used
            lines.append(tuple(row))
            row, used = [], 0

        for number, (piece, shown) in enumerate(zip(view.pieces[:SHOWN], self.texts, strict=True)):
            if piece.lost and not lost:
                lost = True
                if row:
                    end_line()
                lines.append(self._cut_line(view, width))
            for text, ink, ends in self._parts(piece, shown, width):
                size = cell_len(text)
                if used and used + size > width:
                    end_line()
                row.append((text, ink))
                used += size
                if ends:
                    end_line()
            if self.way == "tokens" and number + 1 < len(view.pieces):
                if used:
                    row.append(("·", "rule"))
                    used += 1
                elif lines:  # it ended its line itself
                    lines[-1] = (*lines[-1], ("·", "rule"))
        if row:
            end_line()
        if len(view.pieces) > SHOWN:
            lines.append(((f"… {len(view.pieces) - SHOWN:,} more tokens", "dim"),))
        return lines

    @staticmethod
    def _cut_line(view: TokenView, width: int) -> Line:
        trained = sum(piece.trained for piece in view.pieces if piece.lost)
        text = f"── cut here: {view.lost:,} tokens lost, {trained:,} of them would have been trained "
        return ((text + "─" * max(0, width - len(text)), "bad"),)

    def _parts(self, piece: Piece, shown: str, width: int) -> Iterator[tuple[str, str, bool]]:
        """(text, ink, whether the line ends behind it) of a token, SHOWN so; longer ones than a line come in pieces."""
        if piece.lost:
            ink = "lost"
        elif piece.special:
            ink = "special-trained" if piece.trained else "special"
        else:
            ink = "trained" if piece.trained else "masked"
        text = clean(shown, 2_000)
        if not text:
            text = "∅"
        number = piece.id if shown == piece.text else "•"  # the id would tell what is masked
        behind = f"⟨{number}⟩" if self.way == "ids" else ""
        chunks = text.split("\n")
        for place, chunk in enumerate(chunks):
            last = place == len(chunks) - 1
            for part in _fold(chunk + ("" if last else "↵"), width):
                yield part, ink, False
            if last and behind:
                yield behind, "rule", False
            elif place == len(chunks) - 2 and behind and not chunks[-1]:
                yield behind, "rule", True
                return
            elif not last:
                yield "", ink, True


def _fold(text: str, width: int) -> Iterator[str]:
    """TEXT in pieces of at most WIDTH cells."""
    start = used = 0
    for index, char in enumerate(text):
        size = get_character_cell_size(char)
        if used + size > width:
            yield text[start:index]
            start, used = index, 0
        used += size
    if start < len(text):
        yield text[start:]
