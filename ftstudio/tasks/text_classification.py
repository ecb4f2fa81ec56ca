"""Text classification: a text, or a pair of texts, gets one label, several labels, or a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ftstudio.core.text import one_line
from ftstudio.data import labels as reading
from ftstudio.data.dataset import Cancel, Dataset
from ftstudio.data.example import BadRow, Example
from ftstudio.data.framing import frame
from ftstudio.data.label_cells import known_as, label_of, number_of, several
from ftstudio.data.labels import MULTI, REGRESSION, SINGLE
from ftstudio.data.mix import SOURCE
from ftstudio.data.row_set import Item
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer
from ftstudio.data.view import Piece, TokenView
from ftstudio.evaluation import calibration, classification
from ftstudio.tasks.base import Doubt, Head, Kind, Options, Predicted, Prompt, Role, Row
from ftstudio.tasks.by_items import ItemTask
from ftstudio.tasks.label_words import joined_doubts, spelling_doubts, told_labels
from ftstudio.tasks.padding import padded_inputs, sizes

if TYPE_CHECKING:
    import torch

_PROBLEMS = {"single": SINGLE, "multi": MULTI, "regression": REGRESSION}
FAR = 10.0  # of a score from 0: up to ten stars or points a new head gets there in some hundred steps
THRESHOLD = 0.5  # of a label's probability, where a row may have several


class ClassificationOptions(Options):
    """Options of text classification."""

    problem: Literal["auto", "single", "multi", "regression"] = Field(
        "auto", description="one label a row, several, or a number; auto tells by the column"
    )
    class_weights: bool = Field(
        False, description="weigh rare labels up, so that every label counts as much in the loss"
    )


class TextClassification(ItemTask):
    """One label, several labels or a number for a text or a pair of texts."""

    name = "text-classification"
    title = "Text classification (text → label)"
    help = (
        "The model reads a text, or two, and tells its label through a new head of a few weights. Use it to sort, "
        "route, filter or grade texts. Small encoders (BERT, MiniLM, ModernBERT) are usually enough, and fast; "
        "decoders (Llama, Qwen) work too."
    )
    answers = "the label, with how sure the model is of each; several labels; or a number"
    example: ClassVar[tuple[tuple[str, str], ...]] = (
        ("text", "The lift is stuck again."),
        ("label", "complaint"),
        ("→", "complaint (0.94), request (0.05)"),
    )
    roles = (
        Role("text", "the text to be labelled"),
        Role("label", "its label, a list of labels, or a number"),
        Role("sentence1", "the first text of a pair, instead of text"),
        Role("sentence2", "the second text of a pair"),
        Role("score", "a number to be told for a pair, instead of label"),
    )
    shapes = ("text-label", "sentence-pair")
    default_metrics = ("accuracy", "f1", "mcc", "brier", "ece")
    error_categories = classification.CATEGORIES
    rows_alike: ClassVar[bool] = True
    kind: ClassVar[Kind] = "sequence-classification"
    options_model = ClassificationOptions

    # -- what the labels are ---------------------------------------------------------------------------------------
    def survey(self, dataset: Dataset, shape: Shape, *, cancel: Cancel | None = None) -> dict[str, Any]:
        """`{problem, labels, counts}`, `range` of a regression, the `mark` between several labels in one text, and the
        `marks` of the sources of a mix by their names."""
        wanted = _PROBLEMS.get(self.options.problem, "auto")
        found = reading.survey(dataset, shape, wanted, cancel=cancel)
        facts: dict[str, Any] = {"problem": found.problem, "labels": list(found.names), "counts": list(found.counts)}
        if found.problem == REGRESSION:
            facts["range"] = [found.low, found.high]
        if found.mark is not None:
            facts["mark"] = found.mark
        if found.marks:
            facts["marks"] = dict(found.marks)
        return facts

    def told(self) -> str:
        """The labels with how many rows have them, or the range of the numbers."""
        if self.problem == REGRESSION:
            low, high = self.facts["range"]
            return f"a number from {low:g} to {high:g}"
        counted = told_labels(self.labels, self.facts.get("counts") or ())
        mark = f" (parted at {self.facts['mark']!r})" if self.facts.get("mark") else ""
        return f"several{mark} of {counted}" if self.problem == MULTI else counted

    def doubts(self, tokenizer: Tokenizer) -> list[Doubt]:
        """Labels that look like several in one text, and such as are told apart by their spelling only; numbers that a
        new head takes very long to get to."""
        if self.problem == REGRESSION:
            return self._far()
        joined = joined_doubts(self.labels) if self.problem == SINGLE else []
        return joined + spelling_doubts(self.labels, self.facts.get("counts") or ())

    def _far(self) -> list[Doubt]:
        low, high = self.facts["range"]
        if max(abs(low), abs(high)) <= FAR:
            return []
        text = (
            f"the scores go from {low:,g} to {high:,g}, and a head that is new begins near 0: each step moves its "
            "answers by little more than the learning rate, so most of the training goes into getting there at all."
        )
        return [Doubt("data.train", text, "Bring them to about 0 to 1 first (divide them, or take their logarithm).")]

    @property
    def problem(self) -> str:
        """transformers' `problem_type`."""
        return str(self.facts.get("problem") or SINGLE)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels, in the order of the head's outputs."""
        return tuple(self.facts.get("labels") or ())

    def head(self, seed: int = 0) -> Head:
        """A sequence classifier with an output a label, or one for a number."""
        return Head(self.kind, self.labels or ("score",), self.problem, seed)

    def metrics(self) -> tuple[str, ...]:
        """Those of the problem at hand."""
        return {
            REGRESSION: ("spearman", "pearson", "absolute_error"), MULTI: ("accuracy", "f1", "f1_micro", "brier", "ece")
        }.get(self.problem, self.default_metrics)  # fmt: skip

    def unfit(self) -> tuple[str, ...]:
        """Of numbers, what counts equal labels; of sets of labels Matthews' coefficient, defined for one a row; of
        labels, what needs numbers."""
        numbers, equal = ("spearman", "pearson", "absolute_error"), ("accuracy", "exact", "f1", "f1_micro", "mcc")
        if self.problem == REGRESSION:
            return (*equal, "brier", "ece")
        return ("mcc", *numbers) if self.problem == MULTI else numbers

    def categories(self) -> tuple[str, ...]:
        """Those of labels, or the one of numbers."""
        return ("far_off",) if self.problem == REGRESSION else self.error_categories

    # -- rows ------------------------------------------------------------------------------------------------------
    def fault(self, example: Example) -> str:
        """Whether it has no text, or no label that the head knows."""
        try:
            self._label(example)
        except BadRow as error:
            return str(error)
        return "the text is empty" if _empty(example) else ""

    def _label(self, example: Example) -> Any:
        """The label as the loss takes it: an index, a list of 0 and 1, or a number. Raises BadRow."""
        value = example.fields.get("raw_label")
        if self.problem == REGRESSION:
            return number_of(value)
        names = self._names(example)
        if self.problem == MULTI:
            return [float(name in names) for name in self.labels]
        return self.labels.index(names[0])

    def _names(self, example: Example) -> list[str]:
        """The labels of EXAMPLE as the head knows them. Raises BadRow."""
        value, mark = example.fields.get("raw_label"), self.facts.get("mark")
        source = example.fields.get(SOURCE)
        if source is not None and self.facts.get("marks"):
            mark = self.facts["marks"].get(source)
        names = several(value, mark) if self.problem == MULTI else [label_of(value)]
        return [known_as(name, self.labels) for name in names]

    def _reference(self, example: Example) -> str:
        if self.problem == REGRESSION:
            return f"{number_of(example.fields.get('raw_label')):.12g}"
        return classification.joined(self._names(example))

    def items(
        self, examples: Sequence[Example], tokenizer: Tokenizer, max_length: int | None
    ) -> list[list[Item] | str]:
        framed = frame(tokenizer, [_texts(example) for example in examples], max_length)
        found: list[list[Item] | str] = []
        for example, part in zip(examples, framed, strict=True):
            try:
                more: dict[str, Any] = {"labels": self._label(example)}
            except BadRow as error:
                found.append(str(error))
                continue
            if part.types is not None:
                more["token_type_ids"] = part.types
            if not part.ids or _empty(example):
                found.append("the text is empty")
                continue
            found.append([Item(part.ids, more, 1, part.lost)])
        return found

    def prompt(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> Prompt:
        """The text with its frame, and the label as reference."""
        [row] = self.rows_of(example, template, tokenizer, max_length)
        return Prompt(list(row["input_ids"]), "\n".join(_texts(example)), self._reference(example), row)

    def view(
        self, dataset: Dataset, row: int, shape: Shape, template: Template, tokenizer: Tokenizer, max_length: int | None
    ) -> TokenView:
        """The text of a row, or both, with its frame; the label is no token."""
        try:
            example = shape.example(dataset[row])
            [part] = frame(tokenizer, [_texts(example)], max_length)
        except BadRow as error:
            return TokenView(row, problem=str(error))
        if _empty(example):
            return TokenView(row, problem="the text is empty")
        pieces = tuple(
            Piece(text, token, False, False, token in tokenizer.special_ids)
            for text, token in zip(tokenizer.tokens(part.ids), part.ids, strict=True)
        )
        label = one_line(str(example.fields.get("raw_label")), 60)
        note = f"label: {label}, learnt by the head; no token is learnt by itself"
        return TokenView(row, pieces, masked=len(pieces), lost=part.lost, ends=None, note=note)

    # -- batches ---------------------------------------------------------------------------------------------------
    def collate(self, rows: Sequence[Row], pad_id: int, multiple: int = 1) -> dict[str, Any]:
        """`targets`: [rows] label numbers; [rows, labels] of 0 and 1 for several labels; [rows] numbers."""
        import torch

        kind = torch.long if self.problem == SINGLE else torch.float32
        targets = torch.tensor([row["labels"] for row in rows], dtype=kind)
        return {"inputs": padded_inputs(rows, pad_id, multiple), "targets": targets, **sizes(rows)}

    def losses(self, outputs: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        """Cross-entropy [rows], binary cross-entropy of every label [rows, labels], or squared error [rows]."""
        from torch.nn import functional

        logits, targets = outputs.logits.float(), batch["targets"]
        if self.problem == REGRESSION:
            return functional.mse_loss(logits.squeeze(-1), targets, reduction="none")
        if self.problem == MULTI:
            return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return functional.cross_entropy(logits, targets, reduction="none")

    def weighed(self, losses: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
        """Rare labels weigh more, where the options say so; of several labels those that a row has."""
        import torch

        if not self.options.class_weights or self.problem == REGRESSION:
            return losses
        targets = batch["targets"]
        weights = torch.tensor(classification.balanced(self.facts["counts"]), device=losses.device)
        return losses * (weights[targets] if self.problem == SINGLE else 1 + targets * (weights - 1))

    def unmapped(self) -> str:
        """A number is near or far, but has no probability."""
        text = "Rows of a regression have no place on this map: a number is near or far, but has no probability."
        return text if self.problem == REGRESSION else ""

    def predictions(self, outputs: Any, batch: Mapping[str, Any]) -> list[Predicted]:
        """The likeliest label with the probabilities of all; every label over a half; or the number."""
        logits = outputs.logits.float()
        if self.problem == REGRESSION:
            return [Predicted(f"{value:.7g}") for value in logits.squeeze(-1).tolist()]
        shares = logits.sigmoid() if self.problem == MULTI else logits.softmax(-1)
        found = []
        for row in shares.tolist():
            names = [name for name, share in zip(self.labels, row, strict=True) if share > THRESHOLD]
            if self.problem == SINGLE:
                names = [self.labels[max(range(len(row)), key=row.__getitem__)]]
            told = {name: round(share, 5) for name, share in zip(self.labels, row, strict=True)}
            found.append(Predicted(classification.joined(names), {"probabilities": told}))
        return found

    def scores(self, predicted: Sequence[Predicted], rows: Sequence[Row]) -> dict[str, float]:
        """Accuracy and macro F1 (exact set and micro F1 for several labels), Brier score and calibration error; or
        Spearman and Pearson."""
        answers, names = [item.text for item in predicted], [self._name(row["labels"]) for row in rows]
        sure = zip([item.extra for item in predicted], answers, names, strict=True)
        return classification.summary(answers, names, self.problem) | calibration.summary(sure)

    def _name(self, value: Any) -> str:
        if self.problem == REGRESSION:
            return f"{value:.12g}"
        if self.problem == MULTI:
            return classification.joined([name for name, one in zip(self.labels, value, strict=True) if one])
        return self.labels[value]


def _empty(example: Example) -> bool:
    return not any(text.strip() for text in _texts(example))


def _texts(example: Example) -> tuple[str, ...]:
    fields = example.fields
    if "sentence1" in fields:
        return (str(fields["sentence1"]), str(fields["sentence2"]))
    return (str(fields.get("text", example.prompt)),)
