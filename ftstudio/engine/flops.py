"""Model FLOPs utilisation (MFU): what a model's arithmetic needs, as a share of what the GPU could do.

Counted as in PaLM (Chowdhery et al. 2022, section 4.1 and appendix B): the observed throughput in tokens a second,
against that of a system at its peak which does no more than forward and backward passes require. So activations that
are computed again don't count, and neither does padding: the throughput is one of the rows' tokens (`Meter`), and what
kernels do for padding beside them is required by nothing. A weight that learns costs 6 a token (forward 2, gradient of
the input 2, of the weight 2), a frozen one 4, and below the lowest that learns 2: nothing is computed there on the way
back. Attention costs in each layer 2 · heads · width of a head · tokens of the row forward and as much twice on the way
back, of which a causal model uses the half that this counts; one that looks both ways costs twice that. The head runs
at labels alone, and is counted so; of a mixture of experts those that a token meets. An encoder's weights meet the
source's tokens, a decoder's the target's. The tokens of a soft prompt go through the layers with each row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from ftstudio.engine.loss import soft_prompt
from ftstudio.methods import anatomy

# Dense (not sparse) TFLOP/s of the tensor cores in bf16, or fp16 where a card has no bf16, by the makers' data sheets.
# The first name that is part of the card's name counts.
PEAKS = (
    ("B200", 2250.0), ("H200", 989.0), ("H100 PCIe", 756.0), ("H100 NVL", 835.0), ("H100", 989.0), ("H800", 989.0),
    ("GH200", 989.0), ("A100", 312.0), ("A800", 312.0), ("L40S", 362.0), ("L40", 181.0), ("L4", 121.0),
    ("RTX 6000 Ada", 364.0), ("RTX A6000", 155.0), ("A40", 150.0), ("A30", 165.0), ("A10G", 70.0), ("A10", 125.0),
    ("RTX 5090", 209.0), ("RTX 4090", 165.0), ("RTX 3090", 71.0), ("V100", 125.0), ("T4", 65.0),
)  # fmt: skip


def peak(card: str, precision: str) -> float | None:
    """FLOP/s of the CARD in PRECISION; None where it isn't known (fp32 has no one figure: TF32 may be on or off)."""
    if precision == "fp32":
        return None
    words = f" {card} ".replace("-", " ")
    return next((value * 1e12 for name, value in PEAKS if f" {name} " in words), None)


def context(lengths: Sequence[int]) -> float:
    """Tokens of the row that a token stands in, the mean over all tokens of rows of LENGTHS: long rows have most."""
    return sum(length * length for length in lengths) / max(1, sum(lengths))


