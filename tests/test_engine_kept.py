"""Which answers are kept, taken over and asked for again, and what stored ones bring along."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftstudio.core.arm import parse
from ftstudio.core.files import LineWriter
from ftstudio.core.folder import JobFolder
from ftstudio.engine import outside
from ftstudio.engine.cache import AnswerCache
from ftstudio.engine.marks import texts_mark
from ftstudio.engine.outputs import Outputs
from ftstudio.evaluation.predictions import Prediction

ROW = Prediction(0, "a?", "b", "b", 3, True, "base")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with the texts of a model, no weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json", "config.json", "model.safetensors"):
        (folder / name).write_text(f"{name} 1")
    return folder


@pytest.mark.parametrize("edited", ["tokenizer.json", "chat_template.jinja", "generation_config.json"])
def test_an_edited_template_or_tokenizer_sets_answers_aside(tmp_path: Path, model: Path, edited: str) -> None:
    def settings() -> dict[str, Any]:
        return {"decoding": {"max_new_tokens": 8}, "texts": texts_mark(model)}

    older = {"decoding": {"max_new_tokens": 8}}  # of a studio that kept no mark
    Outputs(tmp_path, "base", older).append([ROW])
    assert Outputs(tmp_path, "base", settings()).known == {0: ROW}
    assert Outputs(tmp_path / "other", "base", settings()).borrow(tmp_path, "base", settings(), "base") == 1
    (model / edited).touch()  # copied, not edited
    assert Outputs(tmp_path, "base", settings()).known == {0: ROW}
    (model / edited).write_text("2")
    assert Outputs(tmp_path / "third", "base", settings()).borrow(tmp_path, "base", settings(), "base") == 0
    assert Outputs(tmp_path, "base", settings()).known == {}
    assert (tmp_path / "base.old-1.jsonl").is_file()


def test_where_a_tuned_model_ends_counts_too(tmp_path: Path, model: Path) -> None:
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    before = texts_mark(model, tuned)
    assert before == texts_mark(model)  # an adapter has no settings of its own
    (tuned / "generation_config.json").write_text("{}")
    assert texts_mark(model, tuned) != before


@pytest.mark.parametrize("file", ["preprocessor_config.json", "modules.json", "1_Pooling/config.json"])
def test_how_pictures_are_read_and_vectors_are_made_counts_too(model: Path, file: str) -> None:
    before = texts_mark(model)
    (model / file).parent.mkdir(exist_ok=True)
    (model / file).write_text("{}")
    after = texts_mark(model)
    assert after != before
    (model / file).write_text("[]")
    assert texts_mark(model) != after


def test_what_was_measured_with_another_tokenizer_is_measured_again(tmp_path: Path) -> None:
    from ftstudio.engine.harness import _known

    path, values = tmp_path / "benchmarks.jsonl", {"facts": {"acc": {"0": 1.0}}}
    LineWriter(path).append({"key": "k", "task": "older", "values": values})  # of a studio that kept no mark
    LineWriter(path).append({"key": "k", "task": "facts", "values": values, "texts": "one"})
    assert _known(path, {"base": "k"}, "one")["base"].keys() == {"older", "facts"}
    assert _known(path, {"base": "k"}, "two")["base"].keys() == {"older"}


def test_answers_remembered_under_another_tokenizer_are_others(tmp_path: Path) -> None:
    settings = {"weights": "w", "decoding": {}}
    older = AnswerCache(tmp_path, settings)
    older.keep([([1, 2], ROW)])
    now = AnswerCache(tmp_path, settings | {"texts": "one"})
    assert now.get([1, 2]) is not None  # what was answered before a mark was kept isn't asked again
    now.keep([([3], ROW)])
    edited = AnswerCache(tmp_path, settings | {"texts": "two"})
    assert (edited.get([1, 2]), edited.get([3])) == (None, None)
    edited.keep([([3], ROW)])
    for texts, known in (("one", 2), ("two", 1), ("three", 0)):
        again = AnswerCache(tmp_path, settings | {"texts": texts})
        assert sum(again.get(prompt) is not None for prompt in ([1, 2], [3])) == known
    lines = [json.loads(line) for path in tmp_path.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert sum("settings" in line for line in lines) == 3  # told once by each way of asking


def test_stored_predictions_keep_all_that_their_lines_tell(tmp_path: Path) -> None:
    stored = tmp_path / "stored.jsonl"
    lines = [{"prompt": f"q{n}?", "reference": "yes", "output": "yes", "rank": n + 1, "probabilities": {"yes": 0.75}}
             for n in range(3)]  # fmt: skip
    stored.write_text("\n".join(json.dumps(line) for line in lines))
    asked: Any = [SimpleNamespace(row=n + 10, text=f"q{n}?", reference="yes") for n in range(3)]
    folder = JobFolder(tmp_path / "compare")
    spec = parse(f"file:{stored}")
    for _ in range(2):  # and again, from what is kept
        found = outside.stored(spec, asked, folder)
        assert {row: one.extra for row, one in found.items()} == {
            10 + n: {"rank": n + 1, "probabilities": {"yes": 0.75}} for n in range(3)
        }
    kept = (folder.path / f"{spec.name}.jsonl").read_text().splitlines()
    assert [json.loads(line)["rank"] for line in kept] == [1, 2, 3]
