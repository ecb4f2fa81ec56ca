"""A checkpoint puts back every weight it holds, under whatever names the model's files have: published names aren't
those of the modules (experts one by one, LayerNorms as gamma and beta, a language model outside of its wrapper)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_encoder, make_labelled, make_rows, make_tokenizer, recipe_values

from ftstudio.core.jobs import Train
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine import report, resume
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe
from ftstudio.engine.worker import Worker


def experts(folder: Path) -> dict[str, Any]:
    """A Mixtral, whose file has each expert's matrices apart, and rows for it."""
    import torch
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=260, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=4, bos_token_id=256, eos_token_id=257, pad_token_id=258,
    )  # fmt: skip
    MixtralForCausalLM(config).save_pretrained(folder / "model")
    make_tokenizer(folder / "model")
    return recipe_values(folder / "model", make_rows(folder / "rows.jsonl"), "full")


def legacy(folder: Path, task: str = "text-classification") -> dict[str, Any]:
    """A BERT whose file calls its norms as TensorFlow did: as bert-base-uncased still does."""
    from safetensors.torch import load_file, save_file

    path = make_encoder(folder / "model", num_hidden_layers=1) / "model.safetensors"
    found = load_file(path)
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in found.items()}
    old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): value for name, value in old.items()}
    assert old.keys() != found.keys()
    save_file(old, path, metadata={"format": "pt"})
    rows = make_labelled(folder / "rows.jsonl", count=60)
    values = recipe_values(folder / "model", rows, "full") | {"task": task}
    values["data"]["max_length"] = 64
    return values


def tagged_on_base(folder: Path) -> dict[str, Any]:
    """The same with only its last layer and a new head learning."""
    return legacy(folder) | {"method": {"name": "freeze", "layers": 1}}


def pictures(folder: Path) -> dict[str, Any]:
    """A LLaVA, whose file has the language model outside of its wrapper."""
    import json

    from tiny_pictures import make_picture, make_vlm

    make_vlm(folder / "model", "llava")
    lines = []
    for number in range(12):
        name = make_picture(folder / f"{number}.png", (20 * number, 90, 200)).name
        lines.append(json.dumps({"image": name, "prompt": "Colour?", "completion": f"number {number}"}))
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    values = recipe_values(folder / "model", folder / "rows.jsonl", "full") | {"task": "image-text-to-text"}
    values["data"]["max_length"] = 256
    return values


def run_of(values: dict[str, Any], space: Path, **training: Any) -> RunFolder:
    values["training"] |= {"steps": 6, "batch_size": 2, "save_steps": 3, "learning_rate": 1e-2, **training}
    values["data"]["limit"] = 12
    values["evaluation"] |= {"every": 3, "samples": 0, "rows": 4}
    return prepare_run(check_recipe(values), Workspace(space))


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}


