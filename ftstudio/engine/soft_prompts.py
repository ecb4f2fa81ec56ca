"""Soft prompts where peft's own way isn't enough: to go on learning, and to answer many rows at once.

peft saves a soft prompt's vectors alone. Those are enough to answer with; to go on learning, the network that makes
them has to be the same. And it puts them before a row's padding, where they are further from the row than in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftstudio.core.errors import StudioError

NETWORK = "prompt_network.safetensors"


def network_of(model: Any) -> Any:
    """What makes the vectors of the peft MODEL's soft prompt, where that is more than a table of them; else None."""
    if not getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return None
    encoder = model.prompt_encoder[model.active_adapter]
    return encoder if any(not name.startswith("embedding.") for name, _ in encoder.named_parameters()) else None


def not_saved(model: Any) -> int:
    """How many of the numbers that learn in the peft MODEL's soft prompt its tuned model does without: those of the
    network, less the vectors that come out of it."""
    network = network_of(model)
    if network is None:
        return 0
    config = model.active_peft_config
    width = config.token_dim * (2 * config.num_layers if "PREFIX" in str(config.peft_type) else 1)
    count = config.num_virtual_tokens * (1 if "PREFIX" in str(config.peft_type) else config.num_transformer_submodules)
    return int(sum(weight.numel() for weight in network.parameters())) - int(count * width)


def save_network(model: Any, folder: Path) -> None:
    """Write the network behind MODEL's soft prompt into FOLDER, a checkpoint. Other models have none."""
    network = network_of(model)
    if network is None:
        return
    from safetensors.torch import save_file

    save_file(
        {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}, folder / NETWORK
    )


@contextmanager
def with_network(model: Any, folder: Path) -> Iterator[None]:
    """While this holds, peft puts into MODEL's soft prompt what `save_network` wrote into FOLDER, not bare vectors.

    Raises StudioError where FOLDER has none: its vectors can't be turned back into a network.
    """
    network = network_of(model)
    if network is None:
        yield
        return
    if not (folder / NETWORK).is_file():
        raise StudioError(
            f"{folder.name} holds the soft prompt's vectors and not the network that makes them: it can't be gone on "
            "from.",
            "It is from an earlier version; start the run again.",
        )
    from safetensors.torch import load_file

    state = load_file(folder / NETWORK)
    network._load_adapter_state_dict = lambda vectors: network.load_state_dict(state)
    try:
        yield
    finally:
        del network._load_adapter_state_dict


def written_with(model: Any, ids: Any, mask: Any) -> tuple[Any, dict[str, Any]]:
    """(what is to generate, its inputs) for IDS [rows, width], padded on the left where MASK is 0, by MODEL.

    Where MODEL's soft prompt stands among the tokens: its base, and the vectors of padding, soft prompt and row in that
    order, so that a row is answered as it is alone. Else MODEL itself, and what was given.
    """
    from ftstudio.engine.loss import soft_prompt

    off = getattr(model, "_adapters_disabled", False)
    if off or soft_prompt(model) != "inside" or getattr(model.config, "is_encoder_decoder", False):
        return model, {"input_ids": ids, "attention_mask": mask}
    import torch

    words = model.word_embeddings(ids)
    soft = model.get_prompt(batch_size=len(ids)).to(words.dtype)
    count = soft.shape[1]
    padding = (mask == 0).sum(1, keepdim=True)
    place = torch.arange(count + ids.shape[1], device=ids.device)[None]
    source = torch.where(place < padding, place + count, torch.where(place < padding + count, place - padding, place))
    vectors = torch.cat((soft, words), 1).gather(1, source[..., None].expand(-1, -1, words.shape[-1]))
    return model.get_base_model(), {"inputs_embeds": vectors, "attention_mask": (place >= padding).to(mask.dtype)}


def apart_by_padding(model: Any, tokens: int) -> bool:
    """Whether padding on the left would change what MODEL answers to rows of up to TOKENS, answers included: its soft
    prompt lies beside the row as keys and values, and a sliding window counts the padding between them."""
    from ftstudio.engine.loss import soft_prompt

    if getattr(model, "_adapters_disabled", False) or soft_prompt(model) != "beside":
        return False
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if window is None or (kinds and all(kind == "full_attention" for kind in kinds)):
        return False
    return tokens + int(model.active_peft_config.num_virtual_tokens) > int(window)
