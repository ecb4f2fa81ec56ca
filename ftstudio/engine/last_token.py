"""Where a decoder that classifies reads its answer: at a row's last token, also where it is given vectors for ids.

transformers finds that place by the id of padding. Vectors, such as a soft prompt with the row behind it, have no ids:
it then takes the last place, which in a batch is a shorter row's padding. So padding goes to the left before that.
"""

from __future__ import annotations

import inspect
from typing import Any


def find_without_ids(model: Any) -> None:
    """Let MODEL, a sequence classifier, read a row's last token whatever it is given. One that reads its first token or
    an encoder-decoder stays as it is."""
    import transformers

    kind = type(model.config)
    decoder = kind in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and kind not in transformers.MODEL_FOR_MASKED_LM_MAPPING
    if decoder and not getattr(model.config, "is_encoder_decoder", False):
        model.register_forward_pre_hook(_padding_left, with_kwargs=True)


def _padding_left(model: Any, args: tuple[Any, ...], inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    """INPUTS with each row's padding on its left, where they are vectors; None where they are ids."""
    vectors, mask = inputs.get("inputs_embeds"), inputs.get("attention_mask")
    if vectors is None or mask is None or mask.dim() != 2 or mask.shape[1] != vectors.shape[1]:
        return None
    import torch

    width = mask.shape[1]
    place = torch.arange(width, device=mask.device)[None]
    behind = width - 1 - (place * (mask != 0)).amax(1, keepdim=True)  # how much padding is behind a row
    source = (place - behind) % width
    mask = mask.gather(1, source).long()
    moved = {
        "inputs_embeds": vectors.gather(1, source[..., None].expand_as(vectors)),
        "attention_mask": mask,
    }
    if inputs.get("token_type_ids") is not None:
        moved["token_type_ids"] = inputs["token_type_ids"].gather(1, source)
    if "position_ids" in inspect.signature(model.forward).parameters:
        moved["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    return args, {**inputs, **moved}
