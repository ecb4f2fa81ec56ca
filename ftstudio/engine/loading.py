"""Reading a model's weights from disk: arithmetic, quantisation, attention, and what can go wrong in words."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import StudioError
from ftstudio.engine.building import BUILDING
from ftstudio.engine.locate import Located
from ftstudio.methods import Quantisation

if TYPE_CHECKING:
    from torch import nn


DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class ModelSpec:
    """What makes two loads of a model the same: whose weights, how stored, where."""

    model: str
    dtype: str
    device: str
    quantisation: Quantisation | None = None


def load(where: Located, spec: ModelSpec) -> nn.Module:
    """The causal language model in WHERE, in evaluation mode: safetensors only, no code of its own.

    Raises StudioError for models of another kind, of unknown architecture, or with damaged files.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    arguments: dict[str, Any] = {
        "dtype": getattr(torch, spec.dtype),
        "local_files_only": True,
        "trust_remote_code": False,
        "use_safetensors": True,
    }
    if spec.quantisation is not None:
        from transformers import BitsAndBytesConfig

        arguments["quantization_config"] = BitsAndBytesConfig(**_bits(spec.quantisation, spec.dtype))
        arguments["device_map"] = {"": 0 if spec.device == "cuda" else "cpu"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            with BUILDING:
                model = _attended(AutoModelForCausalLM, where, arguments)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, AssertionError, SafetensorError) as error:
            raise explain(error, spec.model) from error
    if spec.quantisation is None:
        model.to(spec.device)
    else:
        _keep_unpacked(model)
    _check_weights(model, spec.model)
    return model.eval()


def _bits(wanted: Quantisation, dtype: str) -> dict[str, Any]:
    """WANTED in the words of BitsAndBytesConfig, unpacked to DTYPE where it names no precision of its own."""
    import torch

    if wanted.kind == "int8":
        return {"load_in_8bit": True}
    return {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": wanted.kind,
        "bnb_4bit_use_double_quant": wanted.double,
        "bnb_4bit_compute_dtype": getattr(torch, DTYPES[wanted.compute] if wanted.compute else dtype),
    }


def _attended(loader: Any, where: Located, arguments: Mapping[str, Any]) -> Any:
    """Loaded with SDPA attention; with the model's own where it has none."""
    try:
        model, told = loader.from_pretrained(
            where.folder, attn_implementation="sdpa", output_loading_info=True, **arguments
        )
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error) and "sdpa" not in str(error):
            raise
        model, told = loader.from_pretrained(where.folder, output_loading_info=True, **arguments)
    model.ftstudio_missing = sorted(told.get("missing_keys") or ())
    return model


def _keep_unpacked(model: nn.Module) -> None:
    """Forbid bitsandbytes to repack 4-bit weights at the first pass in evaluation mode, as it does on CPUs with
    AVX512-BF16: they would be multiplied in 16 bits, and no gradient would come through any more.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _check_weights(model: Any, name: str) -> None:
    """Weights that were in no file are random: such a model must not pass as the one that was named."""
    missing = model.ftstudio_missing
    if missing:
        raise StudioError(
            f"{name} lacks {len(missing)} of its weights (such as {missing[0]}): they would be random.",
            "Fetch the model again, or use one made for causal language modelling.",
        )


def explain(error: Exception, name: str, again: str = "Fetch the model again.") -> StudioError:
    """What a failed load of model NAME means to a person; AGAIN is the way to whole files."""
    text = " ".join(str(error).split())
    if "trust_remote_code" in text or "custom code" in text:
        return StudioError(
            f"{name} needs program code of its own, which is never run here.",
            "Use a model whose architecture transformers knows.",
        )
    if "Unrecognized configuration class" in text or "Unrecognized model" in text or "does not recognize" in text:
        return StudioError(
            f"{name} is no causal language model that this transformers knows.",
            "Use a decoder model such as a Llama, Qwen, Gemma, GPT-2, … or update transformers.",
        )
    if "out of memory" in text.lower():
        return StudioError(
            f"{name} does not fit into memory.", "Use method qlora, a smaller model, or another machine."
        )
    if type(error).__name__ == "SafetensorError":
        return StudioError(f"{name}: its weights can't be read ({text[:120]}).", again)
    if "ignore_mismatched_sizes" in text or isinstance(error, AssertionError):
        what = "" if "ignore_mismatched_sizes" in text else f" ({text[:120]})"
        return StudioError(
            f"{name}: its weights and its config.json don't belong together{what}.",
            "Fetch the model again; `ftstudio plan` names what differs.",
        )
    if "bitsandbytes" in text.lower():
        return StudioError(
            f"bitsandbytes can't load {name} ({text[:120]}).", "Use method lora, or see `ftstudio doctor`."
        )
    if isinstance(error, json.JSONDecodeError):
        return StudioError(f"{name}: one of its files is no JSON ({text[:120]}).", again)
    return StudioError(f"{name} can't be loaded: {text[:200]}.", "The log has the details.")


def parameters(model: nn.Module) -> dict[str, int]:
    """`{total, trainable}` weights of MODEL; a 4-bit weight counts as one though two share a byte."""
    total = trainable = 0
    for parameter in model.parameters():
        count = parameter.numel()
        if type(parameter).__name__ == "Params4bit":
            shape = getattr(getattr(parameter, "quant_state", None), "shape", None)
            count = shape.numel() if shape is not None else count * 2 * parameter.element_size()
        total += count
        trainable += count if parameter.requires_grad else 0
    return {"total": total, "trainable": trainable}


def free() -> None:
    """Give memory back that nothing holds any more."""
    gc.collect()
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
