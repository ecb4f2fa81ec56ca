"""Few-shot classification: SetFit (Tunstall et al. 2022, "Efficient Few-Shot Learning Without Prompts").

Three steps: pairs are made of a few examples a label; an encoder is tuned until texts of one label lie together; a
logistic regression is fitted on the vectors of those examples. The base model is judged with a head fitted on the same
examples, so that a comparison shows what the tuning alone is worth.
"""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from ftstudio.core import files
from ftstudio.core.errors import StudioError
from ftstudio.core.text import number, one_line
from ftstudio.data import labels as reading
from ftstudio.data import pair_set
from ftstudio.data.dataset import Cancel, Dataset, Progress
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.example import BadRow, Example
from ftstudio.data.label_cells import known_as, label_of
from ftstudio.data.labels import SINGLE
from ftstudio.data.pair_set import PairSet, Sampling
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer
from ftstudio.evaluation import calibration, classification
from ftstudio.tasks import vector_losses
from ftstudio.tasks.base import Doubt, Options, Predicted, Prompt, Role, Row
from ftstudio.tasks.label_words import joined_doubts, spelling_doubts, told_labels
from ftstudio.tasks.padding import sizes
from ftstudio.tasks.vectors import VectorOptions, VectorTask, embed_rows

if TYPE_CHECKING:
    import torch

WEIGHTS, ABOUT = "head.safetensors", "head.json"


class FewShotOptions(VectorOptions):
    """Options of few-shot classification."""

    shots: int = Field(8, ge=1, le=1000, description="examples a label, drawn from the training rows by the seed")
    sampling: Sampling = Field(
        "oversampling", description="pairs: oversampling repeats the rarer kind, undersampling drops of the commoner, "
        "unique takes each once"
    )  # fmt: skip
    max_pairs: int | None = Field(10_000, ge=2, description="pairs in all, half alike and half unlike; null: all")
    regularisation: float = Field(1.0, gt=0, description="of the head: C of scikit-learn's LogisticRegression")


