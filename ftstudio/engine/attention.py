"""Attention over rows that lie one after another, without padding: no row sees another.

Registered with transformers under names of our own, so that calls stay `model(**inputs)`. Where a batch doesn't say
where its rows begin (generation, padded batches) these do the very same as transformers' `sdpa`, masks included.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from itertools import accumulate, pairwise
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

SHORT = 256  # tokens of a row up to which whole matrices in bf16 are faster on the CPU than torch's flash kernel
SEGMENTS, VARLEN = "ftstudio_segments", "ftstudio_varlen"
FLASH, FLASH3 = "flash_attention_2", "flash_attention_3"
NAMES = {
    SEGMENTS: "SDPA row by row",
    VARLEN: "torch's variable-length attention",
    FLASH: "FlashAttention 2",
    FLASH3: "FlashAttention 3",
}
# What a tensor of the rows' ends carries as a list: to read it from a GPU, each layer would wait for all before it.
# With the tensor it reaches a layer that is computed again on the way back, too.
ENDS = "ftstudio_ends"
_bare: ContextVar[bool] = ContextVar("rows lie one after another", default=False)


class Unsupported(ValueError):
    """The model's attention needs something that these functions don't compute."""


def kernels(device: str, dtype: torch.dtype, wanted: str = "auto") -> list[str]:
    """What can compute this attention on DEVICE in DTYPE, the fastest first; the last of them works everywhere.

    WANTED is the recipe's `training.attention`: anything but auto leaves one.
    """
    if wanted != "auto":
        return {"sdpa": [SEGMENTS], "eager": []}.get(wanted, [wanted])
    found = [SEGMENTS]
    if device == "cuda" and dtype in (torch.bfloat16, torch.float16):
        from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

        if _varlen() is not None:
            found.insert(0, VARLEN)
        if is_flash_attn_2_available():
            found.insert(0, FLASH)
        if is_flash_attn_3_available():
            found.insert(0, FLASH3)
    return found


def padding_free(architecture: Any, device: str, dtype: torch.dtype, wanted: str = "auto") -> bool:
    """Whether rows of ARCHITECTURE, a model or its class, lie one after another on DEVICE in DTYPE, as far as it tells
    by itself: before training it is tried (`levers.choose`). WANTED as in `kernels`."""
    if not getattr(architecture, "_supports_attention_backend", False):
        return False
    if getattr(architecture, "_is_stateful", False):  # what a row leaves in it, the next one finds
        return False
    names = kernels(device, dtype, wanted)
    if getattr(architecture, "_supports_sdpa", True):
        return bool(names)
    # its scores are capped, or have sinks: of all these flash kernels alone know them
    own = getattr(architecture, "_compatible_flash_implementations", None)
    return any(name in (FLASH, FLASH3) and (own is None or name in own) for name in names)


def _varlen() -> Any:
    """torch's own function, there from 2.11 on; None where it is missing."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


@functools.lru_cache(maxsize=8)
def _groups(function: Any, device: torch.device) -> bool:
    """Whether FUNCTION, torch's, lets several queries share keys and values on DEVICE: from 2.12 on, not by cuDNN."""
    return "enable_gqa" in inspect.signature(function).parameters and not _by_cudnn(function, device)


def _by_cudnn(function: Any, device: torch.device) -> bool:
    asks = getattr(sys.modules.get(function.__module__), "_should_use_cudnn", None)
    return asks is not None and device.type == "cuda" and bool(asks(device.index))


def implementation(model: Any) -> str:
    """How MODEL (peft's wrapper or not) attends now, as transformers names it."""
    return str(_inner(model).config._attn_implementation)


def use(model: Any, name: str) -> None:
    """Let MODEL (peft's wrapper or not) attend by the function called NAME. Raises ValueError, ImportError."""
    if name in (SEGMENTS, VARLEN) and name not in AttentionInterface().valid_keys():
        register()
    inner = _inner(model)
    before = inner.config._attn_implementation
    own = getattr(inner, "_compatible_flash_implementations", None)
    if name in (FLASH, FLASH3) and own is not None and name not in own:
        # transformers would fetch the model's own kernel from the hub instead: GptOss, GraniteSWA, Flint
        raise Unsupported(f"of flash kernels it takes only its own ({own[0]}), and code from the hub is never run here")
    if before != name:
        inner.set_attn_implementation(name)
        if not hasattr(inner, "ftstudio_attended"):
            inner.ftstudio_attended = before  # as it was loaded


def release(model: Any) -> None:
    """Let MODEL attend as it did when it was loaded."""
    use(model, getattr(_inner(model), "ftstudio_attended", implementation(model)))


