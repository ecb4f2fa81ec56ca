"""Sequence to sequence: an encoder reads a text, a decoder writes another one: a translation, a summary, an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from ftstudio.data.dataset import Dataset
from ftstudio.data.encode import IGNORED
from ftstudio.data.example import BadRow, Example
from ftstudio.data.framing import Frame, frame_of, languages_of
from ftstudio.data.row_set import Item, RowSet
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer, load_tokenizer
from ftstudio.data.view import Piece, TokenView
from ftstudio.tasks import beginning
from ftstudio.tasks.base import Doubt, Kind, Options, Prompt, Role, Row
from ftstudio.tasks.by_items import ItemTask
from ftstudio.tasks.padding import cross_entropies, padded_inputs, padded_labels, sizes

if TYPE_CHECKING:
    import torch


class Seq2SeqOptions(Options):
    """Options of sequence to sequence."""

    prefix: str = Field("", description="put before every source, such as 'translate English to German: ' for a T5")
    source_language: str | None = Field(
        None, description="language of the sources, for models that mark it (mBART: en_XX, NLLB: eng_Latn)"
    )
    target_language: str | None = Field(
        None, description="language to write, for models that mark it: the first token of every answer"
    )
    target_length: int | None = Field(
        None, ge=4, description="tokens a target may have while training; default: as data.max_length"
    )
    beams: int = Field(1, ge=1, le=64, description="beams that search for an answer in errors and compare; 1 is greedy")
    length_penalty: float = Field(1.0, description="with beams: above 0 favours longer answers, below 0 shorter ones")
    no_repeat_ngram: int = Field(0, ge=0, description="no run of so many tokens is written twice; 0: no such rule")
    min_new_tokens: int = Field(0, ge=0, description="tokens that an answer has at least")


class Seq2Seq(ItemTask):
    """Source → target for encoder-decoders."""

    name = "seq2seq"
    title = "Sequence to sequence (source → target)"
    help = (
        "An encoder reads the source and a decoder learns to write the target: translation, summaries, answers to "
        "questions on a text. For models such as T5, BART, Marian and mBART; the loss counts targets only. A decoder "
        "alone (Llama, Qwen) learns the same with the task sft."
    )
    answers = "a text: a translation, a summary, an answer"
    example: ClassVar[tuple[tuple[str, str], ...]] = (
        ("source", "The lift is broken."),
        ("target", "Der Aufzug ist kaputt."),
        ("→", "Der Aufzug ist kaputt."),
    )
    roles = (
        Role("source", "the text to translate, sum up or answer"),
        Role("target", "what is to be written"),
        Role("prompt", "a question, instead of source"),
        Role("input", "the text that a question is about"),
        Role("completion", "its answer, instead of target"),
    )
    shapes = ("source-target", "prompt-completion", "alpaca", "instances")
    default_metrics = ("rouge", "bleu")
    error_categories = ()  # all of written text
    generates = True
    kind: ClassVar[Kind] = "seq2seq-lm"
    options_model = Seq2SeqOptions

    def writing(self) -> dict[str, Any]:
        """How answers are searched for."""
        chosen = self.options
        return {
            "beams": chosen.beams,
            "length_penalty": chosen.length_penalty,
            "no_repeat_ngram": chosen.no_repeat_ngram,
            "min_new_tokens": chosen.min_new_tokens,
            "language": chosen.target_language or "",
        }

    # -- rows ------------------------------------------------------------------------------------------------------
    def fault(self, example: Example) -> str:
        """Whether source or target is missing."""
        if not example.prompt.strip():
            return "the source is empty"
        return "" if (example.reference or "").strip() else "the target is empty"

    def _source(self, example: Example) -> str:
        return f"{self.options.prefix}{example.prompt}"

    def _frames(self, tokenizer: Tokenizer) -> tuple[Frame, Frame]:
        return (
            frame_of(tokenizer, self.options.source_language, "options.source_language"),
            frame_of(tokenizer, self.options.target_language, "options.target_language"),
        )

    def doubts(self, tokenizer: Tokenizer) -> list[Doubt]:
        """Languages that the model marks and no option names: both sides are then marked with the usual one."""
        known = languages_of(tokenizer)
        names = ("source_language", "target_language")
        gone = [f"options.{name}" for name in names if getattr(self.options, name) is None]
        if not known or not gone:
            return []
        sides = "sources and targets" if len(gone) > 1 else gone[0][8:].replace("_language", "s")
        text = (
            f"{tokenizer.name} marks languages, and {' and '.join(gone)} {'are' if len(gone) > 1 else 'is'} left out: "
        )
        return [Doubt(gone[-1], f"{text}{sides} are marked {known[0]}.", f"Name them, such as {', '.join(known[:4])}.")]

    def items(
        self, examples: Sequence[Example], tokenizer: Tokenizer, max_length: int | None
    ) -> list[list[Item] | str]:
        before, after = self._frames(tokenizer)
        sources = tokenizer.encode_batch([self._source(example) for example in examples])
        targets = tokenizer.encode_targets([example.reference or "" for example in examples])
        found: list[list[Item] | str] = []
        for example, source, target in zip(examples, sources, targets, strict=True):
            if fault := self.fault(example):
                found.append(fault)
                continue
            ids, lost = before.around(source, max_length)
            labels, lost_labels = after.around(target, self.options.target_length or max_length)
            found.append([Item(ids, {"labels": labels}, len(labels), lost + lost_labels, lost_labels)])
        return found

    def empty_set(self, tokenizer: Tokenizer) -> RowSet:
        """With how long the targets are beside how long the sources are."""
        return RowSet(beside=True)

    def prompt(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> Prompt:
        """The source, cut to MAX_LENGTH as in training, and the target as reference. The row also tells the `frame`
        of what is written."""
        [row] = self.rows_of(example, template, tokenizer, max_length)
        _, after = self._frames(tokenizer)
        return Prompt(list(row["input_ids"]), self._source(example), example.reference, {**row, "frame": after})

    def asked(self, text: str, tokenizer: Tokenizer, max_length: int | None = None) -> tuple[Prompt, int]:
        """(TEXT as a source of which no target is known, the tokens of it that MAX_LENGTH cuts off)."""
        before, after = self._frames(tokenizer)
        source = f"{self.options.prefix}{text}"
        ids, lost = before.around(tokenizer.encode_batch([source])[0], max_length)
        return Prompt(ids, source, None, {"input_ids": ids, "frame": after}), lost

    def end_ids(self, template: Template, tokenizer: Tokenizer) -> tuple[int, ...]:
        """The tokenizer's end token: what every target ends with."""
        return tuple(tokenizer.eos_ids)

    def finish(self, model: Any, folder: Path) -> None:
        """With what an answer begins, where the model marks languages: else transformers' own `generate` would begin
        it as the base does."""
        if self.options.source_language is None and self.options.target_language is None:
            return
        _, after = self._frames(load_tokenizer(folder))
        languages = {"src_lang": self.options.source_language, "tgt_lang": self.options.target_language}
        beginning.save(model, folder, after, languages)

    def view(
        self, dataset: Dataset, row: int, shape: Shape, template: Template, tokenizer: Tokenizer, max_length: int | None
    ) -> TokenView:
        """Row ROW: the source, which is read, then the target, which is learnt; each with what a cut loses."""
        try:
            example = shape.example(dataset[row])
            unlimited = type(self)(self.options.model_copy(update={"target_length": None}))
            [whole] = unlimited.rows_of(example, template, tokenizer)
            [kept] = self.rows_of(example, template, tokenizer, max_length)
        except BadRow as error:
            return TokenView(row, problem=str(error))
        pieces: list[Piece] = []
        lost = 0
        for key, trained in (("input_ids", False), ("labels", True)):
            gone = len(whole[key]) - len(kept[key])
            frame = self._frames(tokenizer)[trained]
            ids = whole[key]
            first_lost = len(ids) - len(frame.suffix) - gone
            for place, (token, text) in enumerate(zip(ids, tokenizer.tokens(ids), strict=True)):
                cut = first_lost <= place < first_lost + gone
                pieces.append(Piece(text, token, trained, cut, token in tokenizer.special_ids))
            lost += gone
        pieces.sort(key=lambda piece: piece.lost)  # what is lost stands behind the cut
        return TokenView(
            row,
            tuple(pieces),
            trained=len(kept["labels"]),
            masked=len(kept["input_ids"]),
            lost=lost,
            ends=bool(kept["labels"]) and kept["labels"][-1] in tokenizer.special_ids,
            note="the source is read by the encoder; behind its end the target, which the decoder learns to write",
        )

    # -- batches ---------------------------------------------------------------------------------------------------
    def collate(self, rows: Sequence[Row], pad_id: int, multiple: int = 1) -> dict[str, Any]:
        """`targets` [rows, longest target], -100 behind each; the same as `labels` of the inputs, from which the
        decoder's inputs are made."""
        inputs = padded_inputs(rows, pad_id, multiple)
        width = max(len(row["labels"]) for row in rows)
        targets = padded_labels(rows, width + -width % multiple)
        told = sizes(rows)
        told["tokens"] += sum(len(row["labels"]) for row in rows)
        return {"inputs": {**inputs, "labels": targets}, "targets": targets, **told}

    def outputs(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        """What MODEL says at each place of the targets, having read the source and the targets before it."""
        given = {key: value for key, value in inputs.items() if key not in ("labels", "token_type_ids")}
        inner = getattr(model, "module", model)
        inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
        return model(**given, decoder_input_ids=_shifted(inner, inputs["labels"]))

    def losses(self, outputs: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        """Cross-entropy of the targets' tokens, [rows, longest target]."""
        return cross_entropies(outputs.logits, batch["targets"])


def _shifted(model: Any, labels: torch.Tensor) -> torch.Tensor:
    """What the decoder of MODEL reads where it is to write LABELS: its first token, then each label but the last."""
    if hasattr(model, "prepare_decoder_input_ids_from_labels"):
        found: torch.Tensor = model.prepare_decoder_input_ids_from_labels(labels=labels)
        return found
    config = model.config  # M2M100 and NLLB, Blenderbot: as their own loss does it
    found = labels.roll(1, 1)
    found[:, 0] = config.decoder_start_token_id
    return found.masked_fill(found == IGNORED, config.pad_token_id)
