"""A batch in parts is the whole batch: the parts' losses add up to its loss, their gradients to its gradients."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import tiny_zoo
from tiny_models import make_sentence_encoder

from ftstudio import tasks
from ftstudio.data import labels
from ftstudio.engine.collate import Collate, Collator, PaddingFree, split
from ftstudio.engine.pieces import pieced

LENGTHS = (5, 17, 3, 11, 17, 8, 14)


def rows(label: Any, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of LENGTHS tokens; LABEL gives what is asked of one, from its ids and chance."""
    draw = random.Random(seed)
    found = []
    for length in LENGTHS:
        ids = [draw.randint(8, 87) for _ in range(length)]
        found.append({"input_ids": ids, "labels": label(ids, draw)})
    return found


def some(ids: list[int], draw: random.Random) -> list[int]:
    """About a third of IDS, -100 elsewhere; nothing of a row of three."""
    return [token if len(ids) > 3 and draw.random() < 0.35 else -100 for token in ids]


def hold(model: Any, objective: Any, batch: dict[str, Any], parts: list[dict[str, Any]]) -> None:
    """Hold PARTS of BATCH against it."""
    import torch

    def learn(batches: list[dict[str, Any]]) -> tuple[float, list[torch.Tensor]]:
        model.zero_grad()
        losses = []
        for one in batches:
            loss = objective(model, one)
            loss.backward()
            losses.append(float(loss.detach()))
        return sum(losses), [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]

    (loss, wanted), (total, found) = learn([batch]), learn(parts)
    assert len(parts) > 2
    assert sum(len(part["lengths"]) for part in parts) == len(batch["lengths"])
    assert loss > 0.1
    assert total == pytest.approx(loss, rel=1e-5)
    assert len(found) == len(wanted) > 8
    most = max(float(one.abs().max()) for one in wanted)
    assert most > 0
    for one, other in zip(found, wanted, strict=True):
        assert float((one - other).abs().max()) < 2e-5 * most


def asked(task: Any, kind: str) -> list[dict[str, Any]]:
    """Rows of TASK; KIND as its problem is called."""
    if kind == "several":
        return rows(lambda ids, draw: [float(draw.randint(0, 1)) for _ in range(3)])
    if kind == "number":
        return rows(lambda ids, draw: draw.uniform(-2, 2))
    if task.name == "text-classification":
        return rows(lambda ids, draw: draw.randint(0, 2))
    if task.name == "token-classification":
        return rows(lambda ids, draw: [draw.choice([-100, 0, 1, 2]) for _ in ids])
    if task.name == "seq2seq":
        return rows(lambda ids, draw: [draw.randint(8, 87) for _ in range(draw.randint(1, 9))])
    return rows(some)


@pytest.mark.parametrize("parts", [3, 7])
@pytest.mark.parametrize(
    ("name", "made", "kind"),
    [
        ("masked-lm", "bert_masked", ""),
        ("masked-lm", "bert_masked", "head"),
        ("seq2seq", "t5", ""),
        ("seq2seq", "bart", ""),
        ("token-classification", "bert_tagger", ""),
        ("text-classification", "bert_classifier", ""),
        ("text-classification", "bert_classifier", "several"),
        ("text-classification", "bert_classifier", "number"),
    ],
)
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "pieces"])
def test_tasks_of_their_own_learn_the_same_in_parts(name: str, made: str, kind: str, parts: int, cut: bool) -> None:
    """`head`: the model's head runs where tokens are hidden alone, as it does in training."""
    import torch

    from ftstudio.engine import asked_head
    from ftstudio.engine.objective import TaskCollator, TaskObjective

    torch.manual_seed(0)
    model: Any = getattr(tiny_zoo, made)()[0].eval()
    task: Any = tasks.get(name)
    if name == "text-classification":
        problem = {"several": labels.MULTI, "number": labels.REGRESSION}.get(kind, labels.SINGLE)
        task = task.bound({}, {"labels": ["a", "b", "c"], "problem": problem})
    collate: Collate = TaskCollator(task, 0)
    batch = (pieced(collate, 1.0) if cut else collate)(asked(task, kind))
    assert ("pieces" in batch) is cut
    if kind == "number":
        model.classifier = torch.nn.Linear(model.config.hidden_size, 1)
    objective = TaskObjective(task)
    if kind == "head":
        head = asked_head.that_works(model, objective, collate(asked(task, kind)))
        assert head
        objective = TaskObjective(task, head=head)
    found = split(batch, parts)
    hold(model, objective, collate(asked(task, kind)), found)
    assert all(width_of(part) == max(part["lengths"]) for part in found)  # as wide as its own longest row
    assert len({width_of(part) for part in found}) > 1
    if "labels" in found[0]["inputs"]:  # and its own longest target
        assert all(bool((part["inputs"]["labels"][:, -1] != -100).any()) for part in found)
        assert all(part["targets"].shape == part["inputs"]["labels"].shape for part in found)


def width_of(part: dict[str, Any]) -> int:
    return int(part["inputs"]["input_ids"].shape[1])


