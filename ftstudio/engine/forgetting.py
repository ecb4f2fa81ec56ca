"""Forgetting: how many bits a byte the model needs for general text, before and after.

The unit doesn't depend on the tokenizer, so models can be set side by side: the negative log-likelihood of all tokens,
in bits, over the UTF-8 bytes of the text (The Pile, Gao et al. 2020, section 3.1). Every token is scored once; windows
overlap, so that each has a good part of the context length before it (as in transformers' guide "Perplexity of
fixed-length models").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core.errors import Stopped
from ftstudio.engine import loading
from ftstudio.engine.trouble import out_of_memory

if TYPE_CHECKING:
    from ftstudio.data.tokenizer import Tokenizer

WINDOW = 1024  # tokens a forward pass sees at most, where the model's context isn't shorter
LONGEST = 128 << 10  # bytes of the text that are used: enough for the third decimal, seconds on a CPU
# tokens and logits of a forward pass: more makes a CPU slower (its caches) and a GPU faster, until memory ends
TOKENS = 16384
LOGITS = {"cpu": 1 << 22, "cuda": 1 << 28}


@dataclass(frozen=True)
class Bits:
    """What a text costs: `nats` over `tokens` scored tokens of `bytes` bytes."""

    nats: float
    tokens: int
    bytes: int

    @property
    def per_byte(self) -> float:
        """Bits a byte."""
        return self.nats / (self.bytes * math.log(2))


def documents(path: Path | str) -> list[str]:
    """The documents of the text file PATH, parted by blank lines, from the beginning up to LONGEST bytes."""
    found: list[str] = []
    size = 0
    for part in Path(path).read_text("utf-8").split("\n\n"):
        text = part.strip("\n")
        if not text.strip():
            continue
        size += len(text.encode())
        if found and size > LONGEST:
            break
        found.append(text)
    return found


def windows(ids: Sequence[int], length: int, stride: int) -> Iterator[tuple[Sequence[int], int]]:
    """IDS in overlapping windows of LENGTH: (ids, place of the first token scored there), every token but the first
    scored exactly once, each later window with STRIDE new tokens."""
    if not 0 < stride < length:
        raise ValueError(f"a stride of {stride} with windows of {length}")
    scored = 1
    end = min(length, len(ids))
    while scored < len(ids):
        start = max(0, end - length)
        yield ids[start:end], scored - start
        scored = end
        end = min(end + stride, len(ids))


def bits_per_byte(
    model: Any,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    window: int = WINDOW,
    should_stop: Callable[[], bool] | None = None,
) -> Bits:
    """What MODEL needs for TEXTS, each a document of its own.

    The tokenizer's begin token (else its end token) is the context of a document's first token; with neither, that
    token can't be scored and its bytes aren't counted. WINDOW in tokens. Passes that memory won't hold are halved.
    Raises Stopped when SHOULD_STOP says so.
    """
    from ftstudio.engine.generation import ready

    window = min(window, context_length(model) or window)
    pieces: list[tuple[Sequence[int], int]] = []
    size = 0
    begin = tokenizer.prefix or tuple(token for token in (tokenizer.bos_id, tokenizer.eos_id) if token is not None)[:1]
    for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
        size += len(text.encode())
        if not begin and ids:
            size -= len(tokenizer.decode(ids[:1]).encode())
        pieces += windows([*begin, *ids], window, max(1, window // 2))
    pieces.sort(key=lambda piece: len(piece[0]))
    vocabulary = int(getattr(model.config.get_text_config(), "vocab_size", 32_000))
    device = next(model.parameters()).device.type
    room = max(window, min(TOKENS, LOGITS.get(device, LOGITS["cpu"]) // vocabulary))
    nats, tokens, place = 0.0, 0, 0
    with ready(model):
        while place < len(pieces):
            if should_stop is not None and should_stop():
                raise Stopped("Stopped while measuring forgetting.")
            batch: list[tuple[Sequence[int], int]] = []
            while place < len(pieces) and (not batch or (len(batch) + 1) * len(pieces[place][0]) <= room):
                batch.append(pieces[place])
                place += 1
            found = None
            try:
                found = _score(model, batch)
            except (RuntimeError, MemoryError) as error:  # let go of before going on: it holds the activations
                if len(batch) == 1 or not out_of_memory(error):
                    raise
            if found is None:
                loading.free()
                place -= len(batch)
                room = len(batch) // 2 * max(len(ids) for ids, _ in batch)
                continue
            nats += found[0]
            tokens += found[1]
    return Bits(nats, tokens, size)


def _score(model: Any, batch: Sequence[tuple[Sequence[int], int]]) -> tuple[float, int]:
    """(nats, tokens) of the scored tokens in BATCH: sequences padded on the right, where no token looks at padding."""
    import torch

    device = next(model.parameters()).device
    width = max(len(ids) for ids, _ in batch)
    inputs = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros_like(inputs)
    labels = torch.full_like(inputs, -100)
    for row, (ids, first) in enumerate(batch):
        inputs[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        mask[row, : len(ids)] = 1
        labels[row, first : len(ids)] = inputs[row, first : len(ids)]
    with torch.inference_mode():
        logits = model(input_ids=inputs.to(device), attention_mask=mask.to(device), use_cache=False).logits[:, -width:]
        targets = labels[:, 1:].to(device)
        total = 0.0
        for row in range(len(batch)):  # row by row: in fp32, without a second copy of all logits
            loss = torch.nn.functional.cross_entropy(
                logits[row, :-1].float(), targets[row], ignore_index=-100, reduction="sum"
            )
            total += loss.double().item()
    return total, int((labels != -100).sum())


def context_length(model: Any) -> int | None:
    """How many tokens MODEL was made for; None where its configuration doesn't say."""
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 1:
            return value
    return None
