"""How the demo's base model starts: its first two layers begin as an induction head, the circuit that copies.

A model that has read "Brevo kettle" once and meets "Bre" again should go on with "vo kettle". Transformers learn this
with two heads in a row (Olsson et al. 2022, "In-context Learning and Induction Heads"): the first tells every place
which token stood before it, the second looks for the place whose token before is the one just read, and says what
stands there. Found by chance that takes a tiny model tens of millions of tokens, hours on two CPU cores. Written into
the untrained weights it takes none: made-up words are copied before the first step, and training learns when to.

The residual stream's numbers are shared out: `n` for the token itself, `n` for the token before, the last one constant.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SIZE = 0.9  # length of a token's vector, and of its constant part
SHARP = 10.0  # by how much the logit of the place before exceeds those of its neighbours
MATCH = 20.0  # the logit of a place that matches fully
GAIN = 4.0  # how loud the copied token is beside the one just read
FAST = 6  # rotations a place is told by: the fastest ones
SLOW = 0.01  # radians a token: rotations slower than this leave content alone over a hundred tokens


def write_circuit(model: Any, seed: int) -> None:
    """Write an induction head into the untrained Llama MODEL: head 0 of layer 0 and head 0 of layer 1."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    width = model.config.hidden_size
    n = (width - 4) // 2
    with torch.no_grad():
        table = model.model.embed_tokens.weight
        table *= 0.1
        vectors = torch.randn(table.shape[0], n, generator=draw)
        table[:, :n] += SIZE * vectors / vectors.norm(dim=1, keepdim=True)
        table[:, width - 1] = SIZE
        _look_back(model, n)
        _look_up(model, n, draw)
        for index, layer in enumerate(model.model.layers):  # the rest starts quietly
            layer.mlp.down_proj.weight *= 0.3
            if index > 1:
                layer.self_attn.o_proj.weight *= 0.3
        model.model.norm.weight.fill_(1.5)


def _speeds(model: Any) -> torch.Tensor:
    """Radians a token by which each pair of a head's numbers is rotated (RoPE): [head size / 2]."""
    import torch

    half = model.config.head_dim // 2
    speeds: torch.Tensor = model.config.rope_parameters["rope_theta"] ** (-torch.arange(half) / half)
    return speeds


def _look_back(model: Any, n: int) -> None:
    """Layer 0: attend to the place before, and write down its token.

    Query and key come from the constant alone; the key is rotated one place ahead, so that they agree one place apart.
    """
    import torch

    attention = model.model.layers[0].self_attn
    size, speeds = model.config.head_dim, _speeds(model)
    fast = speeds[:FAST]
    constant = SIZE / (_root_mean_square(model, 2))
    loud = math.sqrt(SHARP * math.sqrt(size) / float((1 - torch.cos(fast)).sum())) / constant
    query, key = attention.q_proj.weight, attention.k_proj.weight
    query[:size] *= 0.1
    key[:size] *= 0.1
    query[:FAST, -1] = loud
    key[:FAST, -1] = loud * torch.cos(fast)
    key[size // 2 : size // 2 + FAST, -1] = loud * torch.sin(fast)
    _copy(attention, size, n, to=n, loud=_root_mean_square(model, 2))


def _look_up(model: Any, n: int, draw: torch.Generator) -> None:
    """Layer 1: attend to places whose token before is the one just read, and say their token.

    Tokens are compared in the numbers that are rotated too slowly to matter, after a random rotation of their own.
    """
    import torch

    attention = model.model.layers[1].self_attn
    size = model.config.head_dim
    slow = [i for i, speed in enumerate(_speeds(model).tolist()) if speed < SLOW]
    rows = slow + [size // 2 + i for i in slow]
    turn, _ = torch.linalg.qr(torch.randn(n, n, generator=draw))
    token = SIZE / _root_mean_square(model, 3)
    loud = math.sqrt(MATCH * math.sqrt(size) * n / len(rows)) / token
    query, key = attention.q_proj.weight, attention.k_proj.weight
    query[:size] *= 0.1
    key[:size] *= 0.1
    for row, direction in zip(rows, turn, strict=False):
        query[row, :n] += loud * direction
        key[row, n : 2 * n] += loud * direction
    _copy(attention, size, n, to=0, loud=GAIN * _root_mean_square(model, 3))


def _copy(attention: Any, size: int, n: int, *, to: int, loud: float) -> None:
    """Let head 0 of ATTENTION write the token it sees to the numbers from TO on."""
    attention.v_proj.weight[:size] = 0
    attention.o_proj.weight[:, :size] = 0
    for i in range(min(n, size)):
        attention.v_proj.weight[i, i] = 1.0
        attention.o_proj.weight[to + i, i] = loud


def _root_mean_square(model: Any, parts: int) -> float:
    """Of a place's numbers that consist of PARTS vectors of length `SIZE`: what RMSNorm divides by."""
    return math.sqrt(parts * SIZE**2 / model.config.hidden_size)
