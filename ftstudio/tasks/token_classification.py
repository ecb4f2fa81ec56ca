"""Token classification: every word of a text gets a tag, such as the names of people and places in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ftstudio.core.text import number
from ftstudio.data import tags as reading
from ftstudio.data.dataset import Cancel, Dataset
from ftstudio.data.encode import IGNORED
from ftstudio.data.encoded_set import EncodedSet
from ftstudio.data.example import BadRow, Example, text_of
from ftstudio.data.row_set import Item
from ftstudio.data.shape import Shape
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer
from ftstudio.data.view import Piece, TokenView
from ftstudio.evaluation import tagging
from ftstudio.tasks.base import Doubt, Head, Kind, Options, Predicted, Prompt, Role, Row
from ftstudio.tasks.by_items import ItemTask
from ftstudio.tasks.label_words import told_labels
from ftstudio.tasks.padding import cross_entropies, padded_inputs, padded_labels, sizes

if TYPE_CHECKING:
    import torch


class TaggingOptions(Options):
    """Options of token classification."""

    label: Literal["first", "all"] = Field(
        "first", description="which sub-tokens of a word learn its tag: the first, or all (those after it as I-)"
    )


class TokenClassification(ItemTask):
    """A tag for every word."""

    name = "token-classification"
    title = "Token classification (words → tags)"
    help = (
        "The model reads a text cut into words and tells the tag of each through a new head: names, places, products, "
        "parts of speech. Tags of entities may come as BIO, IOB1 or BIOES; answers are BIO. Small encoders (BERT, "
        "MiniLM, ModernBERT) are usually enough, and fast."
    )
    answers = "a tag for every word"
    example: ClassVar[tuple[tuple[str, str], ...]] = (
        ("tokens", "Ada lives in London"),
        ("tags", "B-PER O O B-LOC"),
        ("→", "B-PER O O B-LOC"),
    )
    roles = (
        Role("tokens", "the list of words", required=True),
        Role("tags", "a list with the tag of each word: BIO, IOB1, BIOES, or any names", required=True),
    )
    shapes = ("tokens-tags",)
    default_metrics = ("entity_f1", "entity_precision", "entity_recall", "tag_accuracy")
    error_categories = tagging.CATEGORIES
    kind: ClassVar[Kind] = "token-classification"
    options_model = TaggingOptions

    # -- what the tags are -------------------------------------------------------------------------------------------
    def survey(self, dataset: Dataset, shape: Shape, *, cancel: Cancel | None = None) -> dict[str, Any]:
        """`{labels, counts, scheme, types}`."""
        found = reading.survey(dataset, shape, cancel=cancel)
        return {
            "labels": list(found.names),
            "counts": list(found.counts),
            "scheme": found.scheme,
            "types": list(found.types),
        }

    def told(self) -> str:
        """The scheme of the tags, and their entities by type; or the tags with how often each occurs."""
        types = self.facts.get("types") or ()
        if not types:
            return told_labels(self.labels, self.facts.get("counts") or (), "tags")
        scheme = {"iob1": "IOB1, read as BIO", "bioes": "BIOES, read as BIO"}.get(str(self.facts.get("scheme")), "BIO")
        found = self.entities()
        return f"{scheme}, {told_labels(list(found), list(found.values()), 'types')}"

    def entities(self) -> dict[str, int]:
        """How many entities of each type the rows hold: each begins with one B-."""
        known = dict(zip(self.labels, self.facts.get("counts") or (), strict=False))
        return {kind: known.get(f"B-{kind}", 0) for kind in self.facts.get("types") or ()}

    @property
    def labels(self) -> tuple[str, ...]:
        """The tags, in the order of the head's outputs."""
        return tuple(self.facts.get("labels") or ())

    def head(self, seed: int = 0) -> Head:
        """A token classifier with an output a tag."""
        return Head(self.kind, self.labels or (reading.OUTSIDE,), "", seed)

    def metrics(self) -> tuple[str, ...]:
        """Those of entities; of tags that mark none, such as parts of speech, how many are right."""
        return self.default_metrics if self.facts.get("types") else ("tag_accuracy",)

    def unfit(self) -> tuple[str, ...]:
        """Those of entities where the tags mark none: all would be 0."""
        return () if self.facts.get("types") else tuple(name for name in tagging.METRICS if name.startswith("entity"))

    # -- rows ------------------------------------------------------------------------------------------------------
    def fault(self, example: Example) -> str:
        """Whether the head doesn't know a tag."""
        try:
            self._tags(example)
        except BadRow as error:
            return str(error)
        return ""

    def _tags(self, example: Example) -> list[str]:
        """The tags of EXAMPLE in BIO. Raises BadRow for none and for unknown ones."""
        if "tags" not in example.fields:
            raise BadRow("there are no tags in this row")
        found = reading.in_bio(example.fields["tags"], str(self.facts.get("scheme") or "bio"))
        known = set(self.labels)
        odd = reading.slip(found) if self.facts.get("types") else None
        if odd is not None and odd[1] not in known:
            raise BadRow(f"the tag {odd[1][:40]!r} of word {odd[0]} marks no entity, as other tags do (O, B-, I-)")
        for place, name in enumerate(found, 1):
            if name not in known:
                raise BadRow(f"the tag {name[:40]!r} of word {place} is in no training row")
        if not found:
            raise BadRow("there are no words in this row")
        return found

    def items(
        self, examples: Sequence[Example], tokenizer: Tokenizer, max_length: int | None, whole: bool = False
    ) -> list[list[Item] | str]:
        """EXAMPLES as items; WHOLE keeps words and tags beside, for whoever predicts and scores."""
        frame = len(tokenizer.prefix) + len(tokenizer.suffix)
        room = None if max_length is None else max(0, max_length - frame)
        known = {name: place for place, name in enumerate(self.labels)}
        texts = [words_of(example) for example in examples]
        found: list[list[Item] | str] = []
        for example, words, (ids, owners) in zip(examples, texts, tokenizer.encode_words(texts), strict=True):
            try:
                tags = self._tags(example)
            except BadRow as error:
                found.append(str(error))
                continue
            if not ids:
                found.append("no word of this row has a token")
                continue
            first = [place == 0 or owners[place - 1] != owner for place, owner in enumerate(owners)]
            labels = [self._label(tags[owner], new, known) for owner, new in zip(owners, first, strict=True)]
            kept = labels[:room]
            more: dict[str, Any] = {
                "labels": [IGNORED] * len(tokenizer.prefix) + kept + [IGNORED] * len(tokenizer.suffix)
            }
            silent = len(words) - len(set(owners))
            if silent and not whole:
                more["silent"] = silent
            if whole:
                starts = {owner: at for at, owner in enumerate(owners[:room]) if first[at]}
                more["words"] = tuple(words)
                more["tags"] = tuple(tags)
                more["places"] = tuple(
                    starts[word] + len(tokenizer.prefix) if word in starts else -1 for word in range(len(words))
                )
                more["cut"] = len(set(owners) - set(owners[:room]))
            lost = labels[len(kept) :]
            learnt = sum(label != IGNORED for label in kept)
            if not learnt:
                found.append("max_length leaves no room for a word")
                continue
            framed = [*tokenizer.prefix, *ids[:room], *tokenizer.suffix]
            found.append([Item(framed, more, learnt, len(lost), sum(label != IGNORED for label in lost))])
        return found

    def unlearnt(self, encoded: EncodedSet) -> list[Doubt]:
        """Words that the tokenizer makes nothing of: nothing learns or tells their tags."""
        silent = [more["silent"] for more in getattr(encoded, "more", ()) if "silent" in more]
        if not silent:
            return []
        words = "1 word has" if sum(silent) == 1 else f"{number(sum(silent))} words have"
        rows = "1 row" if len(silent) == 1 else f"{number(len(silent))} rows"
        text = f"{words} no token (in {rows}; such as empty ones): their tags aren't learnt, and are answered with O."
        return [Doubt("data.train", text, "Take such words and their tags out, or write them in letters.")]

    def _label(self, tag: str, first: bool, known: Mapping[str, int]) -> int:
        """The label of a sub-token of a word with TAG; an entity's sub-tokens after its first go on inside it."""
        if first:
            return known[tag]
        if self.options.label == "first":
            return IGNORED
        return known[f"I-{tag[2:]}" if tag.startswith("B-") and self.facts.get("types") else tag]

    def rows_of(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> list[Row]:
        """One row, with its `words`, `tags`, the `places` of the words' first sub-tokens (-1: none), and how many words
        were `cut`."""
        [items] = self.items([example], tokenizer, max_length, whole=True)
        if isinstance(items, str):
            raise BadRow(items)
        return [item.row for item in items]

    def prompt(
        self, example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None
    ) -> Prompt:
        """The words, and their tags in BIO as reference."""
        [row] = self.rows_of(example, template, tokenizer, max_length)
        return Prompt(list(row["input_ids"]), " ".join(row["words"]), " ".join(row["tags"]), row)

    def view(
        self, dataset: Dataset, row: int, shape: Shape, template: Template, tokenizer: Tokenizer, max_length: int | None
    ) -> TokenView:
        """Row ROW in sub-tokens, each word's first one followed by its tag where that isn't O."""
        try:
            example = shape.example(dataset[row])
            scheme = self.facts.get("scheme") or "bio"
            words, tags = words_of(example), reading.in_bio(example.fields.get("tags") or (), scheme)
        except BadRow as error:
            return TokenView(row, problem=str(error))
        if not words or len(words) != len(tags):
            return TokenView(row, problem="there are no words with tags in this row")
        [(ids, owners)] = tokenizer.encode_words([words])
        frame = len(tokenizer.prefix) + len(tokenizer.suffix)
        room = len(ids) if max_length is None else max(0, max_length - frame)
        pieces = _special(tokenizer, tokenizer.prefix)
        trained = 0
        for place, (token, text) in enumerate(zip(ids, tokenizer.tokens(ids), strict=True)):
            new = place == 0 or owners[place - 1] != owners[place]
            last = place + 1 == len(ids) or owners[place + 1] != owners[place]
            learnt = new or self.options.label == "all"
            tag = tags[owners[place]]
            shown = f"{text}‹{tag}›" if last and tag != reading.OUTSIDE else text
            pieces.append(Piece(shown, token, learnt, place >= room, False))
            trained += learnt and place < room
        kept = min(len(ids), room)
        pieces[len(tokenizer.prefix) + kept : len(tokenizer.prefix) + kept] = _special(tokenizer, tokenizer.suffix)
        note = f"a word's tag stands behind it in ‹ ›; {self.options.label} sub-tokens learn it"
        problem = "" if ids else "there are no words in this row"
        return TokenView(
            row,
            tuple(pieces),
            trained=trained,
            masked=kept + frame - trained,
            lost=len(ids) - kept,
            ends=None,
            note=note,
            problem=problem,
        )

    # -- batches ---------------------------------------------------------------------------------------------------
    def collate(self, rows: Sequence[Row], pad_id: int, multiple: int = 1) -> dict[str, Any]:
        """`targets` [rows, longest]: the tag's number at labelled sub-tokens, else -100; `words`, places and cut words
        of rows that have them."""
        inputs = padded_inputs(rows, pad_id, multiple)
        targets = padded_labels(rows, inputs["input_ids"].shape[1])
        told = tuple((row.get("words", ()), row.get("places", ()), row.get("cut", 0)) for row in rows)
        return {"inputs": inputs, "targets": targets, "words": told, **sizes(rows)}

    def losses(self, outputs: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        """Cross-entropy of the tags, [rows, longest]."""
        return cross_entropies(outputs.logits, batch["targets"])

    def predictions(self, outputs: Any, batch: Mapping[str, Any]) -> list[Predicted]:
        """The likeliest tag of each word, by its first sub-token, as they are told: what breaks BIO is an error to be
        seen. A word that the model never read is O."""
        best = outputs.logits.argmax(-1).tolist()
        found = []
        for row, (words, places, cut) in zip(best, batch["words"], strict=True):
            tags = [self.labels[row[place]] if place >= 0 else reading.OUTSIDE for place in places]
            found.append(Predicted(" ".join(tags), {"words": list(words), **({"cut": cut} if cut else {})}))
        return found

    def scores(self, predicted: Sequence[Predicted], rows: Sequence[Row]) -> dict[str, float]:
        """Strict F1, precision and recall of entities, F1 of each type, and the accuracy of tags."""
        return tagging.summary([item.text for item in predicted], [" ".join(row["tags"]) for row in rows])


def words_of(example: Example) -> list[str]:
    """The words of EXAMPLE."""
    return [text_of(word) for word in example.fields.get("tokens") or ()]


def _special(tokenizer: Tokenizer, ids: Sequence[int]) -> list[Piece]:
    return [Piece(text, token, False, False, True) for text, token in zip(tokenizer.tokens(ids), ids, strict=True)]
