"""Real files of the field, recognised without a mapping, trained, evaluated and loaded again."""

import json
from pathlib import Path

import pytest

from ftstudio.cli import main

FILES = {
    "llamafactory-demo/alpaca_en_demo.json": "alpaca",
    "gsm8k/train.jsonl": "prompt-completion",
    "mlx-wikisql-lora/train.jsonl": "text",
    "openai-cookbook-chat/toy_chat_fine_tuning.jsonl": "messages",
    "fastchat-sharegpt/dummy_conversation.json": "sharegpt",
}


def command(capfd: pytest.CaptureFixture[str], *words: str) -> dict:
    status = main([*words, "--json"])
    out, err = capfd.readouterr()
    assert status == 0, out + err
    return json.loads(out)


@pytest.mark.parametrize("method", ["qlora", "lora"])
@pytest.mark.parametrize("name", FILES)
def test_a_real_file_trains_and_loads_again(
    shared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, method: str
) -> None:
    model = shared / "models" / "stories260k"
    data = next((shared / "data" / name).parent.glob(Path(name).name))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"task: sft\nmodel: {model}\nmethod: {{name: {method}, r: 4}}\ndata: {{train: {data}, limit: 16, eval: 0.2}}\n"
        "training: {steps: 3, batch_size: 4}\n"
        "evaluation: {every: 2, rows: 2, samples: 1, max_new_tokens: 8, similarity: static, forgetting: false}\n"
    )
    done = command(capfd, "train", str(recipe))
    assert done["state"] == "done"
    assert done["steps"] == 3
    assert 0 < done["eval"]["loss"] < 20
    assert 0 < done["parameters"]["trainable"] < done["parameters"]["total"]
    run = Path(done["path"])
    assert FILES[name] in (run / "recipe.yaml").read_text()

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), run / "model")
    assert any(value.abs().sum() > 0 for key, value in tuned.named_parameters() if "lora_B" in key)

    found = command(capfd, "compare", done["run"])
    assert [arm["name"] for arm in found["arms"]] == ["base", done["run"]]


def test_a_lone_text_column_says_that_all_of_it_is_trained(shared: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = shared / "data" / "mlx-wikisql-lora" / "train.jsonl"
    found = command(capfd, "data", str(source), "--model", str(shared / "models" / "stories260k"))
    assert found["shape"] == "text"
    assert "all" in found["why"].lower()
    assert found["tokens"]["trained"] >= 0.98 * found["tokens"]["tokens"]
