"""Soft prompts as they learn: the network that makes their vectors is kept in checkpoints.

peft saves the vectors alone. Those are enough to answer with; to go on learning, the network has to be the same.
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
