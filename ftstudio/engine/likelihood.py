"""How likely a model finds continuations of a text: for choices among options, and for a judge that says one letter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ftstudio.core.errors import Stopped
from ftstudio.engine.forgetting import LOGITS, TOKENS, context_length

Ids = Sequence[int]


def log_likelihoods(
    model: Any, requests: Sequence[tuple[Ids, Ids]], *, should_stop: Callable[[], bool] | None = None
) -> list[float]:
    """The log-probability (nats, summed over its tokens) of each continuation after its context: REQUESTS are (ids of
    the context, at least one; ids of the continuation). Contexts are cut on the left to what the model can read.

    Batches of like length, padded on the right, where no token looks. Raises Stopped when SHOULD_STOP says so.
    """
    import torch

    from ftstudio.engine.generation import ready

    device = next(model.parameters()).device
    reads = context_length(model) or 1 << 20
    rows = [(list(context), list(more)) for context, more in requests]
    rows = [(context[max(0, len(context) + len(more) - reads) :] or context[-1:], more) for context, more in rows]
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place][0]) - len(rows[place][1]))
    vocabulary = int(getattr(model.config.get_text_config(), "vocab_size", 32_000))
    room = max(1, min(TOKENS, LOGITS.get(device.type, LOGITS["cpu"]) // vocabulary))
    found = [0.0] * len(rows)
    place = 0
    with ready(model), torch.inference_mode():
        while place < len(order):
            if should_stop is not None and should_stop():
                raise Stopped("Stopped while asking the model.")
            width = sum(map(len, rows[order[place]]))
            chosen = order[place : place + max(1, room // width)]
            place += len(chosen)
            ids = torch.zeros(len(chosen), width, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for at, index in enumerate(chosen):
                whole = rows[index][0] + rows[index][1]
                ids[at, : len(whole)] = torch.tensor(whole)
                mask[at, : len(whole)] = 1
            logits = model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits[:, -width:]
            for at, index in enumerate(chosen):
                context, more = rows[index]
                if not more:
                    continue
                start = len(context) - 1
                logs = logits[at, start : start + len(more)].float().log_softmax(-1)
                picked = logs.gather(-1, torch.tensor(more, device=logs.device)[:, None])
                found[index] = picked.double().sum().item()
    return found