class FewShotClassification(VectorTask):
    """Labels from a handful of examples each: contrastive tuning of an encoder, and a head on its vectors."""

    name = "few-shot-classification"
    answers = "the label, with how sure the model is of each"
    example: ClassVar[tuple[tuple[str, str], ...]] = (
        ("text", "The lift is stuck again."),
        ("label", "complaint"),
        ("→", "complaint (0.88)"),
    )
    title = "Few-shot classification (SetFit: a few examples a label)"
    help = (
        "For when only a handful of texts a label is at hand: pairs of them teach an encoder which texts belong "
        "together, and a logistic regression on its vectors tells the label. Eight examples a label often do; with "
        "hundreds of them use text-classification."
    )
    roles = (
        Role("text", "the text to be labelled", required=True),
        Role("label", "its label", required=True),
    )
    shapes = ("text-label",)
    default_metrics = ("accuracy", "f1", "mcc", "brier", "ece")
    error_categories = classification.CATEGORIES
    options_model: ClassVar[type[Options]] = FewShotOptions
    epochs = 1.0

    def __init__(self, options: Options | None = None, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(options, facts)
        self._examples: list[Row] = []  # the few, framed
        self._places: list[int] = []  # their rows in the training data
        self._cut_off: list[int] = []  # tokens of each example
        self._seed = 0
        self._head: Any = None  # (weights [labels, width], bias [labels])
        self._hollow = False

    # -- the examples ----------------------------------------------------------------------------------------------
    def survey(self, dataset: Dataset, shape: Shape, *, cancel: Cancel | None = None) -> dict[str, Any]:
        """`{labels, counts}`."""
        found = reading.survey(dataset, shape, SINGLE, cancel=cancel)
        return {"labels": list(found.names), "counts": list(found.counts)}

    def told(self) -> str:
        """The labels with how many rows have them."""
        return told_labels(self.labels, self.facts.get("counts") or ())

    def doubts(self, tokenizer: Tokenizer) -> list[Doubt]:
        """Labels that look like several in one text, and such as are told apart by their spelling only."""
        return joined_doubts(self.labels) + spelling_doubts(self.labels, self.facts.get("counts") or ())

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels, in the order of the head's outputs."""
        return tuple(self.facts.get("labels") or ())

    def grounded(
        self,
        train: Dataset,
        shape: Shape,
        held_out: Callable[[], Sequence[Example]],
        tokenizer: Tokenizer,
        max_length: int | None,
        seed: int,
        folders: Sequence[Path] = (),
    ) -> Self:
        """This task with its few examples, drawn from TRAIN. Raises StudioError where a label has none."""
        by_label: dict[int, list[tuple[int, str]]] = {place: [] for place in range(len(self.labels))}
        order = list(range(len(train)))
        random.Random(seed).shuffle(order)
        waiting = len(self.labels)
        for row in order:
            if not waiting:
                break
            try:
                example = shape.example(train[row])
                kept = by_label[self._label(example)]
                [text] = self.texts(example)
            except BadRow:
                continue
            if len(kept) < self.options.shots:
                kept.append((row, text))
                waiting -= len(kept) == self.options.shots
        missing = [self.labels[place] for place, kept in by_label.items() if not kept]
        if missing:
            names = ", ".join(repr(one_line(name, 30)) for name in missing[:5])
            raise StudioError(
                f"{len(missing)} of {len(self.labels)} labels have no row to learn from ({names}).",
                "Hold out fewer rows (data.eval), or add rows of these labels.",
            )
        drawn = sorted((row, place, text) for place, kept in by_label.items() for row, text in kept)
        found = copy.copy(self)
        framed = self.framed([(text,) for _, _, text in drawn], tokenizer, max_length)
        found._examples = [
            {"input_ids": ids, "parts": parts, "labels": place}
            for (ids, parts, _), (_, place, _) in zip(framed, drawn, strict=True)
        ]
        found._places = [row for row, _, _ in drawn]
        found._cut_off = [sum(lost) for _, _, lost in framed]
        found._seed = seed
        rows = {
            self.labels[place]: [train.origin_of(row) for row, _ in sorted(kept)] for place, kept in by_label.items()
        }
        found.facts = {**self.facts, "examples": rows}
        return found

    def marks(self) -> dict[str, Any]:
        """The examples that the head is fitted on, by their place and what they say, and how."""
        said = repr([(list(row["input_ids"]), row["labels"]) for row in self._examples])
        return {
            "examples": self.facts.get("examples"),
            "texts": hashlib.blake2b(said.encode(), digest_size=8).hexdigest(),
            "regularisation": self.options.regularisation,
        }

    def phases(self) -> dict[str, str]:
        """SetFit's three steps."""
        count = len(self._examples)
        few = [place for place in range(len(self.labels)) if sum(row["labels"] == place for row in self._examples)
               < self.options.shots]  # fmt: skip
        short = f"; {len(few)} labels have fewer than {self.options.shots}" if few else ""
        return {
            "pairs": f"{number(len(self._pairs()[0]))} pairs of {number(count)} examples, "
            f"{len(self.labels)} labels{short}",
            "training": "contrastive tuning: texts of one label are drawn together",
            "head": f"logistic regression on the vectors of {number(count)} examples",
        }

    def _pairs(self) -> tuple[Any, Any, Any]:
        labels = [row["labels"] for row in self._examples]
        return pair_set.pairs(labels, self.options.sampling, self.options.max_pairs, self._seed)

    # -- rows ------------------------------------------------------------------------------------------------------
    def texts(self, example: Example) -> tuple[str, ...]:
        """The text. Raises BadRow where it is empty."""
        text = str(example.fields.get("text", ""))
        if not text.strip():
            raise BadRow("the text is empty")
        return (text,)

    def _label(self, example: Example) -> int:
        return self.labels.index(known_as(label_of(example.fields.get("raw_label")), self.labels))

    def fault(self, example: Example) -> str:
        """Whether it has no text, or no label that the head knows."""
        try:
            self.texts(example)
            self._label(example)
        except BadRow as error:
            return str(error)
        return ""

    def encode_dataset(
        self,
        dataset: Dataset,
        shape: Shape,
        template: Template,
        tokenizer: Tokenizer,
        max_length: int | None = None,
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> EncodedSet:
        """The pairs of the examples; those that were drawn when the data was opened, else drawn from DATASET."""
        task = self
        if not self._examples:
            known = self if self.facts else self.bound(self.options.model_dump(), self.survey(dataset, shape))
            task = known.grounded(dataset, shape, lambda: [], tokenizer, max_length, 0)
        first, second, alike = task._pairs()
        return PairSet(
            texts=task._examples, numbers=task._places, first=first, second=second, alike=alike,
            lost=task._cut_off,
        )  # fmt: skip

    def rows_of(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> list[Row]:
        """One row: its text and the place of its label."""
        label = self._label(example)
        [(ids, parts, _)] = self.framed([self.texts(example)], tokenizer, max_length)
        return [{"input_ids": ids, "parts": parts, "labels": label}]

    def prompt(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> Prompt:
        """The text, and its label as reference."""
        [row] = self.rows_of(example, template, tokenizer, max_length)
        return Prompt(list(row["input_ids"]), self.texts(example)[0], self.labels[row["labels"]], row)

    # -- the head --------------------------------------------------------------------------------------------------
    def fitted(self, model: Any, pad_id: int = 0, saved: Path | None = None) -> Self:
        """This task with the head in SAVED, else with one fitted on the vectors that MODEL gives the examples."""
        found = copy.copy(self)
        device = next(model.parameters()).device
        head = _read(saved, self.labels) if saved is not None else None
        if head is None:
            vectors = embed_rows(self, model, self._examples, pad_id).cpu().numpy()
            head = _fit(vectors, [row["labels"] for row in self._examples], self.options.regularisation)
        found._head = tuple(part.to(device) for part in head)
        return found

    def hollow(self) -> Self:
        """This task with a head of zeros, as wide as the vectors turn out."""
        found = copy.copy(self)
        found._hollow = True
        return found

    def finish(self, model: Any, folder: Path) -> None:
        """The head as safetensors, its labels as JSON: no pickle."""
        from safetensors.torch import save_file

        weights, bias = (part.detach().cpu().contiguous() for part in self._head)
        save_file({"weight": weights, "bias": bias}, str(folder / WEIGHTS))
        about = {"kind": "logistic regression", "labels": list(self.labels), "examples": self.facts.get("examples")}
        files.write_json(folder / ABOUT, about)

    # -- batches ---------------------------------------------------------------------------------------------------
    def collate(self, rows: Sequence[Row], pad_id: int, multiple: int = 1) -> dict[str, Any]:
        """`inputs`: two columns of texts for pairs, one for texts with a label. `targets` [rows]: 1 for alike and 0 for
        unlike pairs, or places of labels."""
        import torch

        kind = torch.float32 if len(rows[0]["parts"]) == 2 else torch.long
        targets = torch.tensor([row["labels"] for row in rows], dtype=kind)
        return {"inputs": self.columns(rows, pad_id, multiple), "targets": targets, **sizes(rows)}

    def loss(self, outputs: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        """Of pairs the squared error of the cosine, of texts with a label the head's cross-entropy; summed."""
        from torch.nn import functional

        targets = batch["targets"]
        if len(outputs) == 2:
            return vector_losses.value("cosine", outputs, targets, scale=1.0, margin=0.0) * len(targets)
        return functional.cross_entropy(self._logits(outputs[0]), targets, reduction="sum")

    def unmapped(self) -> str:
        """What trains is pairs of texts."""
        return "Rows of this task have no place on this map: it learns from pairs of them; the head comes after it."

    def _logits(self, vectors: torch.Tensor) -> torch.Tensor:
        if self._hollow:
            labels = len(self.labels)
            weights, bias = vectors.new_zeros(labels, vectors.shape[-1]).float(), vectors.new_zeros(labels).float()
        else:
            weights, bias = self._head
        found: torch.Tensor = vectors.float() @ weights.T + bias
        return found

    def predictions(self, outputs: Any, batch: Mapping[str, Any]) -> list[Predicted]:
        """The likeliest label, with the probabilities of all."""
        found = []
        for row in self._logits(outputs[0]).softmax(-1).tolist():
            name = self.labels[max(range(len(row)), key=row.__getitem__)]
            told = {label: round(share, 5) for label, share in zip(self.labels, row, strict=True)}
            found.append(Predicted(name, {"probabilities": told}))
        return found

    def scores(self, predicted: Sequence[Predicted], rows: Sequence[Row]) -> dict[str, float]:
        """Accuracy, macro F1, Matthews' correlation, Brier score and calibration error."""
        answers, names = [item.text for item in predicted], [self.labels[row["labels"]] for row in rows]
        sure = zip([item.extra for item in predicted], answers, names, strict=True)
        return classification.summary(answers, names, SINGLE) | calibration.summary(sure)


def _fit(vectors: Any, labels: Sequence[int], regularisation: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(weights [labels, width], bias [labels]) of scikit-learn's logistic regression on VECTORS [examples, width]."""
    import torch
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=regularisation, max_iter=1000).fit(vectors, list(labels))
    weights, bias = torch.tensor(found.coef_).float(), torch.tensor(found.intercept_).float()
    if len(weights) == 1:  # of two labels only the second one's: the softmax with zeros is its sigmoid
        weights, bias = torch.cat([torch.zeros_like(weights), weights]), torch.cat([torch.zeros_like(bias), bias])
    return weights, bias


def _read(folder: Path, labels: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The head saved in FOLDER; None where there is none (a checkpoint). Raises StudioError for one of other LABELS."""
    about = files.read_json(folder / ABOUT)
    if not isinstance(about, dict) or not (folder / WEIGHTS).is_file():
        return None
    from safetensors.torch import load_file

    if about.get("labels") != list(labels):
        raise StudioError(f"The head in {folder} has other labels than the data.", "Train again with these data.")
    found = load_file(str(folder / WEIGHTS))
    return found["weight"], found["bias"]
