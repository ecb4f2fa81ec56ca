"""Tags of words: tokens as transformers makes them, scores as seqeval and nervaluate have them, faults in words."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tiny_encoders import save_word_pieces
from tiny_tokenizers import save_byte_level

from ftstudio import tasks
from ftstudio.core.errors import StudioError
from ftstudio.data.dataset import from_rows
from ftstudio.data.read import open_dataset
from ftstudio.data.shape import recognise
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer, load_tokenizer
from ftstudio.engine.mapped import shape_like
from ftstudio.engine.plan_rows import rare_labels
from ftstudio.engine.recipes import check_recipe
from ftstudio.evaluation import tagging
from ftstudio.evaluation.categories import categorise
from ftstudio.evaluation.context import of_predictions
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.tagging import Entity, TagMetric, entities
from ftstudio.tasks.token_classification import TokenClassification

ROWS = [
    {"tokens": ["Anna", "Smith", "visited", "Paris", "."], "tags": ["B-PER", "I-PER", "O", "B-LOC", "O"]},
    {"tokens": ["Nothing", "unbelievable", "here"], "tags": ["O", "O", "O"]},
    {"tokens": ["Paris", "Anna"], "tags": ["B-LOC", "B-PER"]},
]
WORDS = [["Anna", "Smith's", "unbelievable", "42-year-old", "café", "\u200b", "日本"], ["a"], []]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_word_pieces(tmp_path_factory.mktemp("pieces"))


@pytest.fixture(scope="module")
def tokenizer(pieces: Path) -> Tokenizer:
    return load_tokenizer(pieces)


def opened(folder: Path, rows: list[dict[str, Any]]) -> tuple[Any, Any]:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    dataset = open_dataset(path)
    return dataset, recognise(dataset, task="token-classification")


def informed(dataset: Any, shape: Any, **options: Any) -> TokenClassification:
    task = tasks.get("token-classification").bound(options)
    found = task.bound(options, task.survey(dataset, shape))
    assert isinstance(found, TokenClassification)
    return found


# -- tokens ------------------------------------------------------------------------------------------------------------
def test_words_become_the_tokens_that_transformers_makes_of_split_words(pieces: Path, tokenizer: Tokenizer) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(pieces)
    for words, (ids, owners) in zip(WORDS, tokenizer.encode_words(WORDS), strict=True):
        wanted = theirs(words, is_split_into_words=True, add_special_tokens=False)
        assert ids == wanted["input_ids"]
        assert owners == wanted.word_ids()


def test_words_of_a_byte_level_tokenizer_keep_the_space_before_them(tmp_path: Path) -> None:
    from transformers import GPT2TokenizerFast

    folder = save_byte_level(tmp_path)
    theirs = GPT2TokenizerFast.from_pretrained(folder, add_prefix_space=True)
    for words, (ids, owners) in zip(WORDS, load_tokenizer(folder).encode_words(WORDS), strict=True):
        wanted = theirs(words, is_split_into_words=True, add_special_tokens=False)
        assert ids == wanted["input_ids"]
        assert owners == wanted.word_ids()


def test_only_the_first_sub_token_learns_or_all_of_them_inside(tmp_path: Path, tokenizer: Tokenizer) -> None:
    dataset, shape = opened(tmp_path, ROWS)
    template = Template.resolve(None, tokenizer, shape)
    first = informed(dataset, shape)
    assert first.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    [(ids, owners)] = tokenizer.encode_words([ROWS[0]["tokens"]])
    row = first.encode_dataset(dataset, shape, template, tokenizer)[0]
    assert row["input_ids"] == [*tokenizer.prefix, *ids, *tokenizer.suffix]
    told = [first.labels[label] for label in row["labels"] if label >= 0]
    assert told == ROWS[0]["tags"]
    every = informed(dataset, shape, label="all").encode_dataset(dataset, shape, template, tokenizer)[0]
    told = [first.labels[label] for label in every["labels"] if label >= 0]
    tags = ROWS[0]["tags"]
    wanted = [
        tags[owner] if at == 0 or owners[at - 1] != owner else tags[owner].replace("B-", "I-")
        for at, owner in enumerate(owners)
    ]
    assert told == wanted
    assert len(told) > len(tags)


def test_words_beyond_max_length_are_counted_and_answered_with_nothing(tmp_path: Path, tokenizer: Tokenizer) -> None:
    dataset, shape = opened(tmp_path, ROWS)
    task, template = informed(dataset, shape), Template.resolve(None, tokenizer, shape)
    [(ids, owners)] = tokenizer.encode_words([ROWS[0]["tokens"]])
    kept = owners.index(3)  # up to Paris
    found = task.encode_dataset(dataset, shape, template, tokenizer, kept + 2)
    assert found.table["lost_completion"][0] == 2
    assert found.table["lost_prompt"][0] == len(ids) - kept - 2
    prompt = task.prompt(shape.example(dataset[0]), template, tokenizer, kept + 2)
    assert prompt.reference == " ".join(ROWS[0]["tags"])
    assert prompt.row is not None
    assert prompt.row["cut"] == 2
    assert prompt.row["places"][3:] == (-1, -1)


# -- what the tags are -------------------------------------------------------------------------------------------------
def test_iob1_comes_out_as_bio(tmp_path: Path) -> None:
    rows = [
        {"tokens": list("abcd"), "tags": ["I-PER", "I-PER", "O", "I-LOC"]},
        {"tokens": list("abc"), "tags": ["I-PER", "B-PER", "O"]},
        {"tokens": list("ab"), "tags": ["O", "I-LOC"]},
    ]
    dataset, shape = opened(tmp_path, rows)
    task = informed(dataset, shape)
    assert task.facts["scheme"] == "iob1"
    assert [task._tags(shape.example(dataset[at])) for at in range(3)] == [
        ["B-PER", "I-PER", "O", "B-LOC"],
        ["B-PER", "B-PER", "O"],
        ["O", "B-LOC"],
    ]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"tokens": ["a"], "tags": ["O"]}] * 3, "only one tag ('O')"),
        ([{"tokens": ["a", "b"], "tags": ["", ""]}] * 3, "no tag in any row"),
    ],
)
def test_what_cannot_be_learnt_is_refused(tmp_path: Path, rows: list[dict[str, Any]], said: str) -> None:
    dataset, shape = opened(tmp_path, rows)
    with pytest.raises(StudioError) as caught:
        informed(dataset, shape)
    assert said in str(caught.value)


def test_faulty_rows_are_left_out_with_the_reason(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = [*ROWS * 3, {"tokens": ["a", "b"], "tags": ["O"]}, {"tokens": ["a", "b"], "tags": ["O", ""]}]
    dataset, shape = opened(tmp_path, rows)
    task, template = informed(dataset, shape), Template.resolve(None, tokenizer, shape)
    found = task.encode_dataset(dataset, shape, template, tokenizer)
    assert found.excluded == [(9, "2 tokens but 1 tags"), (10, "the tag of word 2 is empty")]
    other = task.bound({}, {**task.facts, "labels": ["O", "B-PER", "I-PER"]})
    assert not other.usable(shape.example(dataset[0]))
    with pytest.raises(ValueError, match="'B-LOC' of word 4 is in no training row"):
        other._tags(shape.example(dataset[0]))


def test_a_stray_tag_makes_no_plain_tags_of_entities(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = [*ROWS * 40, {"tokens": ["Anna", "here"], "tags": ["B-PER", "X"]}]
    dataset, shape = opened(tmp_path, rows)
    task = informed(dataset, shape)
    assert task.facts["types"] == ["LOC", "PER"]
    assert task.told() == "BIO, 2 types: LOC 80, PER 80"
    found = task.encode_dataset(dataset, shape, Template.resolve(None, tokenizer, shape), tokenizer)
    assert found.excluded == [(120, "the tag 'X' of word 2 marks no entity, as other tags do (O, B-, I-)")]
    assert rare_labels(task) == []  # no warning of an I- that the rows needn't have
    plain, shape = opened(tmp_path, [{"tokens": ["Anna", "here"], "tags": ["B-PER", "NOUN"]}] * 50)
    assert informed(plain, shape).told() == "2 tags: B-PER 50, NOUN 50"
    [rare] = rare_labels(task.bound({}, {**task.facts, "counts": [9, 2, 7, 80, 9]}))
    assert "1 of 2 types have under 5 entities ('LOC' 2)" in rare.text


def test_held_out_tags_of_another_scheme_are_read_as_what_they_are(tmp_path: Path) -> None:
    """BIO trained, IOB1 or BIOES held out: the same entities, not scored as others."""
    dataset, shape = opened(tmp_path, ROWS * 3)
    task = informed(dataset, shape)
    recipe = check_recipe({"task": "token-classification", "model": "demo", "data": {"train": "a", "eval": "b"}})
    for tags in (["I-PER", "I-PER", "O", "I-LOC", "O"], ["B-PER", "E-PER", "O", "S-LOC", "O"], ROWS[0]["tags"]):
        other = from_rows([{"tokens": ROWS[0]["tokens"], "tags": tags}] * 3)
        like = shape_like(other, shape, recipe, "eval")
        assert task._tags(like.example(other[0])) == ROWS[0]["tags"]


def test_words_without_a_token_are_told(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = [*ROWS, {"tokens": ["\u200b", "Anna", ""], "tags": ["B-PER", "I-PER", "O"]}]
    dataset, shape = opened(tmp_path, rows)
    task = informed(dataset, shape)
    found = task.encode_dataset(dataset, shape, Template.resolve(None, tokenizer, shape), tokenizer)
    [doubt] = task.unlearnt(found)
    assert doubt.text.startswith("2 words have no token (in 1 row;")
    assert not task.unlearnt(task.encode_dataset(dataset.select([0]), shape, None, tokenizer))  # type: ignore[arg-type]


# -- scores ------------------------------------------------------------------------------------------------------------
def random_tags(seed: int, rows: int = 120) -> tuple[list[list[str]], list[list[str]]]:
    """Tags wanted, valid BIO, and tags given, any."""
    draw = random.Random(seed)
    names = ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    wanted, given = [], []
    for _ in range(rows):
        size = draw.randint(1, 12)
        tags: list[str] = []
        for _ in range(size):
            inside = [f"I-{tags[-1][2:]}"] * 3 if tags and tags[-1] != "O" else []
            tags.append(draw.choice(["O", "O", "B-PER", "B-LOC", *inside]))
        wanted.append(tags)
        given.append([tag if draw.random() < 0.6 else draw.choice(names) for tag in tags])
    return wanted, given


@pytest.mark.parametrize("seed", [1, 2])
def test_entity_scores_are_seqevals_strict_ones(seed: int) -> None:
    seqeval = pytest.importorskip("seqeval.metrics")
    from seqeval.scheme import IOB2

    wanted, given = random_tags(seed)
    texts, references = [" ".join(tags) for tags in given], [" ".join(tags) for tags in wanted]
    settings: dict[str, Any] = {"mode": "strict", "scheme": IOB2}
    theirs = {
        "entity_f1": seqeval.f1_score(wanted, given, **settings),
        "entity_precision": seqeval.precision_score(wanted, given, **settings),
        "entity_recall": seqeval.recall_score(wanted, given, **settings),
        "entity_f1_macro": seqeval.f1_score(wanted, given, average="macro", **settings),
        "tag_accuracy": seqeval.accuracy_score(wanted, given),
    }
    for name, value in theirs.items():
        metric = TagMetric(name)
        [counts] = metric.statistics([texts], references)
        assert metric.score(counts.sum(axis=0, keepdims=True))[0] == pytest.approx(value), name
    report = seqeval.classification_report(wanted, given, output_dict=True, **settings)
    for name, told in tagging.by_type(texts, references).items():
        assert told["f1"] == pytest.approx(report[name]["f1-score"])
        assert told["support"] == report[name]["support"]


def test_outcomes_are_nervaluates() -> None:
    nervaluate = pytest.importorskip("nervaluate")
    wanted, given = random_tags(3)

    def spans(rows: list[list[str]]) -> list[list[dict[str, Any]]]:
        return [[{"label": e.type, "start": e.start, "end": e.end - 1} for e in entities(tags)] for tags in rows]

    found = nervaluate.Evaluator(spans(wanted), spans(given), tags=["PER", "LOC"], loader="dict").evaluate()
    ours = tagging.totals([" ".join(tags) for tags in given], [" ".join(tags) for tags in wanted])
    for schema, theirs in (("strict", "strict"), ("exact", "exact"), ("partial", "partial"), ("type", "ent_type")):
        result = found["overall"][theirs]
        assert ours[schema] == {kind: getattr(result, kind) for kind in tagging.KINDS}, schema


def test_what_breaks_bio_begins_no_entity() -> None:
    assert entities(["B-PER", "I-PER", "O", "B-LOC"]) == [Entity("PER", 0, 2), Entity("LOC", 3, 4)]
    assert entities(["B-PER", "I-LOC", "O", "I-PER"]) == [Entity("PER", 0, 1)]
    assert tagging.broken(["I-PER", "B-PER", "I-LOC", "I-LOC"]) == [0, 2]


# -- errors ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("output", "category", "why"),
    [
        ("O O O B-LOC O", "missed", "Anna Smith (PER)"),
        ("B-PER I-PER B-LOC O O", "spurious", "visited (LOC)"),
        ("B-PER O O B-LOC O", "boundary", "Anna (PER), not Anna Smith (PER)"),
        ("B-PER I-PER O B-PER O", "type", "Paris (PER), not Paris (LOC)"),
        ("O B-LOC I-LOC B-LOC O", "boundary_type", "Smith visited (LOC), not Anna Smith (PER)"),
        ("B-PER I-PER O I-LOC O", "invalid_bio", "I-LOC at 'Paris'"),
    ],
)
def test_every_kind_of_error_is_found_and_named(output: str, category: str, why: str) -> None:
    words, reference = ROWS[0]["tokens"], " ".join(ROWS[0]["tags"])
    row = Prediction(0, " ".join(words), reference, output, extra={"words": words})
    right = Prediction(1, " ".join(words), reference, reference, extra={"words": words, "cut": 1})
    found = categorise([row, right], of_predictions([row, right], only=tagging.CATEGORIES))
    assert found.rows[category] == [0]
    finding = next(one for one in found.findings[0] if one.category == category)
    assert finding.why == why
    assert all(output[start:end].strip() for start, end in finding.spans) or category == "missed"
    assert [one.category for one in found.findings[1]] == ["cut"]


# -- for a person ------------------------------------------------------------------------------------------------------
def test_the_token_view_shows_words_with_their_tags_and_what_is_cut(tmp_path: Path, tokenizer: Tokenizer) -> None:
    dataset, shape = opened(tmp_path, ROWS)
    task, template = informed(dataset, shape), Template.resolve(None, tokenizer, shape)
    [(ids, owners)] = tokenizer.encode_words([ROWS[0]["tokens"]])
    kept = owners.index(3)
    view = task.view(dataset, 0, shape, template, tokenizer, kept + 2)
    assert "".join(piece.text for piece in view.pieces if not piece.lost) == "[CLS]Anna‹B-PER›Smith‹I-PER›visited[SEP]"
    assert "".join(piece.text for piece in view.pieces if piece.lost) == "Paris‹B-LOC›."
    assert (view.trained, view.lost, view.ends) == (3, len(ids) - kept, None)
    assert "end token" not in view.summary
