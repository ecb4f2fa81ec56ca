"""What learns is kept in 32 bits, also whole modules beside an adapter, and is saved and counted as it is read back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_encoder, make_labelled, make_model, make_rows, recipe_values

from ftstudio import methods
from ftstudio.engine.recipes import check_recipe

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masters")
    make_encoder(folder / "encoder")
    make_labelled(folder / "labelled.jsonl", count=60)
    return folder


def classifier(base: Path, method: str = "lora", **training: Any) -> Any:
    settings = {"name": method} | ({"r": 4, "dropout": 0.0} if method == "lora" else {})
    return check_recipe({
        "task": "text-classification", "model": str(base / "encoder"), "method": settings,
        "data": {"train": str(base / "labelled.jsonl"), "eval": 0.2},
        "training": {"device": "cpu", "batch_size": 4, "precision": "bf16", **training},
        "evaluation": {"samples": 0, "forgetting": False},
    })  # fmt: skip


def loaded(recipe: Any, dtype: Any, precision: str) -> tuple[Any, Any, Any, Any]:
    """(levers, the model as it trains, a batch, the rows) of RECIPE, its base stored in DTYPE."""
    from ftstudio.engine import hardware, levers
    from ftstudio.engine.models import ModelStore
    from ftstudio.engine.prepare import resolve

    recipe, materials = resolve(recipe)
    rows = materials.task.encode_dataset(
        materials.train, materials.shape, materials.template, materials.tokenizer, recipe.data.max_length
    )
    method = methods.get(recipe.method.name)
    base = ModelStore().to_train(recipe).to(dtype)
    model = method.apply(base, method.settings(recipe.method.settings))
    machine = hardware.Hardware("cpu", precision, 1, "")
    some = [rows[place] for place in range(4)]
    chosen = levers.choose(model, some, [len(row["input_ids"]) for row in some], machine, recipe, 0, materials.task)
    return chosen, model.train(), chosen.collator(some), recipe


def learning(model: Any) -> dict[str, Any]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize(("dtype", "precision"), [("bfloat16", "bf16"), ("float16", "fp16")])
def test_a_new_head_beside_an_adapter_learns_in_32_bits(encoder: Path, dtype: str, precision: str):
    from ftstudio.engine import levers
    from ftstudio.engine.plan import weights_of

    chosen, model, batch, recipe = loaded(classifier(encoder), getattr(torch, dtype), precision)
    heads = [name for name in learning(model) if "modules_to_save" in name]
    assert heads
    assert {weight.dtype for weight in learning(model).values()} == {torch.float32}
    held = {True: 0, False: 0}
    for weight in model.parameters():
        held[weight.requires_grad] += weight.numel() * weight.element_size()
    counted = weights_of(recipe, [])[1]
    assert (counted["adapter"], counted["gradients"], counted["weights"]) == (held[True], held[True], held[False])
    before = {name: weight.detach().clone() for name, weight in learning(model).items()}
    optimizer = torch.optim.AdamW(learning(model).values(), lr=2e-5, weight_decay=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0, enabled=precision == "fp16")
    steps = 30
    for _ in range(steps):
        optimizer.zero_grad()
        scaler.scale(chosen.objective(model, batch)).backward()
        scaler.unscale_(optimizer)  # of gradients in fp16 torch refuses to
        scaler.step(optimizer)
        scaler.update()
    # Adam takes about a learning rate a step on one and the same batch; rounded to 16 bits most of it would be lost
    for name in heads:
        moved = (learning(model)[name].detach() - before[name]).abs()
        assert float(moved.median()) > 0.5 * steps * 2e-5, name
    wide = {name: weight.detach().clone() for name, weight in learning(model).items()}

    levers.release(model)
    for name in heads:
        assert learning(model)[name].dtype == getattr(torch, dtype)
        assert torch.equal(learning(model)[name], wide[name].to(getattr(torch, dtype)))
    with torch.no_grad():  # as the saved model is looked at: without mixed precision around it
        assert torch.isfinite(chosen.objective.task.outputs(model.eval(), batch["inputs"]).logits).all()


def test_an_output_head_that_learns_whole_says_the_same(tmp_path: Path):
    """Embeddings and head of a decoder in 32 bits: the loss under bf16 is that of the same weights in bf16."""
    from ftstudio.engine import masters

    make_model(tmp_path / "model")
    values = recipe_values(tmp_path / "model", make_rows(tmp_path / "rows.jsonl"), precision="bf16")
    values["method"] |= {"modules_to_save": ["embed_tokens", "lm_head"], "dropout": 0.0}
    chosen, model, batch, _ = loaded(check_recipe(values), torch.bfloat16, "bf16")
    assert {weight.dtype for weight in learning(model).values()} == {torch.float32}
    assert sum("modules_to_save" in name for name in learning(model)) == 2
    with torch.no_grad():
        wide = float(chosen.objective(model, batch))
        masters.narrow(model)
        assert wide == pytest.approx(float(chosen.objective(model, batch)), rel=5e-3)


@pytest.mark.slow
def test_a_classifier_in_bf16_is_saved_read_back_and_resumed_exactly(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from ftstudio.core.jobs import Train
    from ftstudio.core.workspace import Workspace
    from ftstudio.engine import report
    from ftstudio.engine.prepare import prepare_run
    from ftstudio.engine.worker import Worker

    monkeypatch.setattr(report, "INTERVAL", 0.0)
    recipe = classifier(encoder, steps=12, save_steps=5, keep_checkpoints=9, learning_rate=1e-3)
    run = prepare_run(recipe, Workspace(tmp_path / "space"))
    Worker().execute(Train(run.path))
    whole = run.events()
    assert whole[-1]["kind"] == "done", whole[-1]
    assert whole[-1]["reload_difference"] < 1e-6
    losses = {event["step"]: event["loss"] for event in whole if event["kind"] == "step"}
    for path in list(run.checkpoints.iterdir()):
        if path.name != "checkpoint-5":
            shutil.rmtree(path)
    Worker().execute(Train(run.path, resume=True))
    again = {event["step"]: event["loss"] for event in run.events()[len(whole) :] if event["kind"] == "step"}
    assert sorted(again) == list(range(6, 13))
    assert {step: losses[step] for step in again} == again
