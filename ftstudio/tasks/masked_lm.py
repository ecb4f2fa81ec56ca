"""Masked language modelling: an encoder learns a domain or a language by filling in words that are hidden from it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from ftstudio.data.dataset import Dataset
from ftstudio.data.encode import IGNORED
from ftstudio.data.example import BadRow, Example
from ftstudio.data.masking import MaskedSet, Masking, fixed, masking_of
from ftstudio.data.row_set import Item, RowSet
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer
from ftstudio.data.view import Piece, TokenView
from ftstudio.tasks.base import Kind, Options, Predicted, Prompt, Role, Row
from ftstudio.tasks.by_items import ItemTask
from ftstudio.tasks.padding import asked_places, padded_inputs, padded_labels, sizes

if TYPE_CHECKING:
    import torch


class MaskedLmOptions(Options):
    """Options of masked language modelling."""

    probability: float = Field(0.15, gt=0, lt=1, description="share of the tokens that are to be filled in")
    whole_words: bool = Field(False, description="hide all tokens of a word or none: harder, and usually better")
    mask: float = Field(0.8, ge=0, le=1, description="share of those that the mask token stands for")
    random: float = Field(0.1, ge=0, le=1, description="share of those that another token stands for; the rest stays")

    @model_validator(mode="after")
    def _shares(self) -> MaskedLmOptions:
        if self.mask + self.random > 1 + 1e-9:
            raise ValueError("mask and random together must be at most 1")
        return self


class MaskedLm(ItemTask):
    """Hidden tokens, filled in by an encoder."""

    name = "masked-lm"
    title = "Masked language modelling (fill in hidden words)"
    help = (
        "Some tokens of your texts are hidden, others in every epoch, and an encoder learns to fill them in. Use it to "
        "make a BERT or RoBERTa at home in a domain or a language; its result is then the base of a classifier or "
        "tagger (model: run:NAME)."
    )
    answers = "the words that were hidden, in order"
    example: ClassVar[tuple[tuple[str, str], ...]] = (
        ("text", "He was given 5 mg of warfarin."),
        ("→", "He was [given] 5 mg of [warfarin]."),
    )
    roles = (Role("text", "the documents; long ones become several windows", required=True),)
    shapes = ("text",)
    default_metrics = ("masked_accuracy",)
    error_categories = ("wrong_word", "none_right")
    kind: ClassVar[Kind] = "masked-lm"
    options_model = MaskedLmOptions

    # -- rows ------------------------------------------------------------------------------------------------------
    def fault(self, example: Example) -> str:
        """Whether there is no text."""
        return "" if _text(example).strip() else "the text is empty"

    def masking(self, tokenizer: Tokenizer) -> Masking:
        """How tokens are hidden. Raises UsageError where the tokenizer has no mask token."""
        chosen = self.options
        return masking_of(tokenizer, chosen.probability, chosen.mask, chosen.random, chosen.whole_words)

    def items(
        self, examples: Sequence[Example], tokenizer: Tokenizer, max_length: int | None
    ) -> list[list[Item] | str]:
        """Documents as windows of MAX_LENGTH tokens with nothing hidden yet, each with its `words` where whole ones are
        hidden."""
        masking, texts = self.masking(tokenizer), [_text(example) for example in examples]
        if masking.whole_words:
            encoded = tokenizer.encode_with_words(texts)
        else:
            encoded = [(ids, []) for ids in tokenizer.encode_batch(texts)]
        before, after = list(tokenizer.prefix), list(tokenizer.suffix)
        found: list[list[Item] | str] = []
        for ids, words in encoded:
            size = max(1, len(ids) if max_length is None else max_length - len(before) - len(after))
            items = []
            for start in range(0, len(ids), size):
                framed = [*before, *ids[start : start + size], *after]
                more: dict[str, Any] = {}
                if words:
                    inner = words[start : start + size]
                    more["words"] = array("i", [*([-1] * len(before)), *inner, *([-1] * len(after))])
                if any(token not in masking.frame for token in framed):
                    items.append(Item(framed, more, masking.count(framed)))
            found.append(items or "the text is empty")
        return found

    def empty_set(self, tokenizer: Tokenizer) -> RowSet:
        """What is hidden changes with each epoch."""
        return MaskedSet(masking=self.masking(tokenizer))

    def rows_of(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> list[Row]:
        """The windows of one document, with what is hidden fixed by their tokens; `say` turns ids into texts."""
        masking = self.masking(tokenizer)
        found: list[Row] = []
        for item in self.items_of(example, tokenizer, max_length):
            hidden, labels = masking.apply(item.ids, item.more.get("words"), fixed(item.ids))
            found.append({"input_ids": hidden, "labels": labels, "say": tokenizer.tokens})
        return found

    def prompt(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> Prompt:
        """The first window with its hidden tokens, and what is hidden as reference, in order, parted by blanks."""
        row = self.rows_of(example, template, tokenizer, max_length)[0]
        frame = len(tokenizer.suffix)
        inner = list(row["input_ids"])[len(tokenizer.prefix) :]
        text = tokenizer.decode(inner[: len(inner) - frame], skip_special=False)
        answers = [label for label in row["labels"] if label != IGNORED]
        # how well they were told goes with the answer: another text may differ in what is hidden alone
        state = " ".join(map(str, answers))
        return Prompt(list(row["input_ids"]), text, _said(tokenizer.tokens(answers)), row, state)

    def view(
        self, dataset: Dataset, row: int, shape: Shape, template: Template, tokenizer: Tokenizer, max_length: int | None
    ) -> TokenView:
        """Row ROW as held-out rows are asked: what stands for a hidden token, with the token behind it."""
        try:
            rows = self.rows_of(shape.example(dataset[row]), template, tokenizer, max_length)
        except BadRow as error:
            return TokenView(row, problem=str(error))
        pieces: list[Piece] = []
        for window in rows:
            ids, labels = window["input_ids"], window["labels"]
            truth = tokenizer.tokens([max(0, label) for label in labels])
            for token, label, text, hidden in zip(ids, labels, tokenizer.tokens(ids), truth, strict=True):
                learnt = label != IGNORED
                special = token in tokenizer.special_ids
                shown = f"{text}‹{hidden.strip()}›" if learnt else text
                pieces.append(Piece(shown, token, learnt, False, special))
        trained = sum(piece.trained for piece in pieces)
        return TokenView(
            row,
            tuple(pieces),
            trained=trained,
            masked=len(pieces) - trained,
            ends=None,
            note="to be filled in: what the model sees ‹what is right›; training hides others in each epoch",
        )

    # -- batches ---------------------------------------------------------------------------------------------------
    def collate(self, rows: Sequence[Row], pad_id: int, multiple: int = 1) -> dict[str, Any]:
        """`targets` [rows, longest]: the hidden token where one is to be filled in, else -100; `places`: where that is,
        as numbers within rows × longest."""
        inputs = padded_inputs(rows, pad_id, multiple)
        targets = padded_labels(rows, inputs["input_ids"].shape[1])
        told = {"places": asked_places(targets), "say": rows[0].get("say")}
        return {"inputs": inputs, "targets": targets, **told, **sizes(rows)}

    def losses(self, outputs: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        """Cross-entropy of the hidden tokens, [rows, longest]."""
        import torch
        from torch.nn import functional

        targets, places = batch["targets"].flatten(), batch["places"]
        asked = targets.index_select(0, places)
        found = functional.cross_entropy(_at(outputs.logits, places).float(), asked, reduction="none")
        return torch.zeros(targets.shape, device=targets.device).index_copy(0, places, found).view_as(batch["targets"])

    def predictions(self, outputs: Any, batch: Mapping[str, Any]) -> list[Predicted]:
        """The likeliest tokens at the hidden places, parted by blanks; beside them the loss, and how many are right."""
        say = batch["say"]
        found = []
        counts = (batch["targets"] != IGNORED).sum(1).tolist()
        for logits, targets in zip(_at(outputs.logits, batch["places"]).split(counts), batch["targets"], strict=True):
            asked = targets != IGNORED
            shares, wanted = logits.float().log_softmax(-1), targets[asked]
            best = shares.argmax(-1)
            nats = -float(shares.gather(-1, wanted[:, None]).double().sum())
            told = {"nats": round(nats, 5), "hidden": int(asked.sum()), "right": int((best == wanted).sum())}
            found.append(Predicted(_said(say(best.tolist())) if say else "", told))
        return found

    def scores(self, predicted: Sequence[Predicted], rows: Sequence[Row]) -> dict[str, float]:
        """`masked_accuracy`, and `pseudo_perplexity`: e to the mean loss of hidden tokens (several of a row at
        once, so it is above that of Salazar et al. 2020, who hide one at a time)."""
        hidden = sum(item.extra["hidden"] for item in predicted)
        if not hidden:
            return {}
        nats = sum(item.extra["nats"] for item in predicted)
        right = sum(item.extra["right"] for item in predicted)
        return {"pseudo_perplexity": math.exp(min(700.0, nats / hidden)), "masked_accuracy": right / hidden}


def _text(example: Example) -> str:
    return "".join(turn.content for turn in example.messages)


def _at(logits: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """LOGITS [places, vocabulary] at PLACES, of [rows, longest, vocabulary] or of these alone already."""
    return logits if logits.dim() == 2 else logits.flatten(0, 1).index_select(0, places)


def _said(pieces: Sequence[str]) -> str:
    """Tokens as words parted by blanks, one each."""
    return " ".join("_".join(piece.split()) or "␣" for piece in pieces)
