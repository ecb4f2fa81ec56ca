"""Whether activations are computed again on the way back (gradient checkpointing): by itself where memory asks so."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ftstudio import methods
from ftstudio.core.text import size
from ftstudio.engine import fit

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.engine.rows import TrainingRows

PLENTY = 0.25  # of what is free: a bound below needs no closer look
KEPT = 80  # numbers of a token's width that a layer keeps at most: 34 (Korthikanti et al. 2022), those of an adapter
# on each of its linear layers, and copies in another precision
WHOLE = 16  # bytes that a weight which learns takes: itself, its gradient, AdamW's two states
SAID = "as the recipe says"


def can(recipe: Recipe) -> bool:
    """Whether RECIPE's method goes with checkpointing."""
    method = methods.get(recipe.method.name)
    facts = methods.Facts(task=recipe.task, checkpointing=True)
    refused = methods.refuse(method, method.settings(recipe.method.settings), facts)
    return not any(refusal.key == "training.gradient_checkpointing" for refusal in refused)


def bound(recipe: Recipe, config: Mapping[str, Any], weights: int, longest: int) -> int:
    """More bytes than a training takes: WEIGHTS of the model, rows of at most LONGEST tokens; CONFIG is its
    config.json."""
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    text = text or {}

    def whole(*names: str) -> int:
        return max((value for name in names if isinstance(value := text.get(name), int)), default=0)

    width = whole("hidden_size", "d_model", "n_embd") or 1024
    layers = whole("num_hidden_layers", "num_layers", "n_layer") + whole("decoder_layers", "num_decoder_layers") or 48
    training = recipe.training
    tokens = max(longest, training.batch_tokens or training.batch_size * longest)
    heads = whole("num_attention_heads", "num_heads", "n_head", "encoder_attention_heads") or 16
    scores = tokens * longest * heads * layers  # of attention by whole matrices
    logits = 3 * tokens * whole("vocab_size")
    return WHOLE * weights + 4 * (KEPT * width * layers * tokens + logits + scores)


def decide(
    recipe: Recipe, bounded: int, device: str, estimate: Callable[[Recipe], int], free: int | None = None
) -> tuple[bool, str]:
    """(whether to checkpoint, why) where RECIPE leaves it open. BOUNDED: at most so many bytes are taken without.

    ESTIMATE gives the bytes that a recipe takes; it is asked only where BOUNDED doesn't settle it. FREE bytes, where
    they are known better than the driver tells.
    """
    wanted = recipe.training.gradient_checkpointing
    if wanted is not None:
        return wanted, SAID
    if not can(recipe):
        return False, "this method doesn't go with it"
    free = int(fit.devices(device)[0]["free"]) if free is None else free
    if bounded <= PLENTY * free:
        return False, f"not needed: at most {size(bounded)} of {size(free)} free"
    without = recipe.with_changes({"training.gradient_checkpointing": False})
    needed = estimate(without)
    if needed <= fit.TIGHT[device] * free:
        return False, f"not needed: {size(needed)} of {size(free)} free"
    less = estimate(recipe.with_changes({"training.gradient_checkpointing": True}))
    if less >= needed:
        return False, f"it would save nothing of {size(needed)}"
    return True, f"by itself: {size(needed)} without it, {size(free)} free; {size(less)} with it, about 30 % slower"


def settle(recipe: Recipe, rows: TrainingRows, device: str, held: int = 0) -> tuple[bool, str]:
    """The same for the training of ROWS in this process, before the model is loaded. HELD: see `fit.free`. What can't
    be estimated is left off."""
    from ftstudio.engine.compatibility import model_config
    from ftstudio.engine.locate import locate

    if recipe.training.gradient_checkpointing is not None:
        return recipe.training.gradient_checkpointing, SAID
    folder = locate(recipe.model, weights=False).folder
    stored = sum(path.stat().st_size for path in folder.glob("*") if path.suffix in (".safetensors", ".bin"))
    longest = max(rows.lengths, default=1)
    bounded = sys.maxsize  # of a hub model that isn't here yet nothing is known
    if stored:
        bounded = bound(recipe, model_config(recipe.model), stored // 2, longest)  # 2 bytes a weight at least

    def estimate(asked: Recipe) -> int:
        from ftstudio.engine.plan import weights_of
        from ftstudio.engine.plan_memory import estimated

        counted = weights_of(asked, [])[1]
        return int(estimated(asked, rows.materials, rows.train, counted)["estimated_bytes"])

    try:
        return decide(recipe, bounded, device, estimate, fit.free(device, held))
    except Exception as error:  # an architecture that can't be built without its weights, or with fewer layers
        return False, f"what it takes can't be told ({type(error).__name__})"
