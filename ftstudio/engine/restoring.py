"""A checkpoint's weights back into the model that trains: all of them, or an error that says what is missing.

A model is saved under the names it is published with, which aren't always those of its modules: fused experts are
written one by one (Mixtral and its kin), norms as gamma and beta (BERT), a language model outside of the wrapper around
it (LLaVA). So what a checkpoint holds is read as any model is, by transformers with its conversions, and copied over.
Putting the file's names straight into the model would leave out the weights whose names differ, without a word.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import StudioError
from ftstudio.engine import loading, sentence, soft_prompts
from ftstudio.engine.building import BUILDING

if TYPE_CHECKING:
    from torch import nn

AGAIN = "Move that folder out of the run's checkpoints: the run then goes on from the one before, or begins anew."


def restore(model: Any, folder: Path) -> None:
    """Put the weights in FOLDER, a checkpoint, into MODEL: all of a whole model, those of an adapter over its base.

    Raises StudioError where FOLDER lacks one, or can't be read.
    """
    if hasattr(model, "peft_config"):
        _adapter(model, folder)
    else:
        _whole(model, folder)
    _refuse(folder, sentence.restore(model, folder))


def _adapter(model: Any, folder: Path) -> None:
    with soft_prompts.with_network(model, folder):
        found = model.load_adapter(str(folder), model.active_adapters[0], is_trainable=True)
    _refuse(folder, list(found.missing_keys))


def _whole(model: nn.Module, folder: Path) -> None:
    import torch

    saved, lacking = _read(model, folder)
    there = saved.state_dict()
    own = sentence.own_weights(model.state_dict())
    lacking |= {name for name, value in own.items() if name not in there or there[name].shape != value.shape}
    _refuse(folder, sorted(lacking))
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(there[name])


def _read(model: nn.Module, folder: Path) -> tuple[Any, set[str]]:
    """The model that FOLDER holds, of the class of MODEL, in main memory; and which of its weights FOLDER lacks."""
    import torch
    from safetensors import SafetensorError

    kind: Any = next(kind for kind in type(model).__mro__ if not _spread(kind))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            with BUILDING, torch.random.fork_rng():
                saved, told = kind.from_pretrained(
                    folder,
                    dtype=torch.float32,  # what learns whole does so in 32 bits; narrower weights lose nothing by it
                    local_files_only=True,
                    use_safetensors=True,
                    output_loading_info=True,
                )
        except (OSError, ValueError, KeyError, RuntimeError, AssertionError, SafetensorError) as error:
            raise loading.explain(error, f"The checkpoint {folder.name}", again=AGAIN) from error
    return saved, {*(told.get("missing_keys") or ()), *(name for name, *_ in told.get("mismatched_keys") or ())}


def _spread(kind: type) -> bool:
    """Whether KIND is a class that FSDP made of a model's own."""
    return any(base.__name__ == "FSDPModule" for base in kind.__mro__)


def _refuse(folder: Path, lacking: list[str]) -> None:
    if lacking:
        raise StudioError(
            f"The checkpoint {folder.name} lacks {len(lacking)} of the model's weights (such as {lacking[0]}): the run "
            "can't go on from it.",
            AGAIN,
        )
