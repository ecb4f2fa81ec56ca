"""How well each arm expects the held-out texts themselves: nats, tokens and bytes of every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ftstudio.data.example import BadRow
from ftstudio.engine.generation import ready

if TYPE_CHECKING:
    from ftstudio.engine.answering import Question
    from ftstudio.engine.arms import Arms
    from ftstudio.engine.context import JobContext
    from ftstudio.engine.materials import Materials
    from ftstudio.evaluation.predictions import Prediction


def told(
    context: JobContext,
    arms: Arms,
    materials: Mapping[str, Materials],
    asked: Sequence[Question],
    known: Mapping[str, Sequence[Any]],
) -> dict[str, list[Prediction]]:
    """KNOWN, the answers of arms that a model here gives, with `nats`, `text_tokens` and `text_bytes` in each.

    MATERIALS by arm: one may have tokens that another hasn't.
    """
    written: dict[int, dict[int, list[Mapping[str, Any]]]] = {}
    found: dict[str, list[Prediction]] = {}
    for group in arms.groups:
        for name in group:
            if name not in known:
                continue
            own = materials[name]
            if id(own) not in written:
                written[id(own)] = _rows(own, asked)
            rows = written[id(own)]
            with arms.use(name) as model:
                found[name] = []
                for prediction in known[name]:
                    context.check()
                    facts = _measured(model, rows.get(prediction.row, []))
                    found[name].append(replace(prediction, extra={**prediction.extra, **facts}))
    return found


def _rows(materials: Materials, asked: Sequence[Question]) -> dict[int, list[Mapping[str, Any]]]:
    """The texts of ASKED in the tokens of MATERIALS, by row."""
    rows: dict[int, list[Mapping[str, Any]]] = {}
    for question in asked:
        try:
            rows[question.row] = materials.task.rows_of(
                question.example, materials.template, materials.tokenizer, materials.recipe.data.max_length
            )
        except BadRow:
            continue
    return rows


def _measured(model: Any, windows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    import torch
    from torch.nn import functional

    if not windows:
        return {}
    device = next(model.parameters()).device
    nats, tokens = 0.0, 0
    with ready(model), torch.inference_mode():
        for window in windows:
            ids = torch.tensor([list(window["input_ids"])], device=device)
            labels = torch.tensor(list(window["labels"])[1:], device=device)
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
            logits = logits[0, -ids.shape[1] :][:-1].float()  # without what a soft prompt before them predicts
            nats += float(functional.cross_entropy(logits, labels, reduction="sum").double())
            tokens += int((labels >= 0).sum())
    return {"nats": nats, "text_tokens": tokens, "text_bytes": sum(int(window["bytes"]) for window in windows)}
