"""Embeddings: texts become vectors, near where texts mean the same. Learnt from pairs, triplets or scored pairs."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator

from ftstudio.core.errors import Stopped, UsageError
from ftstudio.core.text import number, one_line
from ftstudio.data import likeness
from ftstudio.data.dataset import Cancel, Dataset
from ftstudio.data.example import BadRow, Example
from ftstudio.data.label_cells import label_of, number_of
from ftstudio.data.likeness import Likeness
from ftstudio.data.row_set import Item
from ftstudio.data.shape import Shape
from ftstudio.data.shape_rows import label_role
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer
from ftstudio.evaluation import ranking
from ftstudio.tasks import vector_losses
from ftstudio.tasks.base import Options, Predicted, Prompt, Role, Row
from ftstudio.tasks.by_items import ItemTask
from ftstudio.tasks.padding import sizes
from ftstudio.tasks.vectors import VectorOptions, VectorTask, embed_rows

if TYPE_CHECKING:
    import torch

PAIRS, TRIPLETS, SCORES, LABELS = "pairs", "triplets", "scores", "labels"
MOST_NEGATIVES = 32  # of a row: more are left out
OTHERS = 256  # texts of other rows by which it is told how near unrelated texts are


class EmbeddingOptions(VectorOptions):
    """Options of embeddings."""

    loss: Literal["auto", "mnrl", "cosent", "cosine", "contrastive", "triplet"] = Field(
        "auto", description="auto: mnrl for pairs and triplets, cosine for scores, cosent for labels"
    )
    matryoshka: tuple[int, ...] = Field(
        (), description="learn so that vectors cut to these lengths are good too, such as [384, 128, 64]"
    )
    temperature: float = Field(0.05, gt=0, le=1, description="of mnrl and cosent: lower looks at the nearest more")
    chunk: int | None = Field(
        None, ge=1, description="with mnrl and cosent rows looked at at once, for batches that memory wouldn't hold: "
        "the gradients are those of the whole batch; about a third slower"
    )  # fmt: skip
    margin: float = Field(0.3, gt=0, le=2, description="of triplet and contrastive: cosine that is to lie between")
    scale: tuple[float, float] | None = Field(
        None, description="the lowest and the highest score there may be, such as [0, 5]; told by the scores"
    )
    alike: str | None = Field(None, description="the label that means alike, where pairs have labels; told by its name")

    @field_validator("alike", mode="before")
    @classmethod
    def _as_label(cls, value: Any) -> Any:
        """A number or a truth, as YAML reads 0 and true, as the label it stands for."""
        return label_of(value) if isinstance(value, (bool, int, float)) else value


class Embedding(ItemTask, VectorTask):
    """A vector a text, learnt from texts that belong together."""

    name = "embedding"
    title = "Embedding (text → vector: alike is near)"
    help = (
        "The model turns texts into vectors whose cosine says how alike they are: for search, clustering, finding "
        "duplicates. It learns from pairs that belong together (question and answer), from triplets with a text that "
        "doesn't, or from pairs with a score. The saved folder is a sentence-transformers model."
    )
    answers = "a vector a text; how near two texts are"
    example: ClassVar[tuple[tuple[str, str], ...]] = (
        ("sentence1", "Can I reset it?"),
        ("sentence2", "Hold the key for 5 s."),
        ("→", "vectors, cosine 0.83"),
    )
    roles = (
        Role("sentence1", "a text: the question, or the first of a pair", required=True),
        Role("sentence2", "the text that belongs to it, or is compared with it", required=True),
        Role("negative", "a text that doesn't belong to the first, or a list of such texts"),
        Role("score", "how alike the pair is, as a number"),
        Role("label", "whether the pair is alike"),
    )
    shapes = ("sentence-pair", "triplet")
    default_metrics = ("spearman", "pearson")
    error_categories = ranking.SCORED
    options_model: ClassVar[type[Options]] = EmbeddingOptions

    def __init__(self, options: Options | None = None, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(options, facts)
        self._pool: list[str] = []  # second texts of the held-out rows: what is searched, and what is unrelated
        self._pool_rows: list[Row] = []  # those that the model tells apart: long texts are cut, perhaps to the same
        self._pool_places: list[int] = []  # in these, of each text of the pool
        self._vectors: Any = None  # of the pool, by the model at hand

    # -- what the rows hold ----------------------------------------------------------------------------------------
    def survey(self, dataset: Dataset, shape: Shape, *, cancel: Cancel | None = None) -> dict[str, Any]:
        """`{form}`: pairs, triplets, scores or labels; of triplets how many `negatives` every row has, of the last two
        `scale` or `alike`. Raises UsageError for a loss that can't learn from such rows."""
        role = label_role(shape)
        form = TRIPLETS if shape.name == "triplet" else PAIRS if role is None else SCORES
        facts: dict[str, Any] = {}
        if form == TRIPLETS:
            facts["negatives"] = self._negatives(dataset, shape, cancel)
        elif role is not None:
            known = likeness.survey(dataset, shape, self.options.scale, self.options.alike, cancel=cancel)
            if known.yes is not None:
                form, facts["alike"] = LABELS, known.yes
            else:
                facts["scale"] = [known.low, known.high]
                if role == "label" and (known.low, known.high) == (0.0, 1.0):
                    form = LABELS
        wanted = self.options.loss
        if wanted != "auto" and form not in vector_losses.FORMS[wanted]:
            raise UsageError(
                f"options.loss: {wanted} learns from {' or '.join(vector_losses.FORMS[wanted])}, but these rows are "
                f"{form}.",
                f"Use {', '.join(name for name, forms in vector_losses.FORMS.items() if form in forms)}, or auto.",
            )
        return {"form": form, **facts}

    def told(self) -> str:
        """What the rows are, and how their scores or labels are read."""
        if self.form == SCORES:
            low, high = self.facts["scale"]
            return f"scores {low:g} to {high:g}: {high:g} means the same"
        if self.form == LABELS:
            yes = self.facts.get("alike")
            return f"pairs with labels: {one_line(yes if yes is not None else '1', 40)!r} means alike, all else unlike"
        if self.form == TRIPLETS:
            return f"triplets; negatives a row: {number(int(self.facts.get('negatives') or 1))}"
        return "pairs that belong together, without a score"

    def _negatives(self, dataset: Dataset, shape: Shape, cancel: Cancel | None) -> int:
        """How many negatives the rows have that have any: the fewest, or the only one that `triplet` takes."""
        fewest = 1 if self.options.loss == "triplet" else MOST_NEGATIVES
        for place in range(len(dataset)):
            if fewest == 1:
                break
            if cancel is not None and place % 1000 == 0 and cancel():
                raise Stopped("Stopped while reading negatives.")
            try:
                fewest = min(fewest, len(shape.example(dataset[place]).fields["negatives"]) or fewest)
            except BadRow:
                continue
        return fewest

    @property
    def form(self) -> str:
        """What the rows are: pairs, triplets, scores or labels."""
        return str(self.facts.get("form") or PAIRS)

    @property
    def loss_name(self) -> str:
        """The loss in use."""
        return str(vector_losses.DEFAULT[self.form] if self.options.loss == "auto" else self.options.loss)

    @property
    def divisible(self) -> bool:
        """Not where the loss holds the rows of a batch against each other."""
        return self.loss_name not in vector_losses.TOGETHER

    @property
    def ranked_by(self) -> tuple[str, ...]:
        """Where partners are found, how often; or the order of the scores."""
        return {PAIRS: ("mrr@10", "accuracy"), TRIPLETS: ("accuracy",)}.get(self.form, self.default_metrics)

    @property
    def chunk(self) -> int | None:
        """As the options say, where the loss holds the rows of a batch against each other."""
        return None if self.divisible else self.options.chunk

    def texts_apart(self, rows: Sequence[Row]) -> Sequence[Sequence[int]]:
        """The texts of each row, where each row is told that those of all others are wrong."""
        if self.loss_name != "mnrl":
            return ()
        numbers: dict[tuple[int, ...], int] = {}
        found = []
        for row in (rows[place] for place in range(len(rows))):
            ends = list(accumulate(row["parts"], initial=0))
            texts = (tuple(row["input_ids"][start:stop]) for start, stop in pairwise(ends))
            found.append(tuple(numbers.setdefault(text, len(numbers)) for text in texts))
        return found

    @property
    def _likeness(self) -> Likeness:
        low, high = self.facts.get("scale") or (0.0, 1.0)
        return Likeness(float(low), float(high), self.facts.get("alike"))

    def metrics(self) -> tuple[str, ...]:
        """Correlation with scores; of pairs how well each finds its partner; of triplets how often it is the nearer."""
        return {PAIRS: ("accuracy", "mrr@10", "recall@10"), TRIPLETS: ("accuracy",)}.get(
            self.form, self.default_metrics
        )

    def unfit(self) -> tuple[str, ...]:
        """What needs another form of rows: correlations need scores, places in a search need partners."""
        found, like = tuple(ranking.METRICS), ("spearman", "pearson")
        if self.form in (SCORES, LABELS):
            return ("accuracy", *found)
        return like if self.form == PAIRS else (*like, *found)

    def categories(self) -> tuple[str, ...]:
        """Those of scores, or those of search."""
        return ranking.SCORED if self.form in (SCORES, LABELS) else ranking.SEARCHED

    def marks(self) -> dict[str, Any]:
        """What is searched, and what a tie counts as."""
        return {"pool": hashlib.blake2b("\0".join(self._pool).encode(), digest_size=8).hexdigest(), "ties": "last"}

    def phases(self) -> dict[str, str]:
        """The loss that is learnt by."""
        return {"training": vector_losses.TITLES[self.loss_name]}

    # -- rows ------------------------------------------------------------------------------------------------------
    def texts(self, example: Example) -> tuple[str, ...]:
        """Anchor and partner, and the negatives where there are any. Raises BadRow for an empty text."""
        fields = example.fields
        found = [(name, str(fields.get(name, ""))) for name in ("sentence1", "sentence2")]
        if self.form == TRIPLETS:
            wanted = int(self.facts.get("negatives") or 1)
            negatives = list(fields.get("negatives") or [fields.get("negative", "")])
            if len(negatives) < wanted:
                raise BadRow(f"there are {len(negatives)} negatives, not {wanted}")
            found += [("negative", str(text)) for text in negatives[:wanted]]
        for name, text in found:
            if not text.strip():
                raise BadRow(f"{name} is empty")
        return tuple(text for _, text in found)

    def fault(self, example: Example) -> str:
        """Whether it lacks a text, or a score on the scale."""
        try:
            self.texts(example)
            self._target(example)
        except BadRow as error:
            return str(error)
        return ""

    def _target(self, example: Example) -> float:
        if self.form not in (SCORES, LABELS):
            return 0.0
        return self._likeness.of(example.fields.get("raw_label"))

    def items(
        self, examples: Sequence[Example], tokenizer: Tokenizer, max_length: int | None
    ) -> list[list[Item] | str]:
        ready: list[tuple[tuple[str, ...], float] | str] = []
        for example in examples:
            try:
                ready.append((self.texts(example), self._target(example)))
            except BadRow as error:
                ready.append(str(error))
        framed = iter(self.framed([one[0] for one in ready if not isinstance(one, str)], tokenizer, max_length))
        found: list[list[Item] | str] = []
        for one in ready:
            if isinstance(one, str):
                found.append(one)
                continue
            ids, parts, lost = next(framed)
            texts = tuple(length + more for length, more in zip(parts, lost, strict=True))
            found.append([Item(ids, {"parts": parts, "labels": one[1]}, 1, sum(lost), texts=texts)])
        return found

    def rows_of(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> list[Row]:
        """One row, with what the evaluation must know of it: its texts' place in the pool, and how long they are."""
        items = self.items_of(example, tokenizer, max_length)
        texts = self.texts(example)
        known = {"texts": list(texts[1:]), "words": [len(text.split()) for text in texts]}
        return [{**item.row, **known, "reference": self._reference(example)} for item in items]

    def _reference(self, example: Example) -> str:
        if self.form in (SCORES, LABELS):
            value = example.fields.get("raw_label")
            return f"{self._likeness.of(value):g}" if self.form == LABELS else f"{number_of(value):g}"
        return self.texts(example)[1]

    def prompt(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> Prompt:
        """The texts as they are compared; the score or the text that belongs to the first is the reference."""
        [row] = self.rows_of(example, template, tokenizer, max_length)
        texts = self.texts(example)
        shown = texts[:1] if self.form == PAIRS else texts
        return Prompt(list(row["input_ids"]), "\n".join(shown), self._reference(example), row)

    # -- what the evaluation holds rows against ------------------------------------------------------------------
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
        """This task with the second texts of the held-out rows, among which each first text searches its own."""
        found = copy.copy(self)
        texts = [self.texts(example)[1] for example in held_out() if self.usable(example)]
        found._pool = list(dict.fromkeys(texts))
        if self.form != PAIRS:
            found._pool = found._pool[:OTHERS]
        framed = self.framed([(text,) for text in found._pool], tokenizer, max_length)
        places: dict[tuple[int, ...], int] = {}
        found._pool_places = [places.setdefault(tuple(ids), len(places)) for ids, _, _ in framed]
        found._pool_rows = [{"input_ids": list(ids), "parts": [len(ids)]} for ids in places]
        return found

    def fitted(self, model: Any, pad_id: int = 0, saved: Any = None) -> Self:
        """This task with the vectors that MODEL gives what is searched."""
        from torch.nn import functional

        found = copy.copy(self)
        if self._pool:
            unit = functional.normalize(embed_rows(self, model, self._pool_rows, pad_id), dim=-1)
            found._vectors = unit[self._pool_places]
        return found

    # -- batches ---------------------------------------------------------------------------------------------------
    def collate(self, rows: Sequence[Row], pad_id: int, multiple: int = 1) -> dict[str, Any]:
        """`inputs`: a padded column a text. `targets` [rows]: scores from 0 to 1; 0 for pairs and triplets. `told`: of
        held-out rows what the evaluation must know."""
        import torch

        targets = torch.tensor([float(row["labels"]) for row in rows])
        told = [{key: row[key] for key in ("texts", "words", "reference") if key in row} for row in rows]
        return {"inputs": self.columns(rows, pad_id, multiple), "targets": targets, "told": told, **sizes(rows)}

    def loss(self, outputs: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        """sentence-transformers' loss, a mean over the rows of the batch, times the rows."""
        targets = batch["targets"]
        found = vector_losses.value(
            self.loss_name, outputs, targets, scale=1 / self.options.temperature, margin=self.options.margin,
            dimensions=self.options.matryoshka,
        )  # fmt: skip
        return found * len(targets)

    def unmapped(self) -> str:
        """Similarity isn't the probability of an answer."""
        return "Rows of this task have no place on this map: texts get nearer or farther, no answer has a probability."

    def predictions(self, outputs: Any, batch: Mapping[str, Any]) -> list[Predicted]:
        """The cosine of the pair; of pairs without a score the text that is found; of triplets the nearer text."""
        from torch.nn import functional

        unit = [functional.normalize(column, dim=-1) for column in outputs]
        cosines = [(unit[0] * other).sum(-1).tolist() for other in unit[1:]]
        among, mine = None, []
        if self._vectors is not None:  # both as products of matrices, which a GPU may round more than those of rows
            among, mine = (unit[0] @ self._vectors.T).tolist(), (unit[0] @ unit[1].T).diagonal().tolist()
        found = []
        for place, told in enumerate(batch["told"]):
            own = [column[place] for column in cosines]
            extra: dict[str, Any] = {"cosine": round(own[0], 6), "words": told.get("words")}
            if among is not None:
                extra |= ranking.told(among[place], self._pool, told["texts"][0], mine[place])
            text = f"{own[0]:.6f}"
            if self.form == TRIPLETS and told:
                nearest = max(range(1, len(own)), key=lambda at: ranking.sortable(own[at]))
                extra["negative"] = round(own[nearest], 6)
                first = all(ranking.beats(own[0], other) for other in own[1:])  # a tie isn't found
                text = told["texts"][0 if first else nearest]
            elif self.form == PAIRS and "best" in extra:
                text = extra.pop("best")
            extra.pop("best", None)
            found.append(Predicted(text, extra))
        return found

    def scores(self, predicted: Sequence[Predicted], rows: Sequence[Row]) -> dict[str, float]:
        """Spearman and Pearson with the scores; or how often the partner is found, first and among ten."""
        if not predicted:
            return {}
        references = [str(row["reference"]) for row in rows]
        if self.form in (SCORES, LABELS):
            from ftstudio.evaluation.classification import summary

            return summary([item.text for item in predicted], references, "regression")
        right = [item.text == reference for item, reference in zip(predicted, references, strict=True)]
        found = {"accuracy": sum(right) / len(right)}
        if self.form == PAIRS and "rank" in predicted[0].extra:
            ranks = [int(item.extra["rank"]) for item in predicted]
            found |= {name: sum(map(score, ranks)) / len(ranks) for name, score in ranking.METRICS.items()}
        return found
