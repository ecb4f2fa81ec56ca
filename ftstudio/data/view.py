"""The token view of one row: the very tokens a model sees, which of them are trained, and which a cut loses."""

from __future__ import annotations

from dataclasses import dataclass

from ftstudio.data.dataset import Dataset
from ftstudio.data.encode import IGNORED, encode
from ftstudio.data.example import BadRow
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template, Unread
from ftstudio.data.tokenizer import Tokenizer

_UNREAD: dict[Unread, str] = {
    "tools": "This row's tools aren't written.",
    "calls": "Its calls of tools are written as JSON.",
    "thoughts": "Its reasoning isn't written.",
}


@dataclass(frozen=True)
class Piece:
    """One token. `text` is what it decodes to, unsafe for a terminal until cleaned. `lost`: cut off by max_length."""

    text: str
    id: int
    trained: bool
    lost: bool
    special: bool


@dataclass(frozen=True)
class TokenView:
    """One row in tokens. `problem` says why there are none, `note` what is special about the template.

    `trained`, `masked` and `lost` count tokens; `percent_trained` is of those kept (0 to 100). `ends`: the end token is
    learnt (None: none is wanted). `boundary` is "merged" where prompt and answer would share a token if tokenised
    together.
    """

    row: int
    pieces: tuple[Piece, ...] = ()
    trained: int = 0
    masked: int = 0
    lost: int = 0
    ends: bool | None = False
    boundary: str = "clean"
    template: str = ""
    note: str = ""
    problem: str = ""

    @property
    def total(self) -> int:
        """All tokens, lost ones too."""
        return len(self.pieces)

    @property
    def percent_trained(self) -> float:
        """Share of the kept tokens that are trained, in percent."""
        return 100.0 * self.trained / max(1, self.trained + self.masked)

    @property
    def summary(self) -> str:
        """The account in one line."""
        if self.problem:
            return f"row {self.row}: {self.problem}"
        end = {True: ", end token learnt", False: ", end token NOT learnt", None: ""}[self.ends]
        lost = f", {self.lost} lost" if self.lost else ""
        counts = f"{self.trained} of {self.trained + self.masked} tokens trained ({self.percent_trained:.0f} %)"
        return f"{counts}{lost}{end}"


def token_view(
    dataset: Dataset,
    row: int,
    shape: Shape,
    template: Template,
    tokenizer: Tokenizer,
    max_length: int | None = None,
) -> TokenView:
    """Row ROW of DATASET as its tokens. A row that can't be used gives a view with a `problem` instead of pieces."""
    try:
        example = shape.example(dataset[row])
        found = encode(example, template, tokenizer, max_length)
    except BadRow as error:
        return TokenView(row, template=template.name, note=template.note, problem=str(error))
    kept = [label != IGNORED for label in found.labels]
    pieces = [
        Piece(text, token, trained, lost, token in tokenizer.special_ids)
        for ids, flags, lost in ((found.input_ids, kept, False), (found.lost_ids, found.lost_trained, True))
        for text, token, trained in zip(tokenizer.tokens(ids), ids, flags, strict=True)
    ]
    notes = (template.note, *(_UNREAD[part] for part in template.unread(example)))
    problem = "" if pieces else "there is nothing in this row"
    return TokenView(
        row,
        tuple(pieces),
        trained=found.trained,
        masked=len(found.input_ids) - found.trained,
        lost=found.lost,
        ends=found.ends,
        boundary=found.boundary,
        template=template.name,
        note=" ".join(note for note in notes if note),
        problem=problem,
    )
