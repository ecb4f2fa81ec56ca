"""The fields of the wizard: what each is called, what it is for in plain words, what counts when it is left empty."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from ftstudio import methods, tasks
from ftstudio.methods import architecture
from ftstudio.ui.common.fields import Spec

CHANGES = {change.key: change for change in architecture.CHANGES}
YES_NO = ((None, "default"), (True, "yes"), (False, "no"))

EVAL = Spec(
    "data.eval",
    "held out",
    "Rows kept away from training, to see whether the model really got better: a share such as "
    "0.1, a file of their own, or none. Rows that share a prompt stay on one side. Keep some: without them there is "
    "nothing to compare.",
    "float",
    default="0.1",
)
TEMPLATE = Spec(
    "data.template",
    "template",
    "How prompt and completion are put together for the model. chat: the model's own chat "
    "format; alpaca: instruction and response under headings; plain: one after the other. By the data: chosen by the "
    "columns and the model.",
    "choice",
    ((None, "by the data"), ("chat", "chat"), ("alpaca", "alpaca"), ("plain", "plain")),
)

LENGTH = (
    Spec(
        "training.epochs",
        "epochs",
        "How often every row is seen. An epoch is one pass over the training rows. 1 to 3 "
        "for thousands of rows, more for a few hundred; too many and the model learns the rows by heart.",
        "float",
        default="3",
    ),
    Spec(
        "training.steps",
        "or steps",
        "Instead of epochs: how many times the weights are updated.",
        "int",
        default="by the epochs",
    ),
    Spec(
        "training.learning_rate",
        "learning rate",
        "How far one update goes, at its highest. Too high and the loss "
        "jumps or explodes, too low and nothing is learnt. The default suits the method: 2e-4 for lora and qlora, 2e-5 "
        "for full, more for very few weights.",
        "float",
        default="by the method",
    ),
    Spec(
        "training.scheduler",
        "its course",
        "How the learning rate goes after the warm-up: down along a cosine, down in a line, or not at all.",
        "choice",
        ((None, "default: cosine"), ("cosine", "cosine"), ("linear", "linear"), ("constant", "constant")),
    ),
)
BATCH = (
    Spec(
        "training.batch_size",
        "batch size",
        "Rows that go through the model at once. More is faster and takes more memory.",
        "int",
        default="8",
    ),
    Spec(
        "training.batch_tokens",
        "or tokens",
        "Instead of rows: as many rows of like length as so many tokens hold, such as 8192. Batches then take as much "
        "memory and time each, whatever the rows' lengths.",
        "int",
        default="by the batch size",
    ),
    Spec(
        "training.gradient_accumulation",
        "accumulate",
        "How many batches make one update: the same effect as bigger batches, without their memory.",
        "int",
        default="1",
    ),
    Spec(
        "data.max_length",
        "max length",
        "Tokens a row may have; what is longer is cut at the end, counted and shown. "
        "The Data screen (1, then h) shows what a limit costs.",
        "int",
        default="1024, or what the model can",
    ),
)
JUDGING = (
    Spec("evaluation.every", "evaluate every", "Steps between two looks at the held-out rows.", "int", default="50"),
    Spec(
        "evaluation.samples",
        "samples",
        "Held-out prompts that are answered at every evaluation, so that you can watch the answers change.",
        "int",
        default="4",
    ),
    Spec(
        "evaluation.rows",
        "rows compared",
        "Held-out rows that base and tuned model answer on the screens Errors and "
        "Compare, at most. More is slower and tells smaller differences apart.",
        "int",
        default="200",
    ),
)
MORE = (
    Spec("name", "name", "How runs of this recipe are called.", default="data and method"),
    Spec(
        "training.warmup",
        "warm-up",
        "Share of the steps (below 1), or number of steps, in which the learning rate rises from zero.",
        "float",
        default="0.03",
    ),
    Spec(
        "training.precision",
        "precision",
        "Arithmetic: bf16 takes half the memory of fp32. auto: bf16 on a GPU that has it.",
        "choice",
        ((None, "default: auto"), ("fp32", "fp32"), ("bf16", "bf16"), ("fp16", "fp16")),
    ),
    Spec(
        "training.device",
        "device",
        "Where to train. auto: the GPU where there is one.",
        "choice",
        ((None, "default: auto"), ("cpu", "cpu"), ("cuda", "cuda")),
    ),
    Spec(
        "training.optimizer",
        "optimiser",
        "What turns gradients into updates. The 8-bit kinds take a quarter of AdamW's memory.",
        "choice",
        ((None, "default: adamw"), ("adamw_8bit", "adamw_8bit"), ("paged_adamw_8bit", "paged")),
    ),
    Spec(
        "training.gradient_checkpointing",
        "checkpointing",
        "Recompute instead of remember: much less memory, about 30 % slower. By itself: where memory asks for it.",
        "choice",
        ((None, "by itself"), (True, "yes"), (False, "no")),
    ),
    Spec(
        "training.attention",
        "attention",
        "How attention is computed while training. auto: the fastest kind that says the same on two of your rows.",
        "choice",
        (
            (None, "default: auto"),
            ("sdpa", "sdpa"),
            ("eager", "eager"),
            ("flash_attention_2", "flash 2"),
            ("flash_attention_3", "flash 3"),
        ),
    ),
    Spec(
        "training.compile",
        "compile",
        "Let torch.compile make the layers faster: takes minutes at the start, worth it for hours on a GPU.",
        "choice",
        YES_NO,
    ),
    Spec(
        "training.shard",
        "weights in parts",
        "With several GPUs: each holds a part of weights, gradients and optimiser (FSDP): less memory, slower steps.",
        "choice",
        YES_NO,
    ),
    Spec(
        "training.weight_decay",
        "weight decay",
        "Pulls weights towards zero a little with every update.",
        "float",
        default="0",
    ),
    Spec(
        "training.max_grad_norm",
        "clip at",
        "Gradients longer than this are shortened, so that one odd batch can't ruin the model.",
        "float",
        default="1",
    ),
    Spec(
        "training.save_steps",
        "save every",
        "Steps between checkpoints: what is lost at most when the machine dies.",
        "int",
        default="200",
    ),
    Spec(
        "training.save_best",
        "save the best",
        "A checkpoint where the held-out loss is the lowest so far, too, as long as that costs little time.",
        "choice",
        ((None, "default: yes"), (True, "yes"), (False, "no")),
    ),
    Spec(
        "training.keep_checkpoints",
        "keep",
        "How many of the last checkpoints stay; the best one does too.",
        "int",
        default="2",
    ),
    Spec(
        "training.seed",
        "seed",
        "Decides weights, order, dropout and, without data.seed, the split: the same seed gives the same run.",
        "int",
        default="0",
    ),
    Spec("data.limit", "first rows only", "Train on the first N rows only: for a quick try.", "int", default="all"),
    Spec(
        "evaluation.metrics",
        "metrics",
        "How answers are scored against references: rouge (shared words), similarity (meaning), bleu, exact.",
        "list",
        default="rouge, similarity",
    ),
    Spec(
        "evaluation.similarity",
        "similarity by",
        "auto, minilm, static, or a sentence-transformers folder or hub id.",
        default="auto",
    ),
    Spec(
        "evaluation.max_new_tokens",
        "answer length",
        "Tokens an answer may have.",
        "int",
        default="twice the longest reference",
    ),
    Spec(
        "evaluation.temperature",
        "temperature",
        "0: always the likeliest token, the same answer every time.",
        "float",
        default="0",
    ),
    Spec(
        "evaluation.forgetting",
        "forgetting",
        "Measure on general text whether the model unlearns what it knew.",
        "choice",
        YES_NO,
    ),
)

ARCHITECTURE = (
    Spec(
        "architecture.new_tokens",
        "new tokens",
        CHANGES["new_tokens"].help,
        "list",
        default="none",
    ),
    Spec(
        "architecture.new_tokens_begin",
        "they begin as",
        "pieces: the mean of what the tokenizer cut them into so far; mean: that of all rows.",
        "choice",
        ((None, "default: pieces"), ("mean", "mean")),
    ),
    Spec(
        "architecture.drop_layers",
        "without layers",
        f"Numbers from 0 such as 4-7 or 3, 5; last 2; every 2. {CHANGES['drop_layers'].help}",
        default="none",
    ),
    Spec(
        "architecture.drop_encoder_layers",
        "of the encoder",
        "The same for the encoder of an encoder-decoder (T5, BART, Marian).",
        default="none",
    ),
    Spec(
        "architecture.new_head", "new head", CHANGES["new_head"].help, "choice", ((None, "default: no"), (True, "yes"))
    ),
)

GROUPS = (("How long and how fast", LENGTH), ("How much at once", BATCH), ("How it is judged", JUDGING))
PLAIN = {
    "r": ("rank", "How much the adapter can learn, and how big it gets: 8 for a style, 16 to 64 for a new skill."),
    "alpha": (
        "alpha",
        "How strongly the adapter speaks: its update is scaled by alpha / rank. Twice the rank is usual.",
    ),
    "dropout": (
        "dropout",
        "Share of the adapter's inputs dropped while training, against learning by heart. 0 for much data.",
    ),
    "targets": (
        "layers",
        "Which layers get an adapter: all-linear (best), attention, or names such as q_proj, v_proj.",
    ),
    "rslora": ("rsLoRA", "Scale by alpha / √rank instead: for ranks of 64 and more."),
    "dora": ("DoRA", "Learn direction and size of each weight apart: often a little better, slower."),
    "part": ("part", "Of a model with eyes or ears: train its language side, its vision side, or both."),
    "modules_to_save": (
        "whole modules",
        "Modules that learn whole and are saved with it: embed_tokens, lm_head.",
    ),
    "init": ("begin", "default changes nothing at first; pissa and olora begin from the base's strongest directions."),
    "lora_plus": ("LoRA+", "Let the second matrix learn this many times faster; 16 is usual. Empty: the same."),
    "kind": ("kind", ""),
    "reduction": ("reduction", "The bottleneck's width is the layer's divided by this: 16 is usual, less learns more."),
    "train": ("what learns", ""),
    "layers": ("how many", ""),
    "quantisation": ("4-bit type", "How the base weights are squeezed into 4 bits; nf4 suits nearly all models."),
    "double_quantisation": ("squeeze twice", "Squeeze the scales too: saves 0.4 bits a weight."),
}
FIRST = ("r", "alpha", "dropout", "targets")


def method_specs(name: str) -> list[Spec]:
    """The settings of method NAME as fields, made from its own model, so that none is forgotten."""
    if name not in methods.names():
        return []
    return [_spec(key, info) for key, info in methods.get(name).model.model_fields.items()]


def task_specs(name: str) -> list[Spec]:
    """The options of task NAME as fields, made from its own model."""
    if name not in tasks.names():
        return []
    return [_spec(key, info, "options") for key, info in tasks.get(name).options_model.model_fields.items()]


def _spec(key: str, info: Any, section: str = "method") -> Spec:
    label, text = PLAIN.get(key, (key.replace("_", " "), ""))
    described = str(info.description or "")
    text = text or described[:1].upper() + described[1:] + "."  # a key that means another thing in each method
    default = "" if info.default in (None, PydanticUndefined) else info.default
    kinds = _kinds(info.annotation)
    advanced = key not in FIRST
    words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    options: tuple[tuple[Any, str], ...]
    if bool in kinds:
        options = ((None, f"default: {'yes' if default else 'no'}"), (True, "yes"), (False, "no"))
        return Spec(f"{section}.{key}", label, text, "choice", options, advanced=advanced)
    if words and len(kinds) == 1:
        options = ((None, f"default: {default}"), *((word, word) for word in words if word != default))
        return Spec(f"{section}.{key}", label, text, "choice", options, advanced=advanced)
    kind = "int" if int in kinds else "float" if float in kinds else "text" if str in kinds else "list"
    return Spec(f"{section}.{key}", label, text, kind, default=_word(default), advanced=advanced)


def _word(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kinds(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return [kind for part in get_args(annotation) for kind in _kinds(part)]
    return [annotation]


def settings_model(name: str) -> type[BaseModel] | None:
    """The settings model of method NAME."""
    return methods.get(name).model if name in methods.names() else None
