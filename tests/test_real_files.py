"""Real files of the field, recognised without a mapping, trained, evaluated and loaded again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ftstudio.cli import main


@dataclass(frozen=True)
class File:
    """A real file and what is known of it from reading it with other means (`python -c`, `wc`)."""

    path: str
    shape: str
    rows: int


FILES = (
    File("llamafactory-demo/alpaca_en_demo.json", "alpaca", 999),
    File("gsm8k/train.jsonl", "prompt-completion", 7473),
    File("mlx-wikisql-lora/train.jsonl", "text", 1000),
    File("openai-cookbook-chat/toy_chat_fine_tuning.jsonl", "messages", 5),
    File("fastchat-sharegpt/dummy_conversation.json", "sharegpt", 500),
)
METHODS = ("lora", "qlora")


def command(capfd: pytest.CaptureFixture[str], *words: object, code: int = 0) -> dict[str, Any]:
    status = main([*(str(word) for word in words), "--json"])
    out, err = capfd.readouterr()
    assert status == code, out + err
    value: dict[str, Any] = json.loads(out)
    return value


@pytest.fixture
def model(shared: Path) -> Path:
    return shared / "models" / "stories260k"


def write_recipe(path: Path, model: Path, data: Path, method: str, limit: str = "") -> Path:
    path.write_text(
        f"task: sft\nmodel: {model}\nmethod: {{name: {method}, r: 4}}\ndata: {{train: {data}{limit}}}\n"
        "training: {steps: 4, batch_size: 4, learning_rate: 5.0e-3}\n"
        "evaluation: {every: 4, rows: 6, samples: 1, max_new_tokens: 8, similarity: static, forgetting: false}\n"
    )
    return path


def weights_of(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "adapter_model.safetensors"))


def whole_loop(capfd: pytest.CaptureFixture[str], recipe: Path, model: Path, file: File, *, whole: bool) -> None:
    """Train, load again with peft alone, sort the errors, compare."""
    done = command(capfd, "train", recipe)
    assert (done["state"], done["steps"]) == ("done", 4)
    assert 0 < done["eval"]["loss"] < 20
    assert 0 < done["parameters"]["trainable"] < done["parameters"]["total"]
    run = Path(done["path"])
    resolved = (run / "recipe.yaml").read_text()
    assert f"shape: {file.shape}" in resolved
    assert f"rows: {file.rows}" in resolved
    assert all(value.abs().sum() > 0 for name, value in weights_of(run / "model").items() if "lora_B" in name)

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.tensor([[1, 40, 60, 80, 100]])
    with torch.no_grad():
        base = AutoModelForCausalLM.from_pretrained(model).eval()
        before = base(ids).logits
        after = PeftModel.from_pretrained(base, run / "model").eval()(ids).logits
    assert (before - after).abs().max() > 1e-3

    if not whole:
        return
    errors = command(capfd, "errors", done["run"])
    held_out = min(6, max(1, round(0.1 * file.rows)))
    assert errors["rows"] == held_out
    found = command(capfd, "compare", done["run"])
    assert [arm["name"] for arm in found["arms"]] == ["base", done["run"]]
    assert found["rows"] == held_out
    assert {one["metric"] for one in found["differences"]} >= {"rouge1", "rouge2", "rougeL", "similarity", "length"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: Path(file.path).parts[0])
def test_a_real_file_goes_through_the_loop(
    capfd: pytest.CaptureFixture[str], shared: Path, model: Path, tmp_path: Path, file: File
) -> None:
    method = METHODS[FILES.index(file) % 2]
    recipe = write_recipe(tmp_path / "r.yaml", model, shared / "data" / file.path, method, ", limit: 24")
    whole_loop(capfd, recipe, model, file, whole=file.shape in ("alpaca", "sharegpt"))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("file", FILES, ids=lambda file: Path(file.path).parts[0])
def test_all_rows_of_a_real_file_go_through_the_loop(
    capfd: pytest.CaptureFixture[str], shared: Path, model: Path, tmp_path: Path, file: File, method: str
) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", model, shared / "data" / file.path, method)
    whole_loop(capfd, recipe, model, file, whole=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: Path(file.path).parts[0])
def test_a_real_file_is_recognised_and_what_is_cut_is_counted(
    capfd: pytest.CaptureFixture[str], shared: Path, model: Path, tmp_path: Path, file: File
) -> None:
    """The plan's account of tokens against a count row by row; running text against transformers' own tokenizer."""
    from transformers import AutoTokenizer

    from ftstudio.engine.materials import open_materials
    from ftstudio.engine.recipes import load_recipe

    recipe = write_recipe(tmp_path / "r.yaml", model, shared / "data" / file.path, "lora", ", limit: 150")
    plan = command(capfd, "plan", recipe, "--no-measure")
    assert plan["compatible"]
    limit = 512  # positions of stories260k
    assert plan["tokens"]["longest"] <= limit
    materials = open_materials(load_recipe(recipe).with_changes({"data.max_length": limit}))
    assert materials.shape.name == file.shape
    assert len(materials.whole) == file.rows
    tokenizer = AutoTokenizer.from_pretrained(model)
    lost = long = 0
    for index in range(len(materials.train)):
        example = materials.shape.example(materials.train[index])
        free = materials.task.encode(example, materials.template, materials.tokenizer, None)
        if file.shape == "text":  # begin token, the row's own text, end token
            text = str(materials.train[index]["text"])
            assert free.input_ids == [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        if len(free.input_ids) > limit:
            long += 1
            lost += len(free.input_ids) - limit
    assert plan["tokens"]["lost"] == lost
    told = [problem["text"] for problem in plan["problems"] if "longer than 512 tokens" in problem["text"]]
    assert bool(told) == bool(long)
    if long:
        assert told[0].startswith(f"{long} rows are longer")
        assert f"{lost:,} tokens are cut off" in told[0]


def test_a_lone_text_column_says_that_all_of_it_is_trained(
    capfd: pytest.CaptureFixture[str], shared: Path, model: Path, tmp_path: Path
) -> None:
    source = shared / "data" / "mlx-wikisql-lora" / "train.jsonl"
    found = command(capfd, "data", source, "--model", model)
    assert found["shape"] == "text"
    assert "all of its text is trained" in found["why"]
    assert found["tokens"]["trained"] >= 0.98 * found["tokens"]["tokens"]
    plan = command(
        capfd, "plan", write_recipe(tmp_path / "r.yaml", model, source, "lora", ", limit: 50"), "--no-measure"
    )
    assert any("all of its text is trained" in problem["text"] for problem in plan["problems"])
