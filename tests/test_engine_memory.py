"""Memory from the configuration alone, against the bytes a real step holds; whether it fits; how it gets smaller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model, make_rows, recipe_values

from ftstudio import methods, tasks
from ftstudio.core.recipe import Recipe
from ftstudio.engine import fit
from ftstudio.engine.recipes import check_recipe

torch = pytest.importorskip("torch")

LAYERS, BATCH = 5, 4


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memory")
    make_model(folder / "model", layers=LAYERS, hidden_size=64)
    make_rows(folder / "rows.jsonl", 60)
    return folder


def changed(base: Path, method: str, **training: Any) -> Recipe:
    values = recipe_values(base / "model", base / "rows.jsonl", method, **training)
    return check_recipe(values)


def held(recipe: Recipe) -> tuple[int, int]:
    """Most bytes that tensors take at once in a real step on the heaviest batch, beside weights and optimiser: with
    all micro-batches of the step, and (estimated) what the plan says of it."""
    from ftstudio.engine import hardware, levers
    from ftstudio.engine.loads import batches
    from ftstudio.engine.memory_track import Tracker
    from ftstudio.engine.models import ModelStore
    from ftstudio.engine.plan import plan
    from ftstudio.engine.plan_memory import _config
    from ftstudio.engine.prepare import resolve

    parts = plan(recipe)["memory"]["parts"]
    recipe, materials = resolve(recipe)
    encoded = materials.task.encode_dataset(
        materials.train, materials.shape, materials.template, materials.tokenizer, recipe.data.max_length
    )
    rows = batches(recipe, materials, encoded, _config(recipe)).heaviest
    machine, method = hardware.resolve(recipe), methods.get(recipe.method.name)
    model = method.apply(ModelStore().to_train(recipe), method.settings(recipe.method.settings))
    lengths = [len(row["input_ids"]) for row in rows]
    chosen = levers.choose(model, rows, lengths, machine, recipe, 0, tasks.of(recipe))
    model.train()
    tracker = Tracker()
    tracker.ignore([*model.parameters(), *model.buffers()])
    for module in model.modules():  # 4-bit layers hold their scales beside the weight
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None:
            tracker.ignore([state.absmax, state.code, state.state2.absmax, state.state2.code, state.offset])
    batch = chosen.collator(rows)
    with tracker:
        for _ in range(recipe.training.gradient_accumulation):
            chosen.objective(model, batch).backward()
    return max(tracker.peaks.values()), parts["activations"] + parts["logits"] + parts["gradients"]


@pytest.mark.parametrize(
    ("method", "training"),
    [
        pytest.param("full", {}, marks=pytest.mark.slow),
        ("full", {"gradient_accumulation": 2}),
        pytest.param("lora", {}, marks=pytest.mark.slow),
        pytest.param("lora", {"gradient_checkpointing": True}, marks=pytest.mark.slow),
        ("qlora", {"precision": "bf16", "gradient_checkpointing": True}),
    ],
)
def test_one_and_two_layers_tell_what_five_hold(base: Path, method: str, training: dict[str, Any]):
    real, estimated = held(changed(base, method, **training))
    assert estimated == pytest.approx(real, rel=0.04)


def test_what_fits_is_told_for_each_device():
    there = [{"name": "a", "total": 100, "free": 90}, {"name": "b", "total": 100, "free": 40}]
    assert [found["fits"] for found in fit.verdicts(50, there, "cuda")] == ["yes", "busy"]
    assert [found["fits"] for found in fit.verdicts(85, there, "cuda")] == ["tight", "busy"]
    assert [found["fits"] for found in fit.verdicts(101, there, "cuda")] == ["no", "no"]
    assert fit.devices("cpu")[0]["total"] > 0


@pytest.mark.parametrize("batch", [8, 6, 9, 7, 1])
def test_shrinking_keeps_the_rows_of_a_step(base: Path, batch: int):
    recipe = changed(base, "lora", batch_size=batch, gradient_accumulation=3)
    seen = 0
    while (less := fit.shrink(recipe)) is not None:
        assert fit.smaller(recipe)
        before, after = recipe.training, less.training
        assert after.batch_size * after.gradient_accumulation == 3 * batch
        assert after.batch_size < before.batch_size or (after.gradient_checkpointing, after.batch_size) == (True, 1)
        recipe, seen = less, seen + 1
    assert recipe.training.batch_size == 1
    assert recipe.training.gradient_checkpointing
    assert seen >= 1


@pytest.mark.slow
def test_measured_steps_stand_beside_the_estimate(base: Path):
    from ftstudio.engine.plan import plan

    value = plan(changed(base, "lora"), measure=True)
    memory = value["memory"]
    assert memory["measured_bytes"] == pytest.approx(memory["estimated_bytes"], rel=0.1), memory
    assert value["seconds_estimated"] > 0
    assert memory["fits"][0]["fits"] == "yes"