def per_token(model: Any, length: float, labels: float, context: float | None = None) -> float | None:
    """FLOPs of a training step a token, for rows of mean LENGTH tokens of which a share of LABELS is trained; of an
    encoder-decoder that writes these are the target's tokens, the others the source's. Attention goes by CONTEXT (see
    the function), LENGTH where all rows are alike.

    None where MODEL's configuration doesn't tell its layers.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    try:
        config = inner.config.get_text_config()
        layers, width = config.num_hidden_layers, _attention_width(config)
    except AttributeError:
        return None
    embedding, head = anatomy.input_embeddings(inner), anatomy.output_embeddings(inner)
    apart = {id(part.weight) for part in (embedding, head) if part is not None}
    apart |= {id(part.weight) for part in model.modules() if isinstance(part, torch.nn.Embedding)}
    virtual, soft = _soft_tokens(model)
    two = bool(getattr(config, "is_encoder_decoder", False)) and head is not None
    context = context or length

    def shares(length: float) -> tuple[float, float]:
        """What is read and what is written, as shares of a row of LENGTH tokens."""
        return ((1 - labels) + soft / length, labels) if two else (1 + soft / length, 1 + soft / length)

    reads, writes = shares(length)
    stacks = anatomy.stacks(inner)
    backward = _Backward(model, stacks)
    met, total = _met(config), 0.0
    for name, weight in model.named_parameters():
        back = backward.through(name, weight)
        if id(weight) in apart or weight.dim() < 2:
            continue  # looked up, or added: next to nothing
        count = _count(weight) * (met if "experts" in name.split(".") else 1.0)
        tokens = writes if _in_decoder(name) and not _CROSS.search(name) else reads
        if "prompt_encoder" in name.split("."):
            tokens = virtual / length
        total += tokens * count * (2.0 + 2.0 * back + 2.0 * weight.requires_grad)
    reads, writes = shares(context)
    both = bool(getattr(config, "is_encoder_decoder", False)) or _looks_both_ways(config)
    for stack in stacks:
        if stack.side != "language":
            continue
        for layer in range(len(stack.layers)):
            # scores of each pair of tokens, and what they weigh: of an encoder-decoder's row pairs within the source,
            # within the target, and across
            if _in_decoder(f"{stack.name}."):
                pairs = writes * writes + (2 * reads * writes if both else 0)
            else:
                pairs = reads * reads * (2 if both else 1)
            total += 2.0 * width * context * pairs * (3 if (stack.name, layer) in backward.layers else 1)
    if not any(stack.side == "language" for stack in stacks):
        total += (6.0 if backward.learnt else 2.0) * layers * width * context
    if head is not None:
        total += labels * _count(head.weight) * (2.0 + 2.0 * backward.learnt + 2.0 * head.weight.requires_grad)
    return total


class _Backward:
    """Where gradients flow on the way back through MODEL, asked weight by weight in the order in which models name
    them, that of the forward pass. `layers`: those that they flow through. `learnt`: whether anything before learns."""

    def __init__(self, model: Any, stacks: Sequence[Any]) -> None:
        self.learnt = soft_prompt(model) != ""
        self.layers: set[tuple[str, int]] = set()
        self._of, self._learning = {}, set()
        self._seen = False  # whether eyes or ears learn
        for stack in stacks:
            for number, layer in enumerate(stack.layers):
                for weight in layer.parameters():
                    self._of[id(weight)] = (stack.name, number)
                    if weight.requires_grad:
                        self._learning.add((stack.name, number))

    def through(self, name: str, weight: Any) -> bool:
        """Whether gradients flow through the WEIGHT called NAME."""
        layer = self._of.get(id(weight))
        learns = weight.requires_grad if layer is None else layer in self._learning
        if anatomy.side(name) == "vision":  # before all language, wherever it is named
            self._seen = self._seen or learns
            found = self._seen
        else:
            found = self.learnt or learns
        self.learnt = self.learnt or learns
        if found and layer is not None:
            self.layers.add(layer)
        return bool(found)


_CROSS = re.compile(r"(EncDecAttention|encoder_attn|crossattention)\b.*\.(k|v|k_proj|v_proj|key|value)\.")
"""Keys and values of the source that a decoder asks."""


def _in_decoder(name: str) -> bool:
    return "decoder" in name.split(".")


def _looks_both_ways(config: Any) -> bool:
    """Whether a model of CONFIG is one that fills in masks, where it is no decoder."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as masked

    return getattr(config, "model_type", "") in masked and not getattr(config, "is_decoder", False)


def _soft_tokens(model: Any) -> tuple[int, int]:
    """(tokens of MODEL's soft prompt, those of them that go through the layers with each row)."""
    where = soft_prompt(model)
    count = int(getattr(model, "module", model).active_peft_config.num_virtual_tokens) if where else 0
    return count, count if where == "inside" else 0


def _attention_width(config: Any) -> float:
    """Numbers of a token in all heads of a layer, queries' and values' in the mean: not always the model's width."""
    key, value = anatomy.head_widths(config)
    return int(config.num_attention_heads) * (key + value) / 2


def _met(config: Any) -> float:
    """The share of a layer's routed experts that a token goes through."""
    chosen = getattr(config, "num_experts_per_tok", None)
    there = next(
        (n for name in ("num_local_experts", "num_experts", "n_routed_experts") if (n := getattr(config, name, None))),
        None,
    )
    return min(1.0, chosen / there) if chosen and there else 1.0


def _count(weight: Any) -> int:
    shape = getattr(getattr(weight, "quant_state", None), "shape", None)
    return int(shape.numel() if shape is not None else weight.numel())
