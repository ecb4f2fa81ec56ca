"""What rows are for: each task's formats are recognised, mapped, and the reason is said."""

# ruff: noqa: E501 (a table is read across)
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftstudio.core.errors import UsageError
from ftstudio.core.recipe import Columns
from ftstudio.data.dataset import Dataset, from_rows
from ftstudio.data.example import BadRow, Turn
from ftstudio.data.profile import profile_dataset
from ftstudio.data.read import open_dataset
from ftstudio.data.shape import ROLES, recognise, suggest

SENTENCES = [f"this is the sentence number {n} of them all" for n in range(40)]
CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
HH = "\n\nHuman: q\n\nAssistant: first\n\nHuman: more\n\nAssistant: "


def many(**columns: Any) -> Dataset:
    """40 rows: a function of the row's number, or the same value in all."""
    return from_rows([{name: make(n) if callable(make) else make for name, make in columns.items()} for n in range(40)])


MADE: list[tuple[Dataset, str, dict[str, str], str]] = [
    (many(text=SENTENCES.__getitem__, label=lambda n: n % 3), "text-classification", {"text": "text", "label": "label"}, "label"),
    (many(a=SENTENCES.__getitem__, b=lambda n: "yn"[n % 2]), "text-classification", {"text": "a", "label": "b"}, "in them"),
    (many(tokens=["a", "b"], ner_tags=["O", "B-X"]), "token-classification", {"tokens": "tokens", "tags": "ner_tags"}, "tags"),
    (
        many(sentence1=SENTENCES.__getitem__, sentence2="x", score=lambda n: n / 8),
        "embedding", {"sentence1": "sentence1", "sentence2": "sentence2", "score": "score"}, "0 to 4.875",
    ),
    (
        many(a=SENTENCES.__getitem__, b=lambda n: SENTENCES[-n], c=lambda n: f"{n / 8}"),
        "embedding", {"sentence1": "a", "sentence2": "b", "score": "c"}, "in them",
    ),
    (many(premise="p", hypothesis="h", label=lambda n: n % 3), "embedding", {"label": "label"}, "premise"),
    (many(anchor="p", positive="h"), "embedding", {"sentence1": "anchor", "sentence2": "positive"}, "pairs"),
    (many(source="s", target="t"), "seq2seq", {"source": "source", "target": "target"}, "→"),
    (many(article="s", highlights="t"), "seq2seq", {"source": "article", "target": "highlights"}, "summed up"),
    (many(en="s", de="t"), "seq2seq", {"source": "en", "target": "de"}, "languages"),
    (many(translation={"en": "s", "fr": "t"}), "seq2seq", {"source": "translation.en"}, "'en' → 'fr'"),
    (many(image="a.png", caption="c"), "image-text-to-text", {"image": "image", "text": "caption"}, "pictures"),
    (many(image={"bytes": b"", "path": "a.jpg"}, text="c"), "image-text-to-text", {"text": "text"}, "pictures"),
    (many(messages=CHAT, images=["a.jpg"]), "image-text-to-text", {"messages": "messages", "image": "images"}, "pictures"),
    (many(messages=CHAT, tools=[{"type": "function"}]), "sft", {"messages": "messages", "tools": "tools"}, "tools"),
    (many(prompt="q", chosen="a", rejected="b"), "sft", {"prompt": "prompt", "completion": "chosen"}, "'chosen' is learnt"),
    (many(prompt="q", chosen=CHAT, rejected=CHAT), "sft", {"messages": "chosen"}, "rejected"),
    (many(chosen=HH + "good", rejected=HH + "bad"), "sft", {"messages": "chosen"}, "rejected"),
    (many(question="q", context="c", answer="a"), "sft", {"prompt": "question", "input": "context"}, "asked about"),
    (
        many(id="5", title="t", question="q", context="c", answers={"text": ["a", "b"], "answer_start": [1, 2]}),
        "sft", {"prompt": "question", "input": "context", "completion": "answers"}, "asked about",
    ),
    (many(id=lambda n: f"{n}", en="s", de="t"), "seq2seq", {"source": "en", "target": "de"}, "languages"),
    (many(id=SENTENCES.__getitem__, en="s"), "seq2seq", {"source": "id", "target": "en"}, "languages"),
    (many(text=SENTENCES.__getitem__), "causal-lm", {"text": "text"}, "all of its text"),
]  # fmt: skip


@pytest.mark.parametrize(("dataset", "task", "columns", "why"), MADE)
def test_the_first_suggestion(dataset: Dataset, task: str, columns: dict[str, str], why: str) -> None:
    found = suggest(dataset)
    assert found[0].task == task
    shape = found[0].shape
    assert columns.items() <= dict(shape.columns).items()
    assert why in shape.why
    assert set(shape.columns) <= set(ROLES)
    assert shape.example(dataset[0]).messages
    assert recognise(dataset, task=task).columns == shape.columns
    again = recognise(dataset, shape.columns)
    assert again.example(dataset[1]).messages == shape.example(dataset[1]).messages
    assert again.unused == shape.unused


