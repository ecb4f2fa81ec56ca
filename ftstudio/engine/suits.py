"""How a model goes with a task, its data and a method, a sentence each: told from the files beside its weights.

`told` reads config.json, tokenizer, card and the headers of the weight files, and imports no torch; `looked_into` adds
what only transformers' own classes tell, without the weights.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ftstudio import tasks
from ftstudio.core.errors import StudioError
from ftstudio.core.text import one_line, size
from ftstudio.data.framing import languages_of
from ftstudio.data.tokenizer import Tokenizer, load_tokenizer, model_folder
from ftstudio.engine import head_labels, heads, weights
from ftstudio.engine.compatibility import MASKED, model_config, model_limit
from ftstudio.tasks.base import Head

Sign = Literal["good", "note", "warn", "bad"]
_DTYPES = {"F32": "fp32", "BF16": "bf16", "F16": "fp16", "F64": "fp64", "I8": "int8", "U8": "8 bits, quantised",
           "F8_E4M3": "fp8"}  # fmt: skip
_FREE = re.compile(r"apache|mit|bsd|cc0|cc-by-(?:sa-)?\d|isc|unlicense|openrail", re.I)
_BOUND = re.compile(r"-nc|non-?commercial|research", re.I)
_MAPPINGS = {
    "causal-lm": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "masked-lm": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "seq2seq-lm": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "sequence-classification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "token-classification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "encoder": "MODEL_MAPPING_NAMES",
    "image-text-to-text": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
}


@dataclass(frozen=True)
class Sentence:
    """Something about a model: `about` what (kind, heads, context …), the `text`, and how it speaks for it (`sign`)."""

    about: str
    text: str
    sign: Sign = "note"

    def to_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def told(
    model: str,
    task: str,
    lengths: Sequence[int] | None = None,
    precision: str = "auto",
    head: Head | None = None,
) -> list[Sentence]:
    """What the files of MODEL say about training it for TASK on texts of LENGTHS tokens, with the HEAD that their
    labels ask for. Raises StudioError."""
    config = model_config(model)
    folder, _ = model_folder(model)
    try:
        tokenizer: Tokenizer | None = load_tokenizer(model)
    except StudioError:
        tokenizer = None
    found = [_kind(config), *_labels(config, head or tasks.get(task).head())]
    found += [*_context(config, lengths), *_chat(tokenizer, config, task)]
    found += [_stored(folder, config), _licence(folder), *_quantised(config)]
    return found + _misfits(folder, config, tokenizer, precision)


def _kind(config: Mapping[str, Any]) -> Sentence:
    names = config.get("architectures")
    name = one_line(names[0] if isinstance(names, list) and names else config.get("model_type", "unknown"), 50)
    if any(isinstance(config.get(key), Mapping) for key in ("vision_config", "audio_config")):
        what = "a language model that also sees pictures or hears"
    elif config.get("is_encoder_decoder"):
        what = "an encoder-decoder: it reads all of a text, then writes another"
    elif name.endswith(MASKED) or "Bert" in name or name.endswith(("Classification", "Model")):
        what = "an encoder: it reads a text in both directions and writes none"
    else:
        what = "a decoder: it writes token after token"
    return Sentence("kind", f"{name}, {what}.")


def _labels(config: Mapping[str, Any], head: Head) -> list[Sentence]:
    """What the head that the model brings was made for, and what becomes of it for HEAD's labels, where they are
    known."""
    text = head_labels.of_file(config, head)
    return [Sentence("labels", text)] if text else []


def _heads(config: Mapping[str, Any], task: str) -> list[Sentence]:
    """The tasks whose head transformers has for this architecture, and whether the one at hand is among them."""
    kinds = head_kinds(str(config.get("model_type") or ""))
    if not kinds:
        return [Sentence("heads", "transformers here knows no head for this kind of model.", "bad")]
    both, made = bool(config.get("is_encoder_decoder")), [str(name) for name in config.get("architectures") or ()]
    writes = any(name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for name in made)
    fits = []
    for name in tasks.names():
        kind = tasks.get(name).kind
        off = (
            (kind == "causal-lm" and (both or (made and not writes)))
            or (kind == "masked-lm" and writes)
            or (kind == "encoder" and both)
        )
        if kind in kinds and not off:
            fits.append(name)
    new = tasks.get(task).kind in heads.NEW and not any(name.endswith("Classification") for name in made)
    extra = f" For {task} the head is new and learns from nothing." if new and task in fits else ""
    if task in fits:
        return [Sentence("heads", f"It can learn {', '.join(fits)}.{extra}", "good")]
    return [Sentence("heads", f"It can learn {', '.join(fits) or 'nothing here'}, not {task}.", "bad")]


def head_kinds(model_type: str) -> set[str]:
    """The kinds of heads (`tasks.base.Kind`) that transformers has for models of MODEL_TYPE."""
    from transformers.models.auto import modeling_auto

    return {kind for kind, name in _MAPPINGS.items() if model_type in getattr(modeling_auto, name, {})}


def _context(config: Mapping[str, Any], lengths: Sequence[int] | None) -> list[Sentence]:
    limit = model_limit(dict(config))
    if limit is None:
        text = "It names no longest text; memory is the only limit."
        return [Sentence("context", text)]
    if not lengths:
        return [Sentence("context", f"It reads {limit:,} tokens at once.")]
    order = sorted(lengths)
    middle, longest = order[len(order) // 2], order[-1]
    over = sum(length > limit for length in order)
    text = f"It reads {limit:,} tokens; of {len(order):,} texts half have up to {middle:,}, the longest {longest:,}"
    if over:
        return [Sentence("context", f"{text}: {100 * over / len(order):.0f} % are longer and would be cut.", "warn")]
    return [Sentence("context", f"{text}: all fit.", "good")]


def _chat(tokenizer: Tokenizer | None, config: Mapping[str, Any], task: str) -> list[Sentence]:
    if tokenizer is None:
        return [Sentence("tokenizer", "Its folder holds no tokenizer that can be read.", "bad")]
    found = []
    if task == "sft":
        if tokenizer.chat_template:
            found.append(Sentence("chat", "It has a chat template: conversations are written its own way.", "good"))
        else:
            text = "It has no chat template: it is a plain language model; turns are written as User: and Assistant:."
            found.append(Sentence("chat", text))
    languages = languages_of(tokenizer) if task == "seq2seq" else []
    if languages:
        text = "It marks the language of each text: options.source_language and options.target_language name them, "
        found.append(Sentence("languages", f"{text}such as {', '.join(languages[:4])}."))
    rows = config.get("vocab_size")
    if isinstance(rows, int) and tokenizer.vocab_size > rows:
        text = f"Its tokenizer has {tokenizer.vocab_size:,} tokens, its embeddings {rows:,}: some can't be read."
        found.append(Sentence("tokenizer", text, "warn"))
    if tasks.get(task).generates and not tokenizer.eos_ids:
        found.append(Sentence("tokenizer", "Its tokenizer names no end token: the model can't learn to stop.", "warn"))
    return found


def _stored(folder: Path, config: Mapping[str, Any]) -> Sentence:
    """The arithmetic of the weight files, by their headers, else as config.json says."""
    total, kinds = 0, Counter[str]()
    try:
        for path in weights.weight_files(folder, folder.name):
            for part in weights.header(path).values():
                count = 1
                for length in part["shape"]:
                    count *= int(length)
                total += count
                kinds[str(part.get("dtype"))] += count
    except StudioError as error:
        known = config.get("dtype") or config.get("torch_dtype")
        named = f" By its config.json they are {one_line(known, 20)}." if known else ""
        hub = folder.parent.name == "snapshots"
        text = "Its weights aren't here yet; they are fetched when it is trained." if hub else str(error.message)
        return Sentence("weights", f"{text}{named}", "note" if hub else "warn")
    parts = [_DTYPES.get(name, name.lower()) for name, _ in kinds.most_common(2)]
    disk = sum(path.stat().st_size for path in weights.weight_files(folder, folder.name))
    return Sentence("weights", f"{total:,} weights, stored in {' and '.join(parts)} ({size(disk)}).", "good")


def licence(folder: Path) -> str | None:
    """The licence that the model card in FOLDER names; None where there is no card, or it names none."""
    try:
        text = (folder / "README.md").read_text("utf-8", "replace")[:20_000]
    except OSError:
        return None
    head = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    if head is None:
        return None
    found = dict(re.findall(r"^(license|license_name):\s*[\"']?([^\"'\n]+)", head[1], re.MULTILINE))
    name = found.get("license_name") or found.get("license")
    return one_line(name, 60) if name else None


def _licence(folder: Path) -> Sentence:
    name = licence(folder)
    if name is None:
        return Sentence("licence", "No model card here names a licence: look before you publish what you make.")
    if _BOUND.search(name):
        return Sentence("licence", f"{name}, by its card: not for every use, and so is what you make of it.", "warn")
    if _FREE.search(name):
        return Sentence("licence", f"{name}, by its card.", "good")
    return Sentence("licence", f"{name}, by its card: read its terms.")


def _quantised(config: Mapping[str, Any]) -> list[Sentence]:
    own = config.get("quantization_config")
    if not own:
        return []
    how = one_line(own.get("quant_method", "") if isinstance(own, Mapping) else "", 20)
    text = f"It is stored quantised already ({how or 'unknown how'}), which can't be trained further."
    return [Sentence("quantise", f"{text} Name the original model; qlora quantises it while loading.", "bad")]


def _misfits(folder: Path, config: Mapping[str, Any], tokenizer: Tokenizer | None, precision: str) -> list[Sentence]:
    """What is known to go wrong with models of such a configuration."""
    found = []
    kind = str(config.get("model_type") or "")
    text = config.get("text_config")
    inner = text if isinstance(text, Mapping) else config
    if isinstance(config.get("auto_map"), Mapping):
        why = "It brings program code of its own, which is never run here; transformers' own class is used instead."
        found.append(Sentence("misfit", why))
    if any(inner.get(name) for name in ("attn_logit_softcapping", "final_logit_softcapping")):
        why = "It caps its scores (softcap): rows are padded unless a test before training finds both the same."
        found.append(Sentence("misfit", why))
    if any(inner.get(name) for name in ("num_local_experts", "num_experts", "n_routed_experts")):
        why = "Its experts are fused: on them LoRA needs dropout: 0, and 4 bits leave them as they are."
        found.append(Sentence("misfit", why, "warn"))
    if kind in ("t5", "mt5", "umt5", "longt5") and precision in ("auto", "fp16"):
        found.append(Sentence("misfit", "T5 overflows in fp16: bf16 or fp32 is used, or ask for one."))
    if kind == "gpt2":
        found.append(Sentence("misfit", "Its layers are Conv1D: init: olora doesn't go with them."))
    if not any(folder.glob("*.safetensors")) and any(folder.glob("*.bin")):
        found.append(Sentence("misfit", "Its weights are a pickle, which may run code: they aren't read.", "bad"))
    if tokenizer is not None and tokenizer.pad_id is None and tokenizer.eos_id is None:
        found.append(Sentence("misfit", "It has neither padding nor end token: batches are filled with token 0."))
    return found


def looked_into(model: Any, task: str) -> list[Sentence]:
    """What MODEL (transformers', without weights) says of itself: heads for TASK, layout of batches, 4 bits, biases."""
    from ftstudio.engine.plan import nf4_bytes, quantised_layers
    from ftstudio.methods import anatomy

    found = _heads(model.config.to_dict(), task)
    if not getattr(model, "_supports_attention_backend", False):
        why = "Its attention can't be told where rows end: batches are padded, slower on rows of mixed lengths."
        found.append(Sentence("layout", why))
    try:
        layers = quantised_layers(model)
    except StudioError:
        return [
            *found,
            Sentence("quantise", "None of its layers can be stored in 4 bits: no qlora here.", "warn"),
        ]
    counts = {name: weight.numel() for name, weight in model.named_parameters()}
    small = sum(counts.get(name, 0) for name in layers)
    total = sum(counts.values())
    packed = sum(nf4_bytes(counts.get(name, 0), True) for name in layers) + 2 * (total - small)
    text = f"{100 * small / max(1, total):.0f} % of its weights can be stored in 4 bits: {size(packed)} instead of "
    found.append(Sentence("quantise", f"{text}{size(2 * total)} in bf16.", "good" if small > total / 2 else "note"))
    names = (name for name, _ in model.named_parameters())
    if not any(name.rpartition(".")[2] == "bias" for name in names):
        found.append(Sentence("misfit", "It has no biases: freeze with train: bias doesn't go."))
    if anatomy.tied(model):
        text = "Its head shares the embeddings' matrix: both learn, or neither; modules_to_save trains a copy of one."
        found.append(Sentence("misfit", text))
    return found
