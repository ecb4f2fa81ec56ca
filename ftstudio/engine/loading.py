"""Reading a model's weights from disk: arithmetic, quantisation, attention, and what can go wrong in words."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftstudio.core.architecture import Architecture
from ftstudio.core.errors import StudioError
from ftstudio.engine import head_labels, heads, last_token, reshaping
from ftstudio.engine.building import BUILDING
from ftstudio.engine.locate import Located
from ftstudio.engine.reshaping import NOTHING
from ftstudio.methods import Quantisation, anatomy
from ftstudio.tasks.base import Head, Kind

if TYPE_CHECKING:
    from torch import nn

CAUSAL = Head()


DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class ModelSpec:
    """What makes two loads of a model the same: whose weights, how stored, where."""

    model: str
    dtype: str
    device: str
    quantisation: Quantisation | None = None
    head: Head = CAUSAL
    architecture: Architecture = NOTHING

    @property
    def stored(self) -> dict[str, str]:
        """How the weights lie in memory (`nf4`, or a precision), and the precision they are multiplied in."""
        if self.quantisation is None:
            return {"weights": self.dtype, "computes": self.dtype}
        compute = self.quantisation.compute
        return {"weights": self.quantisation.kind, "computes": DTYPES[compute] if compute else self.dtype}


def load(where: Located, spec: ModelSpec) -> nn.Module:
    """The model in WHERE with the head of SPEC, in evaluation mode: safetensors only, no code of its own.

    A head that the model doesn't bring is drawn by SPEC's seed.

    Raises StudioError for models of another kind, of unknown architecture, or with damaged files.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig

    arguments: dict[str, Any] = {
        "dtype": getattr(torch, spec.dtype),
        "local_files_only": True,
        "trust_remote_code": False,
        "use_safetensors": True,
    }
    try:
        config = AutoConfig.from_pretrained(where.folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise explain(error, spec.model, spec.head.kind) from error
    there = head_labels.named(config.id2label) if spec.head.kind in heads.NEW else ()
    arguments["config"] = heads.configured(config, spec.head)
    if spec.head.kind in heads.NEW:
        arguments["ignore_mismatched_sizes"] = True  # a head for other labels is replaced
    if spec.quantisation is not None:
        from transformers import BitsAndBytesConfig

        skip = _unquantised(config, spec.head)
        arguments["quantization_config"] = BitsAndBytesConfig(
            **bits(spec.quantisation, spec.dtype), llm_int8_skip_modules=skip
        )
    if spec.quantisation is not None or _straight(spec):
        arguments["device_map"] = {"": torch.cuda.current_device() if spec.device == "cuda" else "cpu"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            with BUILDING, torch.random.fork_rng():
                torch.manual_seed(spec.head.seed)
                model = _attended(heads.auto_class(spec.head.kind), where, arguments)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, AssertionError, SafetensorError) as error:
            raise explain(error, spec.model, spec.head.kind) from error
    _check_weights(model, spec.model, spec.head.kind)
    model.ftstudio_told = "" if spec.architecture.new_head else head_labels.fit(model, there, spec.head)
    if spec.architecture.changes:
        model = reshaping.change(model, where.folder, spec.architecture, spec.head)
    if "device_map" not in arguments:
        model.to(spec.device)
    if spec.quantisation is not None:
        _keep_unpacked(model)
    if spec.head.kind == "masked-lm":
        model.ftstudio_head = heads.new_modules(model)
    _padded(model, where, spec.head.kind)
    if spec.head.kind == "encoder":
        from ftstudio.engine import sentence

        sentence.attach(model, where.folder, spec.head.pooling)
    return model.eval()


def _straight(spec: ModelSpec) -> bool:
    """Whether weights go from their file straight to the GPU, a piece at a time: the whole model never lies in main
    memory, once for each process of a launch. What is drawn is drawn on the CPU, so that it is the same everywhere."""
    drawn = spec.head.kind in heads.NEW or spec.head.kind == "masked-lm" or spec.architecture.changes
    return spec.device == "cuda" and not drawn


def bits(wanted: Quantisation, dtype: str) -> dict[str, Any]:
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


def _unquantised(config: Any, head: Head) -> list[str] | None:
    """Modules that stay as they are in a quantised model, by their full names: a head that learns, and a pooler, which
    may be in no file. None: as transformers chooses."""
    if head.kind not in heads.NEW and head.kind not in ("masked-lm", "encoder"):
        return None
    import torch

    with torch.device("meta"):
        model = heads.auto_class(head.kind).from_config(heads.configured(config, head))
    poolers = [name for name, _ in model.named_modules() if name.rpartition(".")[2] == "pooler"]
    if head.kind == "encoder":
        return poolers or None
    parts = anatomy.head(model) if head.kind == "masked-lm" else anatomy.new_parts(model)
    return [*parts, *poolers]


def _padded(model: Any, where: Located, kind: Kind) -> None:
    """A decoder that classifies looks for the last token that is no padding: it must know the id we pad with."""
    if kind != "sequence-classification":
        return
    from ftstudio.data.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(where.folder)
    pad = next((token for token in (tokenizer.pad_id, tokenizer.eos_id) if token is not None), 0)
    model.config.pad_token_id = pad
    last_token.find_without_ids(model)


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
    # name → shape in the file: of another shape than in the model, where they were drawn instead
    model.ftstudio_other = {name: list(shape) for name, shape, _ in told.get("mismatched_keys") or ()}
    return model


def _keep_unpacked(model: nn.Module) -> None:
    """Forbid bitsandbytes to repack 4-bit weights at the first pass in evaluation mode, as it does on CPUs with
    AVX512-BF16: they would be multiplied in 16 bits, and no gradient would come through any more.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _check_weights(model: Any, name: str, kind: Kind) -> None:
    """Weights that were in no file, or of another shape there, are random: such a model must not pass as the one that
    was named."""
    missing = heads.faulty(model.ftstudio_missing, model, kind)
    if missing:
        raise StudioError(
            f"{name} lacks {len(missing)} of its weights (such as {missing[0]}): they would be random.",
            f"Fetch the model again, or use one made as {heads.named(kind)}.",
        )
    other = heads.of_body(sorted(model.ftstudio_other), model)
    if other:
        there, wanted = model.ftstudio_other[other[0]], list(model.get_parameter(other[0]).shape)
        raise StudioError(
            f"{name}: its weights and its config.json don't belong together ({len(other)} weights, such as {other[0]}: "
            f"{there} in its file, {wanted} by its config.json).",
            "Fetch the model again.",
        )


def check_saved(model: Any, name: str) -> None:
    """Refuse MODEL, which a run called NAME saved, where a weight wasn't in its files: it saves its head, too."""
    lacking = sorted({*model.ftstudio_missing, *model.ftstudio_other})
    if lacking:
        raise StudioError(
            f"{name}'s files lack {len(lacking)} of its weights (such as {lacking[0]}): they would be random.",
            "Save it again from a checkpoint, or train it again.",
        )


def explain(
    error: Exception, name: str, kind: Kind = "causal-lm", again: str = "Fetch the model again."
) -> StudioError:
    """What a failed load of model NAME as a KIND means to a person; AGAIN is the way to whole files."""
    text = " ".join(str(error).split())
    if "trust_remote_code" in text or "custom code" in text:
        return StudioError(
            f"{name} needs program code of its own, which is never run here.",
            "Use a model whose architecture transformers knows.",
        )
    if "Unrecognized configuration class" in text or "Unrecognized model" in text or "does not recognize" in text:
        hint = {
            "causal-lm": "Use a decoder model such as a Llama, Qwen, Gemma, GPT-2, … or update transformers.",
            "seq2seq-lm": "Use an encoder-decoder such as a T5, BART or Marian, or update transformers.",
            "image-text-to-text": "Use a vision-language model, or update transformers.",
        }.get(kind, "Use an encoder such as a BERT or RoBERTa, or update transformers.")
        return StudioError(f"{name} is no {heads.NAMES[kind]} that this transformers knows.", hint)
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
    states = {
        id(module.weight): module.quant_state
        for module in model.modules()
        if getattr(module, "quant_state", None) is not None and hasattr(module, "weight")
    }
    total = trainable = 0
    for parameter in model.parameters():
        count = parameter.numel()
        state = getattr(parameter, "quant_state", None) or states.get(id(parameter))
        if state is not None:
            count = state.shape.numel()
        elif type(parameter).__name__ == "Params4bit":
            count *= 2 * parameter.element_size()
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