def test_whole_numbers_of_pairs_are_classes_where_they_are_called_so() -> None:
    def role(name: str, make: Any) -> str:
        rows = many(sentence1=SENTENCES.__getitem__, sentence2="x", **{name: make})
        return next(role for role in ("label", "score") if role in recognise(rows, task="text-classification").columns)

    assert role("label", lambda n: n % 5) == role("gold_label", lambda n: f"{n % 4 - 1}") == "label"
    assert role("label", lambda n: float(n % 5)) == role("score", lambda n: n % 5) == role("label", int) == "score"


def test_answers_as_the_hub_has_squad() -> None:
    rows = [{"question": "q", "answers": {"text": texts, "answer_start": []}} for texts in (["a", "b"], [])]
    shape = recognise(from_rows(rows))
    assert [shape.example(row).reference for row in rows] == ["a", ""]


def test_a_part_of_an_object_has_to_be_there() -> None:
    rows = many(translation={"en": "s", "fr": "t"})
    with pytest.raises(UsageError, match=r"translation\.de"):
        recognise(rows, {"source": "translation.en", "target": "translation.de"})
    with pytest.raises(UsageError, match=r"translation\.en"):
        recognise(rows, {"text": "translation.en"})


def test_numbers_called_id_are_no_indonesian() -> None:
    rows = many(id=lambda n: f"{n}", en=SENTENCES.__getitem__)
    assert all("source" not in suggestion.shape.columns for suggestion in suggest(rows))


def test_every_role_is_a_key_of_the_recipe() -> None:
    assert set(ROLES) == set(Columns.model_fields)


