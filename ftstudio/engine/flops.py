"""Model FLOPs utilisation (MFU): what a model's arithmetic needs, as a share of what the GPU could do.

Counted as in PaLM (Chowdhery et al. 2022, appendix B): the model's own multiplications and additions, recomputed
activations not. A weight that learns costs 6 a token (forward 2, gradient of the input 2, of the weight 2), a frozen
one 4; attention 6 · layers · heads · width of a head · tokens of the row, forward and back, of which a causal model
uses the half that this counts. The head runs at labels alone, and is counted so; of a mixture of experts those that a
token meets.
"""

from __future__ import annotations

from typing import Any

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


def per_token(model: Any, length: float, labels: float) -> float | None:
    """FLOPs of a training step a token, for rows of mean LENGTH tokens of which a share of LABELS is trained.

    None where MODEL's configuration doesn't tell its layers.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    try:
        config = inner.config.get_text_config()
        layers, width = config.num_hidden_layers, _attention_width(config)
    except AttributeError:
        return None
    embedding = inner.get_input_embeddings() if hasattr(inner, "get_input_embeddings") else None
    head = inner.get_output_embeddings() if hasattr(inner, "get_output_embeddings") else None
    apart = {id(part.weight) for part in (embedding, head) if part is not None}
    body = learning = 0.0
    met = _met(config)
    for name, weight in model.named_parameters():
        if id(weight) in apart or weight.dim() < 2:
            continue  # looked up, or added: next to nothing
        count = _count(weight) * (met if "experts" in name.split(".") else 1.0)
        body += count
        learning += count if weight.requires_grad else 0
    total = 4.0 * body + 2.0 * learning + 6.0 * layers * width * length
    if head is not None:
        total += labels * _count(head.weight) * (6.0 if head.weight.requires_grad else 4.0)
    return total


def _attention_width(config: Any) -> int:
    """Numbers that a token's queries have in all heads of a layer: not always the width of the model."""
    heads = getattr(config, "num_attention_heads", None)
    apart = getattr(config, "head_dim", None)
    return int(heads * apart) if heads and apart else int(config.hidden_size)


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
