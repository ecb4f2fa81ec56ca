"""Heads that a model brings: kept for the labels they know, whatever their order; drawn anew for others; bodies that
don't fit their configuration are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_encoder, make_labelled, make_model

from ftstudio.core.errors import StudioError
from ftstudio.engine import head_labels, suits
from ftstudio.engine.head_labels import places
from ftstudio.tasks.base import Head

SINGLE = "single_label_classification"
BIO = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


# -- which output is whose (no torch) ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("there", "wanted", "found"),
    [
        (("positive", "negative"), ("negative", "positive"), [1, 0]),
        (("CONTRADICTION", "NEUTRAL", "ENTAILMENT"), ("contradiction", "entailment", "neutral"), [0, 2, 1]),
        (("not entailment ", "entailment"), ("entailment", "not_entailment"), [1, 0]),
        (("Us", "us"), ("us", "Us"), [1, 0]),  # told apart by their case
        (("Us", "us"), ("US", "uS"), None),
        (("LABEL_0", "LABEL_1", "LABEL_2"), ("0", "1", "2"), [0, 1, 2]),
        (("LABEL_0", "LABEL_1"), ("1", "2"), None),  # 1 may be the second or the first
        (("LABEL_0", "LABEL_1"), ("bad", "good"), None),
        (("LABEL_1", "LABEL_0"), ("LABEL_0", "LABEL_1"), [1, 0]),
        (("sad", "happy"), ("bad", "good"), None),
        (("a", "b", "c"), ("a", "b"), None),
        (("O", "I-PER", "B-PER", "I-LOC", "B-LOC"), BIO, [0, 4, 3, 2, 1]),
        ((), ("a", "b"), None),
    ],
)
def test_outputs_are_found_by_the_names_of_labels(
    there: tuple[str, ...], wanted: tuple[str, ...], found: list[int] | None
) -> None:
    assert places(there, wanted) == found


@pytest.mark.parametrize(
    ("config", "labels", "words"),
    [
        ({"id2label": {"0": "yes", "1": "no"}}, ("no", "yes"), "your 2 labels: it is kept, with its outputs in the"),
        ({"id2label": {"0": "no", "1": "yes"}}, ("no", "yes"), "your 2 labels: it is kept."),
        ({"id2label": {"0": "sad", "1": "\x1b[31mglad"}}, ("no", "yes"), "labels sad, .*glad; yours are no, yes. Its"),
        ({"id2label": {"0": "sad", "1": "glad"}}, (), "labels sad, glad: it is kept where yours are the same"),
        ({}, ("no", "yes"), "2 labels of its head have no names"),
        ({}, (), ""),
        ({"architectures": ["BertForMaskedLM"], "id2label": {"0": "sad", "1": "glad"}}, ("no", "yes"), ""),
        ({"id2label": {"0": "score"}}, ("no", "yes"), ""),
        ({"id2label": ["no", "yes"]}, ("no", "yes"), ""),
        ({"id2label": {"1": "no", "2": "yes"}}, ("no", "yes"), ""),
    ],
)
def test_what_becomes_of_a_head_is_said_before_training(
    config: dict[str, Any], labels: tuple[str, ...], words: str
) -> None:
    found = head_labels.of_file({"architectures": ["XForSequenceClassification"]} | config, head(labels))
    assert "\x1b" not in found
    if words:
        import re

        assert re.search(words, found), found
    else:
        assert found == ""
    assert head_labels.of_file(config, Head("causal-lm")) == ""


def head(labels: tuple[str, ...], kind: Any = "sequence-classification", problem: str = SINGLE) -> Head:
    return Head(kind, labels, problem)


# -- with a model ------------------------------------------------------------------------------------------------------
def saved(folder: Path, labels: tuple[str, ...] | int, kind: str = "BertForSequenceClassification") -> Path:
    """A classifier in FOLDER whose outputs are LABELS (a number: without names), far from zero."""
    import torch
    import transformers

    make = make_model if kind.startswith("Llama") else make_encoder
    make(folder)
    config = transformers.AutoConfig.from_pretrained(folder)
    if isinstance(labels, int):
        config.num_labels = labels
    else:
        config.id2label, config.label2id = dict(enumerate(labels)), {name: at for at, name in enumerate(labels)}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = getattr(transformers, kind)(config)
        layer = head_labels.last_layer(model, config.num_labels)[1]
        layer.weight.data.normal_()
        if layer.bias is not None:
            layer.bias.data.normal_()
    model.save_pretrained(folder)
    return folder


def loaded(folder: Path, labels: tuple[str, ...], **more: Any) -> Any:
    from ftstudio.engine.loading import ModelSpec, load
    from ftstudio.engine.locate import Located

    kind = more.pop("kind", "sequence-classification")
    problem = more.pop("problem", "" if kind == "token-classification" else SINGLE)
    return load(
        Located(folder, str(folder)), ModelSpec(str(folder), "float32", "cpu", None, head(labels, kind, problem))
    )


def by_label(folder: Path, model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(label → scores on some tokens as the file's own transformers class has them, the same by MODEL)."""
    import torch

    theirs = type(model).from_pretrained(folder).eval()
    ids = torch.tensor([[2, 5, 6, 7, 3]])
    with torch.no_grad():
        mine, other = model(input_ids=ids).logits, theirs(input_ids=ids).logits
    theirs_by, mine_by = (
        {
            one.config.id2label[place].casefold(): logits[..., place].flatten().tolist()
            for place in range(logits.shape[-1])
        }
        for one, logits in ((theirs, other), (model, mine))
    )
    return theirs_by, mine_by


