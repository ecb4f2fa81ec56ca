"""Sources and targets: the model's own loss and answers, languages as transformers marks them, faults in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_encoders import make_pairs, make_seq2seq, save_unigram

from ftstudio import tasks
from ftstudio.core.errors import UsageError
from ftstudio.data.framing import frame_of
from ftstudio.data.read import open_dataset
from ftstudio.data.shape import recognise
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer, load_tokenizer

LANGUAGES = ("en_XX", "de_DE")
KINDS = {
    "T5": {},
    "Bart": {"frame": "<s> $A </s>"},
    "MBart": {"frame": "en_XX $A </s>", "languages": LANGUAGES},  # as mBART-50 frames its texts
    "Marian": {},
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_dataset(make_pairs(tmp_path_factory.mktemp("pairs") / "rows.jsonl", 12))


@pytest.fixture(scope="module", params=list(KINDS))
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Tokenizer]:
    import transformers

    kind = str(request.param)
    folder = make_seq2seq(tmp_path_factory.mktemp(kind), kind)
    save_unigram(folder, **KINDS[kind])  # type: ignore[arg-type]
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    return kind, model, load_tokenizer(folder)


def options_of(kind: str, **more: Any) -> dict[str, Any]:
    return {**({"source_language": "en_XX", "target_language": "de_DE"} if kind == "MBart" else {}), **more}


def test_the_loss_is_the_models_own(loaded: tuple[str, Any, Tokenizer], pairs: Any) -> None:
    import torch

    kind, model, tokenizer = loaded
    shape = recognise(pairs, task="seq2seq")
    task = tasks.get("seq2seq").bound(options_of(kind))
    encoded = task.encode_dataset(pairs, shape, Template.resolve(None, tokenizer, shape), tokenizer, 24)
    batch = task.collate([encoded[at] for at in range(6)], 0)
    with torch.no_grad():
        ours = task.loss(task.outputs(model, batch["inputs"]), batch) / (batch["targets"] != -100).sum()
        theirs = model(**batch["inputs"]).loss
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
    assert len(set(batch["lengths"])) > 1


def test_models_that_do_not_say_how_labels_are_shifted_learn_too(tmp_path: Path) -> None:
    import torch
    import transformers

    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(make_seq2seq(tmp_path, "M2M100")).eval()  # NLLB's kind
    task = tasks.get("seq2seq")
    rows = [{"input_ids": [5, 6, 7, 1], "labels": [9, 8, 1]}, {"input_ids": [5, 1], "labels": [4, 1]}]
    batch = task.collate(rows, 0)
    with torch.no_grad():
        ours = task.loss(task.outputs(model, batch["inputs"]), batch) / 5
        theirs = model(**batch["inputs"]).loss
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize("beams", [1, 3])
def test_answers_in_a_batch_are_those_of_generate_row_by_row(
    loaded: tuple[str, Any, Tokenizer], pairs: Any, beams: int
) -> None:
    import torch

    from ftstudio.engine import predicting
    from ftstudio.engine.generation import Decoding

    kind, model, tokenizer = loaded
    shape = recognise(pairs, task="seq2seq")
    task = tasks.get("seq2seq").bound(options_of(kind, beams=beams, min_new_tokens=3))
    template = Template.resolve(None, tokenizer, shape)
    prompts = [task.prompt(shape.example(pairs[at]), template, tokenizer, 16) for at in range(6)]
    decoding = Decoding(10, **task.writing())
    found = {}
    for batch in predicting.answers(task, model, prompts, decoding, [1], pad_token=0, limits=(4000, 8)):
        found |= {answer.index: list(answer.token_ids) for answer in batch}
    for index, prompt in enumerate(prompts):
        forced = {"forced_bos_token_id": tokenizer.backend.id_of("de_DE")} if kind == "MBart" else {}
        with torch.no_grad():
            rules: dict[str, Any] = {"max_new_tokens": 10, "min_new_tokens": 3, "num_beams": beams, "do_sample": False}
            [row] = model.generate(torch.tensor([prompt.ids]), **rules, **forced).tolist()
        written = row[1:]
        lead = list(frame_of(tokenizer, options_of(kind).get("target_language")).prefix)
        if lead and written[: len(lead)] == lead:
            written = written[len(lead) :]
        wanted = [token for token in written if token != 0]
        assert found[index] == (wanted[: wanted.index(1)] if 1 in wanted else wanted), index


def test_languages_stand_where_transformers_puts_them(tmp_path: Path) -> None:
    fifty = load_tokenizer(save_unigram(tmp_path / "50", languages=LANGUAGES, frame="en_XX $A </s>"))
    german = fifty.backend.id_of("de_DE")
    assert frame_of(fifty, "de_DE") == ((german,), (1,), german)
    assert frame_of(fifty, "de_DE").forced == german
    old = load_tokenizer(save_unigram(tmp_path / "25", languages=LANGUAGES, frame="$A </s> en_XX"))
    assert frame_of(old, "de_DE") == ((), (1, german), german)
    assert frame_of(old, "de_DE").start == german
    assert frame_of(old, "de_DE").forced is None
    with pytest.raises(UsageError, match=r"options\.x: .* knows no language 'de_XX'"):
        frame_of(fifty, "de_XX", "options.x")
    plain = load_tokenizer(save_unigram(tmp_path / "t5"))
    with pytest.raises(UsageError, match="marks no languages"):
        frame_of(plain, "de_DE")
    assert frame_of(plain) == ((), (1,), None)
    seq2seq = tasks.get("seq2seq")
    assert seq2seq.doubts(plain) == []
    [both] = seq2seq.doubts(fifty)
    assert "options.source_language and options.target_language are left out" in both.text
    assert "sources and targets are marked en_XX" in both.text
    assert both.hint == "Name them, such as en_XX, de_DE."
    [one] = seq2seq.bound({"source_language": "en_XX"}).doubts(old)
    assert (one.key, "targets are marked en_XX" in one.text) == ("options.target_language", True)
    assert seq2seq.bound({"source_language": "en_XX", "target_language": "de_DE"}).doubts(old) == []


def test_what_is_cut_of_source_and_target_is_counted_apart(tmp_path: Path) -> None:
    rows = [{"source": "cats dogs birds run", "target": "run birds dogs cats"}, {"source": "a", "target": " "}]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    dataset = open_dataset(path)
    shape = recognise(dataset, task="seq2seq")
    tokenizer = load_tokenizer(save_unigram(tmp_path / "m"))
    task = tasks.get("seq2seq").bound({"prefix": "turn: ", "target_length": 4})
    source = tokenizer.encode("turn: cats dogs birds run")
    target = tokenizer.encode("run birds dogs cats")
    found = task.encode_dataset(dataset, shape, Template.resolve(None, tokenizer, shape), tokenizer, 8)
    assert found[0] == {"input_ids": [*source[:7], 1], "labels": [*target[:3], 1]}
    assert found.table["lost_completion"][0] == len(target) - 3
    assert found.table["lost_prompt"][0] == len(source) - 7
    assert found.excluded == [(1, "the target is empty")]
    view = task.view(dataset, 0, shape, Template.resolve(None, tokenizer, shape), tokenizer, 8)
    assert [piece.id for piece in view.pieces if not piece.lost] == [*source[:7], 1, *target[:3], 1]
    assert view.lost == len(source) - 7 + len(target) - 3


def test_a_question_and_its_text_are_a_source_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"question": "Who?", "context": "Anna did it.", "answer": "Anna"}
    path.write_text("\n".join([json.dumps(row)] * 3))
    dataset = open_dataset(path)
    shape = recognise(dataset, task="seq2seq")
    tokenizer = load_tokenizer(save_unigram(tmp_path / "m"))
    prompt = tasks.get("seq2seq").prompt(shape.example(dataset[0]), Template.resolve(None, tokenizer, shape), tokenizer)
    assert (prompt.text, prompt.reference) == ("Who?\nAnna did it.", "Anna")