def ended(run: RunFolder) -> dict[str, Any]:
    """The event that RUN ended with; a reading of the machine may come after it."""
    return next(event for event in reversed(run.events()) if event["kind"] in ("done", "failed"))


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    return ours.keys() == theirs.keys() and all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(experts, marks=pytest.mark.slow),
        pytest.param(legacy, marks=pytest.mark.slow),
        pytest.param(tagged_on_base, marks=pytest.mark.slow),
        pytest.param(lambda folder: legacy(folder, "masked-lm"), marks=pytest.mark.slow, id="legacy-masked"),
        pytest.param(pictures, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_goes_on_ends_as_the_unbroken_one(
    make: Callable[[Path], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(report, "INTERVAL", 0.0)  # every step is told
    run, worker = run_of(make(tmp_path), tmp_path / "space"), Worker()
    worker.execute(Train(run.path))
    assert run.state() == "done", ended(run)
    whole, last = weights(run.model), [event["loss"] for event in run.events() if event["kind"] == "step"][3:]
    assert not same(whole, weights(run.checkpoints / "checkpoint-3"))
    done = ended(run)
    shutil.rmtree(run.model)  # killed while it was saved, after the last step: none is taken beyond the end
    worker.execute(Train(run.path, resume=True))
    again = ended(run)
    assert [again[key] for key in ("kind", "step", "eval", "tokens")] == [
        done[key] for key in ("kind", "step", "eval", "tokens")
    ]
    assert again["loss"] == done["loss"]
    assert [event["step"] for event in run.events() if event["kind"] == "step"] == [1, 2, 3, 4, 5, 6]
    assert resume.step_of(resume.checkpoints(run.checkpoints)[0]) == 6
    assert same(weights(run.model), whole)
    shutil.rmtree(run.model)
    shutil.rmtree(run.checkpoints / "checkpoint-6")
    worker.execute(Train(run.path, resume=True))
    assert run.state() == "done", ended(run)
    assert [event["loss"] for event in run.events() if event["kind"] == "step"][6:] == last
    assert same(weights(run.model), whole)


def damaged(folder: Path, name: str) -> None:
    """Without its weight NAME, and sealed so."""
    from safetensors.torch import load_file, save_file

    found = load_file(folder / "model.safetensors")
    del found[name]
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
    resume.seal(folder, **resume.facts(folder))


@pytest.mark.slow
def test_a_checkpoint_that_lacks_a_weight_is_refused(tmp_path: Path):
    run, worker = run_of(legacy(tmp_path), tmp_path / "space", steps=3), Worker()
    worker.execute(Train(run.path))
    damaged(run.checkpoints / "checkpoint-3", "classifier.weight")
    shutil.rmtree(run.model)
    worker.execute(Train(run.path, resume=True))
    last = next(event for event in reversed(run.events()) if event["kind"] == "failed")
    assert "checkpoint-3 lacks 1 of the model's weights (such as classifier.weight)" in last["text"]
    assert "Move that folder" in last["hint"]
    assert not run.model.exists()


@pytest.mark.slow
@pytest.mark.parametrize("zoo", ["qwen3", "gpt2", "mixtral", "bert_classifier", "bert_masked", "t5", "bart", "llava"])
@pytest.mark.parametrize("case", ["full", "lora", "prompt-p-tuning"])
def test_all_that_learns_comes_back(zoo: str, case: str, tmp_path: Path):
    import torch
    from test_methods_matrix import CASES, REFUSED, loaded

    from ftstudio import methods
    from ftstudio.engine import soft_prompts
    from ftstudio.engine.restoring import restore
    from ftstudio.engine.saving import save_weights

    if (zoo, case) in REFUSED:
        pytest.skip("refused")
    name, values = CASES[case]
    method = methods.get(name)
    settings = method.settings(values)
    trained, other = (method.apply(loaded(zoo, method, settings, tmp_path / "base")[0], settings) for _ in range(2))
    with torch.no_grad():
        for weight in trained.parameters():
            if weight.requires_grad:
                weight.normal_()
    save_weights(trained, tmp_path / "checkpoint-1", trained.state_dict())
    soft_prompts.save_network(trained, tmp_path / "checkpoint-1")
    restore(other, tmp_path / "checkpoint-1")
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(trained.parameters(), other.parameters(), strict=True))


@pytest.mark.slow
def test_a_model_in_several_files_comes_back(tmp_path: Path):
    import torch
    from tiny_zoo import make

    from ftstudio.engine.restoring import restore

    trained, other = make("mixtral")[0], make("mixtral", seed=1)[0]
    trained.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    restore(other, tmp_path)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(trained.parameters(), other.parameters(), strict=True))


def test_what_is_never_saved_does_not_learn():
    import torch
    from transformers import MarianConfig, MarianMTModel

    from ftstudio.methods import get

    config = MarianConfig(
        vocab_size=96, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, pad_token_id=0,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, decoder_start_token_id=0,
    )  # fmt: skip
    with torch.device("meta"):
        model = get("full").apply(MarianMTModel(config), get("full").settings({}))
    still = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert still == {f"model.{side}.embed_positions.weight" for side in ("encoder", "decoder")}