@pytest.mark.parametrize(
    ("kind", "there", "wanted"),
    [
        ("BertForSequenceClassification", ("Positive", "Negative", "neutral"), ("negative", "neutral", "positive")),
        ("BertForTokenClassification", ("O", "I-PER", "B-PER", "I-LOC", "B-LOC"), BIO),
        ("LlamaForSequenceClassification", ("no", "maybe", "yes"), ("maybe", "no", "yes")),  # a head without biases
    ],
)
def test_every_label_keeps_its_score(
    tmp_path: Path, kind: str, there: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    folder = saved(tmp_path / "m", there, kind)
    task = "token-classification" if "Token" in kind else "sequence-classification"
    model = loaded(folder, wanted, kind=task)
    theirs, mine = by_label(folder, model)
    assert list(mine) == [name.casefold() for name in wanted]
    for name, scores in theirs.items():
        assert mine[name] == pytest.approx(scores, abs=1e-6), name
    assert "in the order of yours" in model.ftstudio_told
    model.save_pretrained(tmp_path / "again")  # a saved one has them in this order already
    (tmp_path / "again" / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    again = loaded(tmp_path / "again", wanted, kind=task)
    assert again.ftstudio_told == ""
    assert by_label(folder, again)[1] == mine


def test_a_head_for_other_labels_is_drawn_anew_and_said(tmp_path: Path) -> None:
    import torch

    other = saved(tmp_path / "other", ("sad", "glad"))
    bare = saved(tmp_path / "bare", 2)
    for folder, words in ((other, "sad, glad; yours are bad, good"), (bare, "no names")):
        first, second = loaded(folder, ("bad", "good")), loaded(folder, ("bad", "good"))
        assert words in first.ftstudio_told
        assert torch.equal(first.classifier.weight, second.classifier.weight)  # drawn by the seed
        assert float(first.classifier.weight.detach().abs().max()) < 0.2  # the file's go up to 3
        assert not first.classifier.bias.any()
    numbers = loaded(bare, ("0", "1"))
    theirs = type(numbers).from_pretrained(bare)
    assert torch.equal(numbers.classifier.weight, theirs.classifier.weight)
    more = loaded(other, ("a", "b", "c"))  # of another size: transformers draws it
    assert "yours are a, b, c" in more.ftstudio_told


def test_a_number_keeps_its_head(tmp_path: Path) -> None:
    import torch

    folder = saved(tmp_path / "m", 1)
    model = loaded(folder, ("score",), problem="regression")
    assert torch.equal(model.classifier.weight, type(model).from_pretrained(folder).classifier.weight)
    assert model.ftstudio_told == ""


def test_a_body_that_does_not_fit_its_configuration_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", ("a", "b"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 96}))
    with pytest.raises(
        StudioError, match=r"don't belong together \(6 weights, such as bert\.encoder.*: \[\d+.*96"
    ) as it:
        loaded(folder, ("a", "b"))
    assert it.value.hint


WORDS = "Its head knows your 3 labels: it is kept, with its outputs in the order of yours."


def recipe_for(folder: Path, labels: tuple[str, ...]) -> Any:
    from ftstudio.engine.recipes import check_recipe

    return check_recipe(
        {
            "task": "text-classification",
            "model": str(saved(folder / "m", labels)),
            "method": "freeze",
            "data": {"train": str(make_labelled(folder / "rows.jsonl")), "eval": 0.3},
            "training": {"steps": 1, "batch_size": 4, "device": "cpu"},
            "evaluation": {"samples": 0},
        }
    )


def test_a_head_for_other_labels_is_no_damage_and_is_told_of_in_the_plan(tmp_path: Path) -> None:
    from ftstudio.engine.skeleton import weight_problems

    other = recipe_for(tmp_path, ("a", "b"))
    assert weight_problems(other) == []
    [said] = [one.text for one in suits.told(other.model, other.task, head=head(("x", "y"))) if one.about == "labels"]
    assert "labels a, b; yours are x, y. Its last layer is drawn anew" in said
    path = Path(other.model) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 96}))
    [problem] = weight_problems(other)
    assert problem.text.startswith("bert.encoder")


@pytest.mark.slow  # a whole run, four seconds
def test_the_plan_and_the_run_say_what_becomes_of_the_head(tmp_path: Path) -> None:
    from ftstudio.core.jobs import Train
    from ftstudio.core.workspace import Workspace
    from ftstudio.engine.plan import plan
    from ftstudio.engine.prepare import prepare_run
    from ftstudio.engine.worker import Worker

    recipe = recipe_for(tmp_path, ("red", "green", "blue"))
    found = plan(recipe)
    assert found["compatible"], found["problems"]
    assert [one["text"] for one in found["model"] if one["about"] == "labels"] == [WORDS]
    run = prepare_run(recipe, Workspace(tmp_path / "studio"))
    Worker().execute(Train(run.path))
    assert run.state() == "done", run.events()
    assert WORDS in [event["text"] for event in run.events() if event["kind"] == "alert"]
