"""From recipe to run: every default written out, the same held-out rows every time, clear words for bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.core.workspace import Workspace
from ftstudio.engine import prepare
from ftstudio.engine.materials import heldout, open_materials
from ftstudio.engine.prepare import prepare_run, resolve
from ftstudio.engine.recipes import check_recipe, load_recipe


def tokenizer_folder(folder: Path, **config: Any) -> Path:
    """A model's folder without weights: a tokenizer of single bytes and a Llama's configuration."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, **{char: place + 3 for place, char in enumerate(alphabet)}}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<pad>", "<s>", "</s>"])
    inner.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**names, "tokenizer_class": "PreTrainedTokenizerFast"}))
    values = {"model_type": "llama", "vocab_size": len(vocabulary), "max_position_embeddings": 200, "eos_token_id": 2}
    (folder / "config.json").write_text(json.dumps(values | config))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")  # a header that names no tensor
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tokenizer_folder(tmp_path / "model")


def rows_file(path: Path, count: int, answer: str = "yes {}") -> Path:
    lines = [json.dumps({"question": f"is it {n}?", "answer": answer.format(n)}) for n in range(count)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def recipe_of(model: Path, train: Path | str, **values: Any) -> Recipe:
    data = {"train": str(train), **values.pop("data", {})}
    return check_recipe({"model": str(model), "data": data, **values})


def test_every_default_is_written_out_and_read_back(tmp_path: Path, model: Path) -> None:
    train = rows_file(tmp_path / "tickets.jsonl", 40)
    run = prepare_run(recipe_of(model, train, method="qlora"), Workspace(tmp_path / "studio"))
    assert run.name == "tickets-qlora-1"
    recipe = load_recipe(run.recipe_path)
    assert recipe.training.epochs == 3
    assert recipe.training.learning_rate == 2e-4
    assert recipe.data.max_length == 200
    assert recipe.data.template == "plain"
    assert recipe.data.eval == 0.1
    assert recipe.data.columns is not None
    assert (recipe.data.columns.prompt, recipe.data.columns.completion) == ("question", "answer")
    assert recipe.evaluation.max_new_tokens == 16  # twice the longest reference ("yes 39" and its end) is 14
    assert recipe.method.settings["quantisation"] == "nf4"
    assert recipe.method.settings["r"] == 16
    assert recipe.resolved is not None
    facts = recipe.resolved["data"]
    assert facts["train"]["rows"] == 40
    assert facts["train"]["used"] == 36
    assert len(facts["train"]["sha256"]) == 64
    assert facts["shape"] == "prompt-completion"
    assert "question" in facts["why"]
    assert recipe.resolved["seed"] == 0
    assert {"torch", "transformers", "peft", "ftstudio", "python"} <= set(recipe.resolved["versions"])
    again, _ = resolve(recipe)
    assert again == recipe


@pytest.mark.parametrize(("method", "rate"), [("lora", 2e-4), ("qlora", 2e-4), ("full", 2e-5)])
def test_the_learning_rate_is_the_methods(tmp_path: Path, model: Path, method: str, rate: float) -> None:
    recipe, _ = resolve(recipe_of(model, rows_file(tmp_path / "a.jsonl", 9), method=method))
    assert recipe.training.learning_rate == rate
    recipe, _ = resolve(recipe_of(model, tmp_path / "a.jsonl", method=method, training={"learning_rate": 0.5}))
    assert recipe.training.learning_rate == 0.5


def test_steps_stay_steps(tmp_path: Path, model: Path) -> None:
    recipe, _ = resolve(recipe_of(model, rows_file(tmp_path / "a.jsonl", 9), training={"steps": 5}))
    assert (recipe.training.steps, recipe.training.epochs) == (5, None)


def test_a_run_is_called_by_its_folder_where_the_file_says_nothing(tmp_path: Path, model: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    recipe = recipe_of(model, rows_file(tmp_path / "gsm8k/train.jsonl", 9))
    assert prepare.run_stem(recipe) == "gsm8k-lora"
    assert prepare.run_stem(recipe.model_copy(update={"name": "my run"})) == "my run"


def test_held_out_rows_are_the_same_ones_every_time(tmp_path: Path, model: Path) -> None:
    recipe = recipe_of(model, rows_file(tmp_path / "a.jsonl", 300), data={"eval": 0.3})
    materials = open_materials(recipe)
    assert materials.held_out is not None
    numbers = [materials.held_out.origin_of(index) for index in range(len(materials.held_out))]
    training = [materials.train.origin_of(index) for index in range(len(materials.train))]
    assert sorted(numbers + training) == list(range(300))
    chosen = [row for row, _ in heldout(recipe, 20)]
    assert chosen == sorted(chosen)
    assert set(chosen) <= set(numbers)
    assert set(chosen) <= {row for row, _ in heldout(recipe, 50)}
    assert chosen != sorted(numbers)[:20]  # spread over the file, not its beginning
    assert [row for row, _ in heldout(recipe, 20)] == chosen
    for row, example in heldout(recipe, 20):
        assert example.prompt == f"is it {row}?"
    resolved, _ = resolve(recipe)
    assert heldout(resolved, 20) == heldout(recipe, 20)


def test_a_file_of_held_out_rows_keeps_its_own_numbers(tmp_path: Path, model: Path) -> None:
    train, held = rows_file(tmp_path / "a.jsonl", 30), rows_file(tmp_path / "b.jsonl", 7, "no {}")
    recipe, materials = resolve(recipe_of(model, train, data={"eval": str(held)}))
    assert len(materials.train) == 30
    assert [row for row, _ in materials.examples()] == list(range(7))
    assert materials.examples()[3][1].reference == "no 3"
    assert recipe.resolved is not None
    assert recipe.resolved["data"]["eval"]["rows"] == 7


def test_a_held_out_file_with_other_columns_is_recognised_or_refused(tmp_path: Path, model: Path) -> None:
    train = rows_file(tmp_path / "a.jsonl", 30)
    other = tmp_path / "b.jsonl"
    other.write_text('{"prompt": "p", "completion": "c"}\n')
    _, materials = resolve(recipe_of(model, train, data={"eval": str(other)}))
    assert materials.examples()[0][1].reference == "c"
    other.write_text('{"foo": 1, "bar": 2}\n')
    with pytest.raises(UsageError, match="other columns"):
        resolve(recipe_of(model, train, data={"eval": str(other)}))


def test_limit_takes_training_rows_and_leaves_the_held_out_ones(tmp_path: Path, model: Path) -> None:
    train = rows_file(tmp_path / "a.jsonl", 100)
    whole, few = (open_materials(recipe_of(model, train, data={"limit": limit})) for limit in (None, 10))
    assert len(few.train) == 10
    assert not whole.notes
    assert few.notes == ("data.limit takes the first 10 of 90 rows; in a sorted file those are alike",)
    assert few.held_out is not None
    assert whole.held_out is not None
    assert few.held_out.origin == whole.held_out.origin


def test_the_demo_holds_out_its_own_rows() -> None:
    from ftstudio import demo

    if not demo.EVAL.is_file():
        pytest.skip("the demo isn't built")
    values: dict[str, Any] = {"model": "demo", "data": {"train": "demo"}}
    materials = open_materials(check_recipe(values))
    assert materials.held_out is not None
    assert materials.held_out.path == demo.EVAL
    assert len(materials.train) == len(materials.whole)
    values["data"]["eval"] = 0.5  # said so: then it is a fraction of the training rows
    materials = open_materials(check_recipe(values))
    assert materials.held_out is not None
    assert materials.held_out.path == demo.TRAIN


def test_data_that_changed_since_is_refused(tmp_path: Path, model: Path) -> None:
    train = rows_file(tmp_path / "a.jsonl", 30)
    run = prepare_run(recipe_of(model, train), Workspace(tmp_path / "studio"))
    recipe = load_recipe(run.recipe_path)
    assert heldout(recipe)
    rows_file(train, 31)
    with pytest.raises(StudioError, match="has changed since"):
        heldout(recipe)


def test_answers_nested_in_rows_survive_being_written_out(tmp_path: Path, model: Path) -> None:
    train = tmp_path / "seed.jsonl"
    rows = [{"instruction": f"do {n}", "instances": [{"input": "i", "output": f"done {n}"}]} for n in range(30)]
    train.write_text("\n".join(json.dumps(row) for row in rows))
    tokenizer_folder(model, max_position_embeddings=900)
    before, materials = resolve(recipe_of(model, train))
    _, again = resolve(load_recipe(prepare_run(before, Workspace(tmp_path / "studio")).recipe_path))
    assert materials.examples()[0][1].reference == again.examples()[0][1].reference
    assert str(again.examples()[0][1].reference).startswith("done")


QA = '{"question": "a", "answer": "b"}\n'
BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("", {}, "holds no rows|no rows|empty", "empty file"),
    (QA, {}, "only one row|1 row", "one row"),
    ('{"foo": "a", "bar": "b"}\n' * 5, {}, "foo", "unknown columns"),
    (QA * 5, {"columns": {"prompt": "qestion", "completion": "answer"}}, "qestion", "no column"),
    (QA * 5, {"eval": "nowhere.jsonl"}, "nowhere.jsonl", "no such eval file"),
    (QA * 5, {"max_length": 900}, "900 tokens", "longer than the model reads"),
    (QA * 5, {"template": "alpca"}, "alpca", "no such template"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "data", "words", "_name"), BAD, ids=[case[3] for case in BAD])
def test_bad_input_is_one_sentence_and_leaves_no_run(
    tmp_path: Path, model: Path, content: str, data: dict[str, Any], words: str, _name: str
) -> None:
    train = tmp_path / "a.jsonl"
    train.write_text(content)
    place = Workspace(tmp_path / "studio")
    with pytest.raises(StudioError, match=words) as caught:
        prepare_run(recipe_of(model, train, data=data), place)
    assert caught.value.hint
    assert not place.path.exists()


def test_a_missing_file_model_or_weights(tmp_path: Path, model: Path) -> None:
    place = Workspace(tmp_path / "studio")
    train = rows_file(tmp_path / "a.jsonl", 9)
    for recipe, words in (
        (recipe_of(model, tmp_path / "b.jsonl"), "b.jsonl"),
        (recipe_of(tmp_path / "nothing", train), "nothing"),
    ):
        with pytest.raises(StudioError, match=words):
            prepare_run(recipe, place)
    (model / "model.safetensors").unlink()
    with pytest.raises(StudioError, match="no weights"):
        prepare_run(recipe_of(model, train), place)
    assert not place.path.exists()


def test_rows_that_teach_nothing_are_refused(tmp_path: Path, model: Path) -> None:
    train = tmp_path / "a.jsonl"
    rows = [{"question": f"{n} " + "very long " * 60, "answer": "x"} for n in range(9)]
    train.write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(StudioError, match=r"No row .* can be trained: all labels are masked"):
        prepare_run(recipe_of(model, train), Workspace(tmp_path / "studio"))


def test_a_machine_without_gpu_refuses_what_needs_one(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftstudio.engine.compatibility.gpu_present", lambda: False)
    train = rows_file(tmp_path / "a.jsonl", 9)
    for training, words in (({"device": "cuda"}, "asks for a GPU"), ({"precision": "fp16"}, "fp16 needs a GPU")):
        with pytest.raises(UsageError, match=words):
            prepare_run(recipe_of(model, train, training=training), Workspace(tmp_path / "studio"))


def test_nothing_held_out_is_fine_until_it_is_asked_for(tmp_path: Path, model: Path) -> None:
    recipe, materials = resolve(recipe_of(model, rows_file(tmp_path / "a.jsonl", 9), data={"eval": None}))
    assert recipe.data.eval is None
    assert materials.held_out is None
    with pytest.raises(StudioError, match="holds no rows out"):
        heldout(recipe)
    run = prepare_run(recipe, Workspace(tmp_path / "studio"))
    assert load_recipe(run.recipe_path).data.eval is None


FILES = {
    "gsm8k/train.jsonl": ("prompt-completion", "plain"),
    "llamafactory-demo/alpaca_en_demo.json": ("alpaca", "alpaca"),
    "mlx-wikisql-lora/train.jsonl": ("text", "text"),
    "openai-cookbook-chat": ("messages", "chat"),
    "fastchat-sharegpt": ("sharegpt", "chat"),
}


@pytest.mark.parametrize("name", FILES)
def test_real_files_are_prepared_without_a_mapping(shared: Path, tmp_path: Path, name: str) -> None:
    recipe = recipe_of(shared / "models/stories260k", shared / "data" / name, data={"limit": 300})
    run = prepare_run(recipe, Workspace(tmp_path / "studio"))
    resolved = load_recipe(run.recipe_path)
    assert resolved.resolved is not None
    assert (resolved.resolved["data"]["shape"], resolved.data.template) == FILES[name]
    assert resolved.data.max_length == 512
    before, after = open_materials(recipe), open_materials(resolved)
    assert before.examples(5) == after.examples(5)
    assert [before.prompt(example).ids for _, example in before.examples(5)] == [
        after.prompt(example).ids for _, example in after.examples(5)
    ]


@pytest.mark.parametrize(
    ("labels", "kept"),
    [
        ([place / 7 for place in range(40)], ("spearman", "pearson", "absolute_error")),
        ([["a"], ["a", "b"], []] * 14, ("accuracy", "f1")),
        (["a", "b"] * 20, ("accuracy", "f1", "mcc")),
    ],
)
def test_metrics_that_say_nothing_about_such_answers_are_left_out_and_told(
    tmp_path: Path, model: Path, labels: list[Any], kept: tuple[str, ...]
) -> None:
    """The accuracy of numbers is 0 however near they are: the best model would be as good as none."""
    train = tmp_path / "rows.jsonl"
    train.write_text(
        "".join(json.dumps({"text": f"text {at}", "label": label}) + "\n" for at, label in enumerate(labels))
    )
    asked = ("accuracy", "f1", "mcc")
    recipe = recipe_of(model, train, task="text-classification", evaluation={"metrics": asked})
    for _ in range(2):  # what was resolved stays as it is
        recipe, _ = resolve(recipe)
        assert recipe.evaluation.metrics == kept
        assert ("metrics" in (recipe.resolved or {})) is (kept != asked)


def test_the_length_of_texts_is_told_as_it_was_before_the_cut(tmp_path: Path, model: Path) -> None:
    """Of several texts in a row each is read by itself."""
    rows = [{"anchor": "a" * 150, "positive": "b" * 120}, {"anchor": "a" * 20, "positive": "b" * 500}]
    train = tmp_path / "rows.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows * 6))
    recipe, materials = resolve(recipe_of(model, train, task="embedding", data={"max_length": 160, "eval": None}))
    encoded = materials.task.encode_dataset(
        materials.train, materials.shape, materials.template, materials.tokenizer, recipe.data.max_length
    )
    frame = min(encoded.uncut) - 20
    assert sorted(set(encoded.uncut)) == [20 + frame, 120 + frame, 150 + frame, 500 + frame]
    assert max(encoded.lengths) < 500
