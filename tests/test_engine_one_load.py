"""Base and tuned share one copy of the weights: what lies in memory with both, and draws of a tuning that learnt
nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model, make_rows, recipe_values

from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.engine.arms import BASE, Arms, Tuned
from ftstudio.engine.models import ModelStore
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe, load_recipe

torch = pytest.importorskip("torch")


def adapted(folder: Path, scale: float, **sizes: Any) -> RunFolder:
    """A run whose adapter of rank 4 over a random model is SCALE times as strong as a usual first step."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = make_model(folder / "model", **sizes)
    run = prepare_run(
        check_recipe(recipe_values(model, make_rows(folder / "rows.jsonl", 50))), Workspace(folder / "studio")
    )
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(model), config)
    with torch.no_grad():
        for name, part in tuned.named_parameters():
            if "lora_B" in name:
                part.mul_(scale)
    tuned.save_pretrained(run.model)
    return run


def stored(model: Any) -> dict[int, int]:
    """The memory under MODEL's tensors: where it lies and its bytes."""
    parts = [*model.parameters(), *model.buffers()]
    return {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in parts}


def test_base_and_tuned_take_hardly_more_memory_than_the_base(tmp_path: Path) -> None:
    run = adapted(tmp_path, 1.0, hidden_size=512, intermediate_size=1024)
    recipe = load_recipe(run.recipe_path)
    arms = Arms(ModelStore(), recipe, [Tuned(run.name, run, recipe)])
    with arms.use(BASE) as base:
        both = stored(base)
    with arms.use(run.name) as tuned:
        both |= stored(tuned)
    alone = sum(stored(ModelStore().base(recipe).model).values())
    assert alone < sum(both.values()) <= 1.05 * alone


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_tuning_at_rate_nought_is_called_better_or_worse_in_five_of_a_hundred_draws_at_most(tmp_path: Path) -> None:
    """Forty rows, sampled answers of twelve tokens: the base by one seed, the tuning by another."""
    from ftstudio.engine import generation
    from ftstudio.engine.materials import open_materials
    from ftstudio.evaluation.comparison import Arm, compare
    from ftstudio.evaluation.context import build
    from ftstudio.evaluation.predictions import Prediction

    run = adapted(tmp_path, 1e-6)  # what is left of a rate of 0: rounding
    recipe = load_recipe(run.recipe_path)
    materials = open_materials(recipe)
    rows = [(place, materials.shape.example(materials.whole[place])) for place in range(40)]
    prompts = [materials.prompt(example).ids for _, example in rows]
    arms = Arms(ModelStore(), recipe, [Tuned(run.name, run, recipe)])
    arms.check([materials.prompt(example) for _, example in rows])
    context = build(["say"], ["red"], infer_contract=False, answer=None, grounded=False, only=("empty",))

    def sampled(arm: str, seed: int) -> list[Prediction]:
        decoding = generation.Decoding(12, 1.0, seed)
        texts = {}
        with arms.use(arm) as model:
            for answers in generation.generate(model, prompts, decoding, materials.end_tokens, limits=(100_000, 64)):
                texts |= {one.index: materials.tokenizer.decode(one.token_ids, skip_special=False) for one in answers}
        return [Prediction(row, ex.prompt, ex.reference, texts[at]) for at, (row, ex) in enumerate(rows)]

    called = 0
    for draw in range(100):
        pair = [Arm("base", sampled(BASE, 2 * draw)), Arm("tuned", sampled(run.name, 2 * draw + 1))]
        found = compare(pair, context, metrics=["edit", "token_f1", "rouge"], resamples=1000, seed=draw)
        called += found["overall"][0]["verdict"] in ("better", "worse", "mixed")
    assert called <= 5
