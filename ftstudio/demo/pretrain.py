"""Pre-training of the demo's base model: batches of documents and of things said twice, and the loop."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from ftstudio.demo.corpus import documents

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

ROWS, LENGTH = 12, 256
REPEATS = 1  # rows of a batch that are random tokens said again and again: they keep the copying honest
PEAK, PEAK_MUON = 2e-3, 0.015
TOLD = 0.15

# Token ids, and how much each counts
Piece = tuple[list[int], list[float]]


def _ends(tokenizer: Tokenizer) -> tuple[int, int]:
    """The ids of the begin and the end token."""
    begin, end = tokenizer.token_to_id("<s>"), tokenizer.token_to_id("</s>")
    assert begin is not None
    assert end is not None
    return begin, end


def written(tokenizer: Tokenizer, seed: int) -> Iterator[Piece]:
    """Documents without end, each between a begin and an end token.

    What is told first is made of random names, which nobody can foresee: it counts little, so that what follows from
    it, where copying pays, is what is learnt from.
    """
    begin, end = _ends(tokenizer)
    endless = documents(seed)
    while True:
        some = list(islice(endless, 64))
        told = tokenizer.encode_batch([told and told + "\n" for told, _ in some], add_special_tokens=False)
        then = tokenizer.encode_batch([then for _, then in some], add_special_tokens=False)
        for first, second in zip(told, then, strict=True):
            counts = [TOLD] * (1 + len(first.ids)) + [1.0] * (len(second.ids) + 1)
            yield [begin, *first.ids, *second.ids, end], counts


def repeated(tokenizer: Tokenizer, seed: int) -> Iterator[Piece]:
    """Random tokens said two to four times, without end; only the saying again counts."""
    begin, end = _ends(tokenizer)
    special, size = len(tokenizer.get_added_tokens_decoder()), tokenizer.get_vocab_size()
    rng = random.Random(seed)
    while True:
        said = [rng.randrange(special, size) for _ in range(rng.choice((6, 10, 16, 24, 40)))]
        again = rng.randint(1, 3)
        yield [begin, *said * (1 + again), end], [0.0] * (1 + len(said)) + [1.0] * (len(said) * again) + [0.0]


def filled(pieces: Iterator[Piece], rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """PIECES end to end in ROWS × `LENGTH` token ids, and how much each counts."""
    import torch

    ids: list[int] = []
    counts: list[float] = []
    size = rows * LENGTH
    while True:
        while len(ids) < size:
            piece, count = next(pieces)
            ids += piece
            counts += count
        yield torch.tensor(ids[:size]).view(rows, LENGTH), torch.tensor(counts[:size]).view(rows, LENGTH)
        ids, counts = ids[size:], counts[size:]


def rate(step: int, steps: int) -> float:
    """Share of the peak: warm-up over 60 steps, the peak for three tenths, then a cosine down to 3 %."""
    done = step / steps
    fall = 1.0 if done < 0.3 else 0.03 + 0.485 * (1 + math.cos(math.pi * (done - 0.3) / 0.7))
    return min(1.0, (step + 1) / 60) * fall


def pretrain(model: Any, tokenizer: Tokenizer, steps: int, seed: int, *, share: float = 1.0, bf16: bool = False) -> Any:
    """MODEL after STEPS batches at SHARE of the peak rates; progress is printed. BF16 multiplies in 16 bits."""
    import torch

    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {steps * ROWS * LENGTH:,} tokens", flush=True)
    optimizers = _optimizers(model)
    both = zip(
        filled(repeated(tokenizer, seed), REPEATS), filled(written(tokenizer, seed), ROWS - REPEATS), strict=True
    )
    cast = torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else contextlib.nullcontext()
    started, smooth = time.monotonic(), math.nan
    for step, parts in enumerate(islice(both, steps)):
        ids, counts = (torch.cat(part) for part in zip(*parts, strict=True))
        for optimizer, peak in optimizers:
            optimizer.param_groups[0]["lr"] = share * peak * rate(step, steps)
        with cast:
            logits = model(input_ids=ids).logits
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none"
        )
        loss = (losses * counts[:, 1:].flatten()).sum() / counts[:, 1:].sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, _ in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        smooth = loss.item() if math.isnan(smooth) else 0.97 * smooth + 0.03 * loss.item()
        if step % 50 == 0 or step == steps - 1:
            spent = time.monotonic() - started
            speed = (step + 1) * ROWS * LENGTH / spent
            print(f"step {step + 1}/{steps}  loss {smooth:.3f}  {speed:,.0f} tokens/s  {spent:.0f} s", flush=True)
    return model.eval()


def _optimizers(model: Any) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon (Jordan et al. 2024) for the layers' matrices, AdamW for the rest, each with its peak learning rate."""
    import torch

    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "layers" in name]
    others = [weight for name, weight in model.named_parameters() if weight.ndim != 2 or "layers" not in name]
    return [
        (torch.optim.Muon(matrices, lr=PEAK_MUON, weight_decay=0.01), PEAK_MUON),
        (torch.optim.AdamW(others, lr=PEAK, betas=(0.9, 0.95), weight_decay=0.01, fused=True), PEAK),
    ]