def _inner(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextlib.contextmanager
def plain(model: Any) -> Iterator[None]:
    """MODEL attends as it was loaded inside: for generation and padded batches."""
    before = implementation(model)
    release(model)
    try:
        yield
    finally:
        use(model, before)


def know_ends(starts: torch.Tensor, lengths: Sequence[int]) -> None:
    """Let attention know without asking the device what STARTS [rows + 1] holds: rows of LENGTHS."""
    setattr(starts, ENDS, [0, *accumulate(lengths)])


@contextlib.contextmanager
def without_padding() -> Iterator[None]:
    """A forward pass inside has rows one after another: no mask is made, the attention function knows the rows."""
    token = _bare.set(True)
    try:
        yield
    finally:
        _bare.reset(token)


def by_segments(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    sliding_window: int | None = None,
    **named: Any,
) -> tuple[torch.Tensor, None]:
    """Causal SDPA over each row by itself. QUERY [1, heads, tokens, width]; result [1, tokens, heads, width].

    `cu_seq_lens_q` [rows + 1]: where each row begins, and the end. Raises Unsupported.
    """
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(  # type: ignore[return-value]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **named
        )
    _check(module, attention_mask, named)
    parts = []
    whole = query.device.type == "cpu" and query.dtype == torch.bfloat16 and not dropout
    groups = query.shape[1] // key.shape[1]
    for start, stop in pairwise(getattr(cu_seq_lens_q, ENDS, None) or cu_seq_lens_q.tolist()):
        mask = _window(stop - start, sliding_window, query.device)
        rows = tuple(states[:, :, start:stop] for states in (query, key, value))
        if whole and mask is None and stop - start <= SHORT and key.dtype == value.dtype == query.dtype:
            scale = scaling if scaling is not None else query.shape[-1] ** -0.5
            out = _Short.apply(rows[0], *(states.repeat_interleave(groups, 1) for states in rows[1:]), scale)
            parts.append(out.transpose(1, 2))
        else:
            parts.append(sdpa_attention_forward(module, *rows, mask, dropout=dropout, scaling=scaling)[0])
    return torch.cat(parts, 1), None


class _Short(torch.autograd.Function):
    """Causal attention over one short row with whole matrices, [1, heads, tokens, width] of all three.

    Scores and their softmax are in 32 bits, as in torch's flash kernel, whose way back is slow on the CPU in bf16.
    """

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
        """See torch.autograd.Function."""
        scores = torch.matmul(query.float() * scale, key.float().transpose(-1, -2))
        length = query.shape[2]
        scores.masked_fill_(torch.ones(length, length, dtype=torch.bool).triu_(1), float("-inf"))
        shares = scores.softmax(-1).to(value.dtype)
        ctx.save_for_backward(query, key, value, shares)
        ctx.scale = scale
        return torch.matmul(shares, value)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        """See torch.autograd.Function."""
        query, key, value, shares = ctx.saved_tensors
        slope = torch.matmul(gradients[0], value.transpose(-1, -2))
        inner = torch._softmax_backward_data(slope, shares, -1, shares.dtype).mul_(ctx.scale)
        sloped = torch.matmul(inner, key), torch.matmul(inner.transpose(-1, -2), query)
        return *sloped, torch.matmul(shares.transpose(-1, -2), gradients[0]), None


def _window(length: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Which earlier tokens a token sees, itself included: [1, 1, length, length]; None where it sees all of them."""
    if window is None or length <= window:
        return None
    place = torch.arange(length, device=device)
    back = place[:, None] - place[None]
    return ((back >= 0) & (back < window))[None, None]


def by_varlen(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    sliding_window: int | None = None,
    max_length_q: int = 0,
    **named: Any,
) -> tuple[torch.Tensor, None]:
    """The same by torch's variable-length kernel (CUDA, half precision, no dropout of attention). Raises Unsupported.

    Where it takes no grouped queries (older ones, and cuDNN's) keys and values are repeated for them.
    """
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(  # type: ignore[return-value]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **named
        )
    _check(module, attention_mask, named)
    if dropout:
        raise Unsupported("torch's variable-length attention has no dropout")
    function = _varlen()
    groups = query.shape[1] // key.shape[1]
    more: dict[str, Any] = {}
    if groups > 1 and _groups(function, query.device):
        more["enable_gqa"] = True
    elif groups > 1:
        key, value = (states.repeat_interleave(groups, 1) for states in (key, value))
    flat = (states[0].transpose(0, 1).to(value.dtype).contiguous() for states in (query, key, value))
    back = -1 if sliding_window is None else sliding_window - 1
    out = function(
        *flat, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q, scale=scaling, window_size=(back, 0), **more
    )
    return out[None], None


def _check(module: torch.nn.Module, mask: torch.Tensor | None, named: dict[str, Any]) -> None:
    """Refuse whatever would be left out silently."""
    for name, what in (("softcap", "soft-capped scores"), ("s_aux", "attention sinks"), ("position_bias", "a bias")):
        if named.get(name) is not None:
            raise Unsupported(f"its attention has {what}")
    if mask is not None:
        raise Unsupported("it makes an attention mask of its own")
    causal = named.get("is_causal")
    if not (getattr(module, "is_causal", True) if causal is None else causal):
        raise Unsupported("its attention is not causal")


def _mask(*values: Any, **named: Any) -> Any:
    """SDPA's mask, but none for rows that lie one after another."""
    return None if _bare.get() else ALL_MASK_ATTENTION_FUNCTIONS["sdpa"](*values, **named)


def register(*, compiled: bool = False) -> None:
    """Make the functions known to transformers; COMPILED: by layers that are compiled, which leave the loop over rows
    as it is."""
    rows = torch.compiler.disable(by_segments) if compiled else by_segments
    for name, function in ((SEGMENTS, rows), (VARLEN, by_varlen)):
        AttentionInterface.register(name, function)
        AttentionMaskInterface.register(name, _mask)
