"""What a real step holds, beside what is told of it."""

from __future__ import annotations

from ftstudio import methods
from ftstudio.core.recipe import Recipe


def held(recipe: Recipe) -> tuple[int, int]:
    """Most bytes that tensors take at once in a real step on the heaviest batch, beside weights and optimiser: with
    all micro-batches of the step, and (estimated) what the plan says of it."""
    from ftstudio.engine import hardware, levers
    from ftstudio.engine.loads import batches
    from ftstudio.engine.memory_track import Tracker
    from ftstudio.engine.models import ModelStore
    from ftstudio.engine.plan import weights_of
    from ftstudio.engine.plan_memory import _config, estimated
    from ftstudio.engine.prepare import resolve

    recipe, materials = resolve(recipe)
    encoded = materials.task.encode_dataset(
        materials.train, materials.shape, materials.template, materials.tokenizer, recipe.data.max_length
    )
    parts = estimated(recipe, materials, encoded, weights_of(recipe, [])[1])["parts"]
    rows = batches(recipe, materials, encoded, _config(recipe), hardware.resolve(recipe)).heaviest
    machine, method = hardware.resolve(recipe), methods.get(recipe.method.name)
    model = method.apply(ModelStore().to_train(recipe), method.settings(recipe.method.settings))
    lengths = [len(row["input_ids"]) for row in rows]
    chosen = levers.choose(model, rows, lengths, machine, recipe, 0, materials.task)
    model.train()
    tracker = Tracker()
    tracker.ignore([*model.parameters(), *model.buffers()])
    for module in model.modules():  # 4-bit layers hold their scales beside the weight
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None:
            tracker.ignore([state.absmax, state.code, state.state2.absmax, state.state2.code, state.offset])
    batch = chosen.laid_out(chosen.collator)(rows)
    with tracker:
        for _ in range(recipe.training.gradient_accumulation):
            for piece in batch.get("pieces", [batch]):  # one after another, as the trainer does
                chosen.objective(model, piece).backward()
    return max(tracker.peaks.values()), parts["activations"] + parts.get("logits", 0) + parts["gradients"]
