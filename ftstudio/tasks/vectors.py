"""What tasks on vectors of texts share: rows of several texts, one vector each, and how those are made.

A row's `input_ids` are those of all its texts one after another, `parts` how many belong to each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ftstudio.data.dataset import Dataset
from ftstudio.data.example import BadRow, Example
from ftstudio.data.framing import frame
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer
from ftstudio.data.view import Piece, TokenView
from ftstudio.tasks.base import Head, Kind, Options, Row, Task, parted
from ftstudio.tasks.padding import padded_inputs

if TYPE_CHECKING:
    import torch

ALIKE = 1.3  # widths of two columns up to which one pass over both costs less than two


class VectorOptions(Options):
    """Options of tasks on vectors of texts."""

    pooling: Literal["auto", "mean", "cls", "max", "lasttoken"] = Field(
        "auto", description="how a text's tokens become one vector; auto: as the model's folder says, else their mean"
    )


class VectorTask(Task):
    """A task whose model gives a vector a text."""

    rows_alike: ClassVar[bool] = True
    kind: ClassVar[Kind] = "encoder"
    options_model: ClassVar[type[Options]] = VectorOptions

    def head(self, seed: int = 0) -> Head:
        """An encoder with its pooling."""
        pooling = self.options.pooling
        return Head(self.kind, pooling="" if pooling == "auto" else pooling)

    # -- rows ------------------------------------------------------------------------------------------------------
    def texts(self, example: Example) -> tuple[str, ...]:
        """The texts of EXAMPLE that become a vector each. Raises BadRow."""
        raise NotImplementedError

    def framed(
        self, examples: Sequence[Sequence[str]], tokenizer: Tokenizer, max_length: int | None
    ) -> list[tuple[list[int], list[int], list[int]]]:
        """(ids of all texts, how many belong to each, how many were cut off each) of each of EXAMPLES; MAX_LENGTH is a
        text's."""
        whole = iter(frame(tokenizer, [(text,) for texts in examples for text in texts], max_length))
        found = []
        for texts in examples:
            parts = [next(whole) for _ in texts]
            ids = [token for part in parts for token in part.ids]
            found.append((ids, [len(part.ids) for part in parts], [part.lost for part in parts]))
        return found

    def view(
        self, dataset: Dataset, row: int, shape: Shape, template: Template, tokenizer: Tokenizer, max_length: int | None
    ) -> TokenView:
        """The texts of a row, one after another, each with its frame."""
        try:
            texts = self.texts(shape.example(dataset[row]))
            whole = frame(tokenizer, [(text,) for text in texts], None)
        except BadRow as error:
            return TokenView(row, problem=str(error))
        pieces: list[Piece] = []
        for part in whole:
            room = len(part.ids) if max_length is None else max_length - len(tokenizer.suffix)
            for place, (text, token) in enumerate(zip(tokenizer.tokens(part.ids), part.ids, strict=True)):
                end = place >= len(part.ids) - len(tokenizer.suffix)
                cut = len(part.ids) > room + len(tokenizer.suffix) and place >= room and not end
                pieces.append(Piece(text, token, False, cut, token in tokenizer.special_ids))
        lost = sum(piece.lost for piece in pieces)
        what = "text becomes one vector" if len(texts) == 1 else "texts become a vector each"
        return TokenView(
            row, tuple(pieces), masked=len(pieces) - lost, lost=lost, ends=None,
            note=f"{len(texts)} {what}; no token is learnt by itself",
        )  # fmt: skip

    # -- batches ---------------------------------------------------------------------------------------------------
    def columns(self, rows: Sequence[Row], pad_id: int, multiple: int = 1) -> dict[str, Any]:
        """The texts of ROWS by their place in a row: `{"0": {input_ids, attention_mask}, "1": …}`, padded each."""
        found = {}
        for place in range(len(rows[0]["parts"])):
            texts = []
            for row in rows:
                start = sum(row["parts"][:place])
                texts.append({"input_ids": row["input_ids"][start : start + row["parts"][place]]})
            found[str(place)] = padded_inputs(texts, pad_id, multiple)
        return found

    def outputs(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        """A list with the vectors [rows, width] of each column, in 32 bits."""
        columns = list(inputs.values())
        widths = [column["input_ids"].shape[1] for column in columns]
        # processes that wait for each other's passes make one a column, however wide their batches are
        if len(columns) > 1 and max(widths) <= ALIKE * min(widths) and not parted(model):
            return list(self.embed(model, _joined(columns, max(widths))).chunk(len(columns)))
        return [self.embed(model, column) for column in columns]

    def embed(self, model: Any, column: Mapping[str, Any]) -> torch.Tensor:
        """The vectors [rows, width] of a padded COLUMN of texts."""
        sentence = getattr(getattr(model, "module", model), "ftstudio_sentence")  # noqa: B009  (data parallelism wraps)
        hidden = model(**column, **sentence.more).last_hidden_state
        found: torch.Tensor = sentence(hidden, column["attention_mask"])
        return found

    def numbers(self, outputs: Any) -> torch.Tensor:
        """All vectors, one below the other."""
        import torch

        return torch.cat(list(outputs))


def _joined(columns: Sequence[Mapping[str, Any]], width: int) -> dict[str, Any]:
    """COLUMNS below one another, padded to WIDTH."""
    import torch
    from torch.nn import functional

    found = {}
    for key in columns[0]:
        parts = [functional.pad(column[key], (0, width - column[key].shape[1])) for column in columns]
        found[key] = torch.cat(parts)
    return found


def embed_rows(task: VectorTask, model: Any, rows: Sequence[Row], pad_id: int, batch: int = 64) -> torch.Tensor:
    """The vectors [rows, width] of ROWS of one text each, in 32 bits, in their order; no gradients, dropout off."""
    import torch

    device = next(model.parameters()).device
    training = model.training
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row]["input_ids"]))
    found: list[Any] = [None] * len(rows)
    model.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(order), batch):
                chosen = order[start : start + batch]
                [column] = task.columns([rows[row] for row in chosen], pad_id).values()
                vectors = task.embed(model, {key: value.to(device) for key, value in column.items()})
                for place, row in enumerate(chosen):
                    found[row] = vectors[place]
    finally:
        model.train(training)
    return torch.stack(found)
