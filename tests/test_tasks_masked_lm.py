"""Hidden words: which and by what, the same again after a resume, a new head told and trained, and what comes of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tiny_encoders import make_encoder, save_unigram, save_word_pieces

from ftstudio import tasks
from ftstudio.cli.inspect import data_text
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.data.masking import MaskedSet, masking_of
from ftstudio.data.profile import profile_dataset
from ftstudio.data.read import open_dataset
from ftstudio.data.shape import recognise
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer, load_tokenizer
from ftstudio.evaluation.categories import categorise
from ftstudio.evaluation.context import of_predictions
from ftstudio.evaluation.predictions import Prediction
from ftstudio.tasks.checked import encode_by

TEXTS = ["Anna Smith visited Paris, unbelievable birds and seven cats.", "", "Rome " * 60, "dogs"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(save_word_pieces(tmp_path_factory.mktemp("pieces")))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import json

    path = tmp_path_factory.mktemp("texts") / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    return open_dataset(path)


def encoded(texts: Any, tokenizer: Tokenizer, length: int = 32, **options: Any) -> MaskedSet:
    shape = recognise(texts, {"text": "text"}, task="masked-lm")
    task = tasks.get("masked-lm").bound(options)
    found = task.encode_dataset(texts, shape, Template.resolve(None, tokenizer, shape), tokenizer, length)
    assert isinstance(found, MaskedSet)
    return found


# -- which and by what -------------------------------------------------------------------------------------------------
def test_shares_are_berts(tokenizer: Tokenizer) -> None:
    masking = masking_of(tokenizer, 0.15, 0.8, 0.1, False)
    ids = [2, *(30 + at % 60 for at in range(400)), 3]
    count: Counter[str] = Counter()
    for seed in range(40):
        hidden, labels = masking.apply(ids, None, (seed,))
        chosen = [at for at, label in enumerate(labels) if label >= 0]
        assert len(chosen) == 60  # 15 % of 400, always
        assert all(labels[at] == ids[at] for at in chosen)
        assert all(hidden[at] == ids[at] for at in range(len(ids)) if at not in chosen)
        assert not {0, len(ids) - 1} & set(chosen)
        count.update(
            "mask" if hidden[at] == masking.mask_id else "same" if hidden[at] == ids[at] else "other" for at in chosen
        )
        assert not tokenizer.special_ids & {hidden[at] for at in chosen if hidden[at] != masking.mask_id}
    assert count["mask"] / 2400 == pytest.approx(0.8, abs=0.03)
    assert count["other"] / 2400 == pytest.approx(0.1, abs=0.02)


def test_whole_words_are_hidden_whole(texts: Any, tokenizer: Tokenizer) -> None:
    [(ids, words)] = tokenizer.encode_with_words([TEXTS[0]])
    assert len(set(words)) < len(ids)
    masking = masking_of(tokenizer, 0.3, 1.0, 0.0, True)
    for seed in range(20):
        hidden, labels = masking.apply(ids, words, (seed,))
        chosen = {words[at] for at, label in enumerate(labels) if label >= 0}
        assert {at for at, word in enumerate(words) if word in chosen} == {
            at for at, token in enumerate(hidden) if token == masking.mask_id
        }
    row = encoded(texts, tokenizer, whole_words=True, mask=1.0, random=0.0)[0]
    assert any(label >= 0 for label in row["labels"])


def test_every_epoch_hides_others_and_a_resumed_one_the_same(texts: Any, tokenizer: Tokenizer) -> None:
    from ftstudio.engine.order import LengthGrouped

    rows = encoded(texts, tokenizer)
    order = LengthGrouped([int(length) for length in rows.lengths], 2, 7, rows.at)
    first = [rows[at] for at in range(len(rows))]
    order.set_epoch(1)
    second = [rows[at] for at in range(len(rows))]
    assert first != second
    again = encoded(texts, tokenizer)
    LengthGrouped([int(length) for length in again.lengths], 2, 7, again.at).set_epoch(1)
    assert [again[at] for at in range(len(again))] == second
    other = encoded(texts, tokenizer)
    LengthGrouped([int(length) for length in other.lengths], 2, 8, other.at)
    assert [other[at] for at in range(len(other))] != first


def test_long_texts_become_windows_and_empty_ones_are_told(texts: Any, tokenizer: Tokenizer) -> None:
    rows = encoded(texts, tokenizer)
    assert rows.excluded == [(1, "the text is empty")]
    whole = [len(tokenizer.encode(text)) for text in TEXTS if text]
    assert sum(int(length) - 2 for length in rows.lengths) == sum(whole)
    assert max(rows.lengths) <= 32
    assert rows.stats.trained == sum(sum(label >= 0 for label in rows[at]["labels"]) for at in range(len(rows)))


def test_held_out_rows_are_asked_the_same_every_time(texts: Any, tokenizer: Tokenizer) -> None:
    shape = recognise(texts, {"text": "text"}, task="masked-lm")
    template = Template.resolve(None, tokenizer, shape)
    task = tasks.get("masked-lm").bound({"probability": 0.3, "mask": 1.0, "random": 0.0})
    example = shape.example(texts[0])
    prompt, again = (task.prompt(example, template, tokenizer, 64) for _ in range(2))
    assert (prompt.ids, prompt.reference) == (again.ids, again.reference)
    assert prompt.text.count("[MASK]") == len((prompt.reference or "").split())
    other = task.prompt(example, template, load_tokenizer(tokenizer.name), 64)
    assert prompt.identity == other.identity  # what an answer is remembered by holds no address of this process
    assert "0x" not in prompt.identity


def test_rows_that_differ_in_what_is_hidden_alone_are_remembered_apart(texts: Any, tokenizer: Tokenizer) -> None:
    """How well the hidden words were told stands with the answer."""
    shape = recognise(texts, {"text": "text"}, task="masked-lm")
    template = Template.resolve(None, tokenizer, shape)
    task = tasks.get("masked-lm").bound({"probability": 0.3, "mask": 1.0, "random": 0.0})
    words = ("a", "b", "c", "d")
    rows = [shape.example({"text": f"{one} {two}"}) for one in words for two in words]
    prompts = [task.prompt(example, template, tokenizer, 64) for example in rows]
    alike: dict[tuple[int, ...], dict[str | None, Any]] = {}
    for prompt in prompts:
        alike.setdefault(tuple(prompt.ids), {})[prompt.reference] = prompt.identity
    several = [found for found in alike.values() if len(found) > 1]
    assert several
    assert all(len(set(found.values())) == len(found) for found in several)


def test_a_tokenizer_without_a_mask_is_refused(texts: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no mask token"):
        encoded(texts, load_tokenizer(save_unigram(tmp_path)))
    with pytest.raises(UsageError, match="at most 1"):
        tasks.get("masked-lm").bound({"mask": 0.9, "random": 0.2})


# -- loss and answers --------------------------------------------------------------------------------------------------
def test_loss_and_answers_are_the_models_own(texts: Any, tokenizer: Tokenizer, tmp_path: Path) -> None:
    import math

    import torch
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_pretrained(make_encoder(tmp_path, "BertForMaskedLM")).eval()
    shape = recognise(texts, {"text": "text"}, task="masked-lm")
    task, template = tasks.get("masked-lm"), Template.resolve(None, tokenizer, shape)
    rows = [row for at in (0, 2, 3) for row in task.rows_of(shape.example(texts[at]), template, tokenizer, 32)]
    batch = task.collate(rows, 0)
    with torch.no_grad():
        outputs = task.outputs(model, batch["inputs"])
        theirs = float(model(**batch["inputs"], labels=batch["targets"]).loss)
    count = int((batch["targets"] != -100).sum())
    assert float(task.loss(outputs, batch)) / count == pytest.approx(theirs, rel=1e-5)
    told = task.predictions(outputs, batch)
    scores = task.scores(told, rows)
    assert scores["pseudo_perplexity"] == pytest.approx(math.exp(theirs), rel=1e-4)
    best = outputs.logits.argmax(-1)[batch["targets"] != -100].tolist()
    assert " ".join(item.text for item in told).split() == [piece.strip() or "␣" for piece in tokenizer.tokens(best)]
    assert scores["masked_accuracy"] == sum(item.extra["right"] for item in told) / count


def test_wrong_words_are_named() -> None:
    row = Prediction(0, "a [MASK] [MASK]", "cat runs", "dog runs")
    bad = Prediction(1, "a [MASK]", "cat", "dog")
    found = categorise([row, bad], of_predictions([row, bad], only=("wrong_word", "none_right")))
    assert found.rows == {"wrong_word": [0, 1], "none_right": [1]}
    assert found.findings[0][0].why == "1 of 2: dog for cat"
    assert found.findings[0][0].spans == ((0, 3),)


# -- a new head, and what comes of it ----------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_body_gets_a_new_head_that_learns(tmp_path: Path, method: str) -> None:
    from ftstudio import methods
    from ftstudio.engine.loading import ModelSpec, load
    from ftstudio.engine.locate import locate
    from ftstudio.tasks.base import Head

    body = make_encoder(tmp_path / "body")
    spec = ModelSpec(str(body), "float32", "cpu", None, Head("masked-lm"))
    model = load(locate(str(body)), spec)
    assert sorted(model.ftstudio_head) == ["cls.predictions.transform.LayerNorm", "cls.predictions.transform.dense"]
    found = methods.get(method)
    tuned = found.apply(model, found.settings({"r": 2} if method == "lora" else {}))
    learning = {name for name, part in tuned.named_parameters() if part.requires_grad}
    assert any("transform.dense" in name for name in learning)
    assert any("word_embeddings" in name for name in learning) == (method == "full")
    whole = make_encoder(tmp_path / "whole", "BertForMaskedLM")
    assert (
        load(locate(str(whole)), ModelSpec(str(whole), "float32", "cpu", None, Head("masked-lm"))).ftstudio_head == []
    )


def test_the_result_of_a_run_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftstudio.engine.recipes import model_of_run

    monkeypatch.setenv("FTSTUDIO_WORKSPACE", str(tmp_path))
    for name, file in (("whole-1", "config.json"), ("adapter-1", "adapter_config.json"), ("empty-1", None)):
        folder = tmp_path / "runs" / name
        (folder / "model").mkdir(parents=True)
        (folder / "recipe.yaml").write_text("task: masked-lm\n")
        if file:
            (folder / "model" / file).write_text("{}")
    assert model_of_run("whole-1") == tmp_path / "runs" / "whole-1" / "model"
    with pytest.raises(StudioError, match="saved an adapter") as caught:
        model_of_run("adapter-1")
    assert "ftstudio export adapter-1" in caught.value.hint
    with pytest.raises(StudioError, match="no tuned model yet"):
        model_of_run("empty-1")


def test_the_token_view_shows_what_is_hidden(texts: Any, tokenizer: Tokenizer) -> None:
    shape = recognise(texts, {"text": "text"}, task="masked-lm")
    template = Template.resolve(None, tokenizer, shape)
    task = tasks.get("masked-lm").bound({"probability": 0.2, "mask": 1.0, "random": 0.0})
    view = task.view(texts, 0, shape, template, tokenizer, 64)
    prompt = task.prompt(shape.example(texts[0]), template, tokenizer, 64)
    hidden = [piece.text for piece in view.pieces if piece.trained]
    assert hidden == [f"[MASK]‹{word}›" for word in (prompt.reference or "").split()]
    assert task.view(texts, 1, shape, template, tokenizer, 64).problem == "the text is empty"


def test_figures_of_data_are_those_of_the_task_and_not_of_prompts_and_answers(texts: Any, tokenizer: Tokenizer) -> None:
    def figures(task: str) -> dict[str, Any]:
        found = profile_dataset(
            texts,
            tokenizer=tokenizer,
            max_length=32,
            task=task,
            encode=encode_by,
            checks="end_not_learnt,cut_by_max_length",
        )
        return {**found, "found": [check["name"] for check in found["checks"]]}

    masked = figures("masked-lm")
    own = encoded(texts, tokenizer).stats
    assert masked["tokens"]["kept"] == own.kept > 3  # the long text becomes several windows, and nothing is lost
    assert (masked["tokens"]["trained"], masked["tokens"]["lost"]) == (own.trained, 0)
    assert masked["found"] == figures("causal-lm")["found"] == []
    assert "to be filled in" in data_text({**masked, "unread_file": None, "reading": {}})
    assert figures("sft")["found"] == ["cut_by_max_length", "end_not_learnt"]