@pytest.mark.parametrize("parts", [3, 7])
@pytest.mark.parametrize(("name", "form"), [("embedding", "scores"), ("few-shot-classification", "")])
def test_pairs_of_texts_learn_the_same_in_parts(tmp_path: Path, name: str, form: str, parts: int) -> None:
    from ftstudio.engine.loading import ModelSpec, load
    from ftstudio.engine.locate import locate
    from ftstudio.engine.objective import TaskObjective
    from ftstudio.tasks.base import Head

    folder = str(make_sentence_encoder(tmp_path / "model"))
    model: Any = load(locate(folder), ModelSpec(folder, "float32", "cpu", None, Head("encoder"))).eval()
    for weight in model.parameters():
        weight.requires_grad_(True)
    task: Any = tasks.get(name).bound({}, {"form": form} if form else {})
    found = []
    for place, row in enumerate(rows(lambda ids, draw: draw.randint(0, 1))):
        first = 1 + place % (len(row["input_ids"]) - 1)
        found.append({**row, "parts": [first, len(row["input_ids"]) - first]})
    batch = task.collate(found, 0)
    cut = split(batch, parts)
    hold(model, TaskObjective(task), batch, cut)
    for part in cut:
        for column in part["inputs"].values():  # each as wide as its own longest text
            assert column["input_ids"].shape == column["attention_mask"].shape
            assert column["attention_mask"].sum(1).max() == column["input_ids"].shape[1]


@pytest.mark.parametrize("name", ["masked-lm", "seq2seq", "token-classification", "sft"])
def test_parts_are_what_their_rows_make_by_themselves(name: str) -> None:
    """At a width that the device likes, too."""
    import torch

    from ftstudio.engine.objective import TaskCollator

    for multiple in (1, 8):
        collate: Any = Collator(0, multiple) if name == "sft" else TaskCollator(tasks.get(name), 0, multiple)
        every = rows(some) if name == "sft" else asked(tasks.get(name), "")
        parts, start = split(collate(every), 3), 0
        for part in parts:
            wanted = collate(every[start : start + len(part["lengths"])])
            start += len(part["lengths"])
            for key in ("input_ids", "inputs", "targets", "keep", "places", "lengths"):
                for one, other in zip(_flat(part.get(key)), _flat(wanted.get(key)), strict=True):
                    assert torch.equal(one, other), key
        assert start == len(every)


def _flat(value: Any) -> list[Any]:
    import torch

    if value is None:
        return []
    if isinstance(value, dict):
        return [item for key in sorted(value) for item in _flat(value[key])]
    return [torch.as_tensor(value)]


def test_what_is_not_known_to_stand_by_token_stays_as_wide_as_it_was() -> None:
    """Pictures stand among the tokens; of several labels as many as tokens none is cut off."""
    import torch

    task: Any = tasks.get("text-classification").bound({}, {"labels": list("abc"), "problem": labels.MULTI})
    short = [{"input_ids": [9] * length, "labels": [1.0, 0.0, 1.0]} for length in (1, 3, 1, 2)]
    parts = split(task.collate(short, 0), 4)
    assert [width_of(part) for part in parts] == [1, 3, 1, 2]
    assert all(part["targets"].tolist() == [[1.0, 0.0, 1.0]] for part in parts)
    batch = tasks.get("token-classification").collate(rows(lambda ids, draw: [1] * len(ids)), 0)
    batch["inputs"]["pictures"] = [torch.zeros(1) for _ in LENGTHS]
    assert {width_of(part) for part in split(batch, 7)} == {max(LENGTHS)}


@pytest.mark.parametrize("parts", [3, 7])
@pytest.mark.parametrize("collate", [Collator(0), PaddingFree()], ids=["padded", "free"])
def test_causal_language_models_learn_the_same_in_parts(collate: Any, parts: int) -> None:
    """`sft` and `causal-lm`, whose batches these are."""
    import torch

    from ftstudio.engine.loss import Objective, head_of

    torch.manual_seed(0)
    model: Any = tiny_zoo.llama()[0].eval()
    batch = collate(rows(some))
    hold(model, Objective(head_of(model)), batch, split(batch, parts))


def test_the_places_of_a_part_are_its_own() -> None:
    import torch

    task: Any = tasks.get("masked-lm")
    batch = task.collate(rows(some), 0)
    for part in split(batch, 3):
        there = part["targets"].flatten().index_select(0, part["places"])
        assert torch.equal(there, part["targets"][part["targets"] != -100])
    assert sum(len(part["places"]) for part in split(batch, 3)) == len(batch["places"])


@pytest.mark.parametrize("more", ["vector", "scalar", "list", "inner"])
def test_what_does_not_begin_with_the_rows_is_not_cut(more: str) -> None:
    """Cut as if it did, it would be another row's without a word."""
    import torch

    batch = tasks.get("text-classification").collate(rows(lambda ids, draw: 0), 0)
    value = {"vector": torch.arange(20), "scalar": torch.tensor(3), "list": [1, 2], "inner": torch.arange(20)}[more]
    if more == "inner":
        batch["inputs"]["odd"] = value
    else:
        batch["odd"] = value
    with pytest.raises(ValueError, match="7 rows can't be taken in parts: its `odd` has"):
        split(batch, 2)
