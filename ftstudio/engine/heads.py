"""Which class of transformers a task's head asks for, and which weights of a loaded model are that head's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftstudio.tasks.base import Head, Kind

if TYPE_CHECKING:
    from torch import nn

AUTO: dict[Kind, str] = {
    "causal-lm": "AutoModelForCausalLM",
    "masked-lm": "AutoModelForMaskedLM",
    "seq2seq-lm": "AutoModelForSeq2SeqLM",
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "encoder": "AutoModel",
    "image-text-to-text": "AutoModelForImageTextToText",
}
NAMES: dict[Kind, str] = {
    "causal-lm": "causal language model",
    "masked-lm": "masked language model",
    "seq2seq-lm": "encoder-decoder",
    "sequence-classification": "text classifier",
    "token-classification": "token classifier",
    "encoder": "text encoder",
    "image-text-to-text": "vision-language model",
}
NEW: frozenset[Kind] = frozenset({"sequence-classification", "token-classification"})
"""Kinds whose head is made for the data's labels: it may be new, and always learns."""


def named(kind: Kind) -> str:
    """What a model of KIND is called, with its article."""
    name = NAMES[kind]
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def auto_class(kind: Kind) -> Any:
    """transformers' class that loads a model of KIND."""
    import transformers

    return getattr(transformers, AUTO[kind])


def configured(config: Any, head: Head) -> Any:
    """CONFIG with what HEAD asks for: label names and kind of problem."""
    if head.kind in NEW:
        config.id2label = dict(enumerate(head.labels))
        config.label2id = {name: place for place, name in enumerate(head.labels)}
        if head.problem:
            config.problem_type = head.problem
    return config


def new_modules(model: Any) -> list[str]:
    """Names of the modules in the head for hidden tokens that MODEL's files don't hold: they learn whole, whatever the
    method. The layer that scores the vocabulary isn't among them: it is the embeddings'."""
    body, last = f"{getattr(model, 'base_model_prefix', '')}.", model.get_output_embeddings()
    modules = dict(model.named_modules())
    names = dict.fromkeys(name.rpartition(".")[0] for name in model.ftstudio_missing if not name.startswith(body))
    return [
        name for name in names if name in modules and modules[name] is not last and not list(modules[name].children())
    ]


def faulty(missing: list[str], model: nn.Module, kind: Kind) -> list[str]:
    """Those of the MISSING weights that no training would make up for: all but those of a head that is new, and of a
    pooler inside the body that only that head reads."""
    if kind == "encoder":
        return [name for name in missing if not name.startswith("pooler.")]
    if kind not in NEW and kind != "masked-lm":
        return missing
    pooler = f"{getattr(model, 'base_model_prefix', '')}.pooler."
    return [name for name in of_body(missing, model) if not name.startswith(pooler)]


def of_body(names: list[str], model: nn.Module) -> list[str]:
    """Those of the weights NAMES that aren't in MODEL's head."""
    body = f"{getattr(model, 'base_model_prefix', '')}."
    return [name for name in names if name.startswith(body)]