REAL = [
    ("banking77/train.csv", "text-classification", {"text": "text", "label": "category"}),
    ("sms-spam/sms.tsv", "text-classification", {"text": "column_2", "label": "column_1"}),
    ("awkward-spam-csv", "text-classification", {"text": "v2", "label": "v1"}),
    ("sst2", "text-classification", {"text": "column_1", "label": "column_2"}),
    ("trec/TREC.train.all", "text-classification", {"text": "text", "label": "label"}),
    ("uci-sentences/imdb_labelled.txt", "text-classification", {"text": "column_1", "label": "column_2"}),
    ("uci-sentences/Restaurant_Reviews.tsv", "text-classification", {"text": "Review", "label": "Liked"}),
    ("fewshot-banking77/train_5", "text-classification", {"text": "text", "label": "label"}),
    ("wnut17", "token-classification", {"tokens": "tokens", "tags": "tags"}),
    ("wikigold", "token-classification", {"tokens": "tokens", "tags": "tags"}),
    ("stsb", "embedding", {"sentence1": "column_1", "sentence2": "column_2", "score": "column_3"}),
    ("msrp", "embedding", {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"}),
    ("multi30k", "seq2seq", {"source": "en", "target": "de"}),
    ("scitldr/dev.jsonl", "seq2seq", {"source": "source", "target": "target"}),
    ("xquad/xquad.es.json", "sft", {"prompt": "question", "completion": "answer", "input": "context"}),
    ("fashion-images", "image-text-to-text", {"image": "image", "text": "productDisplayName"}),
    ("llamafactory-demo/mllm_demo.json", "image-text-to-text", {"messages": "messages", "image": "images"}),
    ("llamafactory-demo/dpo_en_demo.json", "sft", {"messages": "conversations", "completion": "chosen"}),
    ("openai-cookbook-chat", "sft", {"messages": "messages"}),
    ("tinyshakespeare", "causal-lm", {"text": "text"}),
]


@pytest.mark.parametrize(("name", "task", "columns"), REAL)
def test_real_ones(shared: Path, name: str, task: str, columns: dict[str, str]) -> None:
    dataset = open_dataset(shared / "data" / name)
    found = suggest(dataset)[0]
    assert (found.task, dict(found.shape.columns)) == (task, columns)
    for row in dataset.iter(0, 100):
        assert found.shape.example(row).messages


def test_examples_of_each_shape() -> None:
    labelled = recognise(many(text=SENTENCES.__getitem__, label=1), {"text": "text", "label": "label"})
    assert labelled.example({"text": "t", "label": 1}).messages == (Turn("user", "t"), Turn("assistant", "1"))
    tagged = recognise(many(tokens=["a"], tags=["O"]), task="token-classification")
    assert tagged.example({"tokens": ["a", "b"], "tags": ["O", "O"]}).messages == (Turn("text", "a b"),)
    with pytest.raises(BadRow, match="2 tokens but 1 tags"):
        tagged.example({"tokens": ["a", "b"], "tags": ["O"]})
    scored = recognise(many(sentence1="a", sentence2="b", score=lambda n: n / 8), task="embedding")
    assert scored.example({"sentence1": "a", "sentence2": "b", "score": 0.5}).reference == "0.5"
    several = recognise(many(source=["a", "b"], target=["x", "y"]), task="seq2seq")
    assert several.example({"source": ["a", "b"], "target": ["x", "y"]}).messages == (
        Turn("user", "a b"),
        Turn("assistant", "x"),
    )
    assert "of several references the first" in several.why
    inside = recognise(many(translation={"en": "s", "fr": "t"}), task="seq2seq")
    assert inside.example({"translation": {"en": "s", "fr": "t"}}).reference == "t"
    with pytest.raises(BadRow, match=r"translation\.fr"):
        inside.example({"translation": {"en": "s"}})
    seen = recognise(many(image="a.png", caption="c"), task="image-text-to-text")
    assert seen.example({"image": "a.png", "caption": "c"}).fields["images"] == ["a.png"]
    with pytest.raises(BadRow, match="no picture"):
        seen.example({"image": None, "caption": "c"})
    told = recognise(many(chosen=HH + "good", rejected=HH + "bad"))
    assert [turn.content for turn in told.example({"chosen": HH + "good"}).messages] == ["q", "first", "more", "good"]


def test_the_same_words_on_other_pictures_are_no_conflict() -> None:
    dataset = many(image=lambda n: f"{n % 39}.png", caption=lambda n: f"caption {n}")
    found = {check["name"]: check["rows"] for check in profile_dataset(dataset)["checks"]}
    assert found == {"conflicting_answers": [0, 39]}


def test_what_is_said_beside_a_tool_call_stays() -> None:
    turns = [*CHAT[:1], {"role": "assistant", "content": "One moment.", "tool_calls": [{"function": {"name": "f"}}]}]
    shape = recognise(from_rows([{"messages": turns, "tools": [{"type": "function"}]}]))
    example = shape.example({"messages": turns, "tools": [{"type": "function"}]})
    assert example.reference == 'One moment.\n[{"name": "f"}]'
    assert example.fields["tools"] == [{"type": "function"}]


def test_training_on_other_rows_says_what_they_look_like() -> None:
    with pytest.raises(UsageError, match="no columns for sft") as caught:
        recognise(many(tokens=["a"], tags=["O"]))
    assert "token-classification" in caught.value.hint
    with pytest.raises(UsageError, match="no columns for embedding"):
        recognise(many(prompt="q", completion="a"), task="embedding")


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        ({"tokens": "a"}, "Name tokens and tags"),
        ({"sentence1": "a"}, "Name sentence1 and sentence2"),
        ({"target": "a"}, "Name source and target"),
    ],
)
def test_half_a_mapping_names_the_other_half(columns: dict[str, str], hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        recognise(many(a="x", b="y"), columns)
    assert hint in caught.value.hint


@pytest.mark.parametrize(("rows", "task", "why", "hint"), [
    (many(text=lambda n: f"a text {n}", price=lambda n: n % 2, service=lambda n: str(n % 2), taste=lambda n: n % 3 > 1),
     "text-classification", "'price', 'service', 'taste' hold 0 or 1, each for a label of its own",
     "data.reading.labels=[price, service, taste]; or learn one of them: data.columns.label=price."),
    (many(text=lambda n: f"a text {n}", good=lambda n: n % 2, bad=lambda n: 1 - n % 2), "few-shot-classification",
     "'good', 'bad' hold 0 or 1", "data.reading.labels=[good, bad]; or learn one of them"),
    (many(text=lambda n: f"Ada lives {n}", entities=lambda n: [{"start": 0, "end": 3, "label": "PER"}] * (n % 2)),
     "token-classification", "'entities' holds places in the text (start and end)", 'tags, one a word'),
    (many(text=lambda n: f"Ada lives {n}", label=lambda n: [[0, 3, "PER"]]), "token-classification",
     "'label' holds places in the text", 'such as ["B-PER", "O"]'),
    (many(text=lambda n: f"a text {n}", odd=lambda n: n % 2, note=lambda n: f"more text {n}"), "token-classification",
     "no columns for token-classification among text, odd, note.", "It looks like"),
])  # fmt: skip
def test_the_form_that_is_wanted_is_named(rows: Dataset, task: str, why: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        recognise(rows, task=task)
    assert why in caught.value.message
    assert hint in caught.value.hint


def test_what_only_looks_a_little_like_labels_is_none() -> None:
    assert suggest(many(id=lambda n: n, words=lambda n: f"w{n}")) == []
    assert suggest(many(a=lambda n: n % 2, b=lambda n: n % 3)) == []
