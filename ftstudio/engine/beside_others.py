"""Whether a model that keeps a state answers a row among others as it answers it alone.

Attention leaves padding out by its mask. A recurrent state goes over it, where the model doesn't take it out (xLSTM,
RecurrentGemma); and some keep the states of a batch's rows wrongly (RWKV in transformers). Which, is measured: a row is
written alone, beside one as long and beside a longer one, once for each model.
"""

from __future__ import annotations

import weakref
from typing import Any, Literal

Company = Literal["any", "equal", "none"]
"""What may stand in a row's batch: anything, rows as long as it is, nothing."""

_LENGTH, _STEPS = 8, 3
_APART = {"float32": 1e-3}  # of the greatest logit; a padded state that isn't left out moves them by a third and more
_APART_ROUNDED = 0.1

_known: weakref.WeakKeyDictionary[Any, Company] = weakref.WeakKeyDictionary()


def company(model: Any) -> Company:
    """What may stand beside a row that MODEL is to continue; adapters and soft prompts don't matter to it."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not getattr(inner, "_is_stateful", False):
        return "any"
    if inner not in _known:
        _known[inner] = _measured(inner)
    return _known[inner]


def _measured(model: Any) -> Company:
    import torch

    words = model.config.get_text_config().vocab_size
    row = [(7 + 5 * place) % words for place in range(_LENGTH)]
    other = [(3 + 11 * place) % words for place in range(2 * _LENGTH)]
    with torch.inference_mode():
        alone = _written(model, [row])
        if _apart(alone, _written(model, [row, other[:_LENGTH]])):
            return "none"
        return "equal" if _apart(alone, _written(model, [row, other])) else "any"


def _written(model: Any, rows: list[list[int]]) -> Any:
    """The logits [steps, vocabulary] of the first of ROWS' next tokens, and those tokens; padded on the left."""
    import torch
    from transformers import GenerationConfig

    width = max(map(len, rows))
    device = next(model.parameters()).device
    found = model.generate(
        torch.tensor([[0] * (width - len(row)) + row for row in rows], device=device),
        attention_mask=torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device),
        generation_config=GenerationConfig(
            max_new_tokens=_STEPS, do_sample=False, use_cache=True, pad_token_id=0, output_logits=True,
            return_dict_in_generate=True,
        ),
        synced_gpus=False,
    )  # fmt: skip
    return torch.stack([step[0] for step in found.logits]), found.sequences[0, width:]


def _apart(wanted: Any, found: Any) -> bool:
    """Whether the logits differ by more than rounding, up to the first token that does."""
    (logits, tokens), (others, more) = wanted, found
    differing = (tokens != more).nonzero()
    count = int(differing[0]) + 1 if len(differing) else len(tokens)
    allowed = _APART.get(str(logits.dtype).removeprefix("torch."), _APART_ROUNDED)
    gap = (logits[:count] - others[:count]).abs().max()
    return not float(gap) <= allowed * float(logits.abs().max())
