"""Masked language models say something at hidden tokens alone: the same loss and gradients, on every kind of head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers

from ftstudio import tasks
from ftstudio.engine import asked_head
from ftstudio.engine.objective import TaskObjective

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 40}
KINDS = {
    "Bert": {}, "Roberta": {}, "XLMRoberta": {}, "MPNet": {}, "Electra": {"embedding_size": 12}, "ModernBert": {},
    "Albert": {"embedding_size": 12}, "DebertaV2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "DistilBert": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24},
}  # fmt: skip
ROWS: list[dict[str, Any]] = [
    {"input_ids": [2, 5, 6, 7, 8, 3], "labels": [-100, 9, -100, -100, 8, -100]},
    {"input_ids": [2, 11, 12, 3], "labels": [-100, -100, 13, -100]},
    {"input_ids": [2, 14, 3], "labels": [-100, -100, -100]},
]


def made(kind: str) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SMALL, **KINDS[kind], "pad_token_id": 0})
    return getattr(transformers, f"{kind}ForMaskedLM")(config).eval()


def learnt(model: Any, objective: TaskObjective, batch: dict[str, Any]) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = objective(model, batch)
    loss.backward()
    return loss.item(), {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_those_of_the_whole_head(kind: str) -> None:
    model, task = made(kind), tasks.get("masked-lm").bound({})
    whole, batch = TaskObjective(task), task.collate(ROWS, 0)
    name = asked_head.that_works(model, whole, batch)
    assert name
    narrow = replace(whole, head=name)
    assert narrow.outputs(model, batch).logits.shape == (3, 40)  # nothing at the other fifteen places
    (loss, gradients), (wanted, theirs) = learnt(model, narrow, batch), learnt(model, whole, batch)
    assert loss == pytest.approx(wanted, rel=1e-5)
    assert gradients.keys() == theirs.keys()
    for part, gradient in gradients.items():
        torch.testing.assert_close(gradient, theirs[part], rtol=1e-4, atol=1e-6)
    said, same = (
        [(item.text, item.extra["right"], item.extra["hidden"], round(item.extra["nats"], 4)) for item in found]
        for found in (task.predictions(each.outputs(model, batch), batch) for each in (narrow, whole))
    )
    assert said == same
    assert narrow.outputs(model, task.collate(ROWS[2:], 0)).logits.shape == (0, 40)


def test_a_head_that_looks_at_its_neighbours_is_left_whole() -> None:
    class Neighbours(torch.nn.Linear):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return super().forward(given + given.mean(-2, keepdim=True))

    model, task = made("Bert"), tasks.get("masked-lm").bound({})
    model.cls.predictions.decoder = Neighbours(16, 40)
    assert asked_head.that_works(model, TaskObjective(task), task.collate(ROWS, 0)) == ""


def test_layers_that_share_a_weight_with_the_head_lie_with_the_whole_model() -> None:
    from ftstudio.engine.sharding import groups

    assert [type(module).__name__ for module in groups(made("Bert"))] == ["BertLayer"]  # not its tied embeddings
    model = made("Bert")
    model.cls.predictions.decoder.weight = torch.nn.Parameter(model.cls.predictions.decoder.weight.detach().clone())
    assert [type(module).__name__ for module in groups(model)] == ["BertLayer", "BertEmbeddings"]
