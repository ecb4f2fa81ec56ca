"""Embeddings and few-shot classification: rows, losses, evaluation and the saved folder, held against the libraries."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from tiny_models import WORDS, make_labelled, make_sentence_encoder

from ftstudio import tasks
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.jobs import Compare, Train
from ftstudio.core.run import RunFolder
from ftstudio.core.workspace import Workspace
from ftstudio.data import likeness, pair_set, sentence_files
from ftstudio.data.dataset import from_rows
from ftstudio.data.example import BadRow
from ftstudio.data.mix import Part, concatenated
from ftstudio.data.read import open_dataset
from ftstudio.data.shape import Shape, recognise
from ftstudio.engine.materials import open_materials
from ftstudio.engine.plan import plan
from ftstudio.engine.prepare import prepare_run
from ftstudio.engine.recipes import check_recipe, load_recipe
from ftstudio.engine.worker import Worker
from ftstudio.evaluation.categories import categorise
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.predictions import Prediction, read_predictions
from ftstudio.evaluation.ranking import SCORED, SEARCHED
from ftstudio.tasks import vector_losses

pytest.importorskip("torch")


def sentences(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choice(WORDS) for _ in range(draw.randint(2, 7))) for _ in range(count)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def recipe(model: Path, rows: Path, method: str, task: str = "embedding", **options: Any) -> Any:
    settings = {"name": method} if method == "full" else {"name": method, "r": 4}
    return check_recipe({
        "task": task, "model": str(model), "method": settings, "options": options,
        "data": {"train": str(rows), "eval": 0.4},
        "training": {"steps": 4, "batch_size": 8, "save_steps": 2, "learning_rate": 1e-2, "device": "cpu"},
        "evaluation": {"every": 2, "rows": 24, "samples": 1},
    })  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder that has a dense layer, and rows of every form."""
    folder = tmp_path_factory.mktemp("vectors")
    make_sentence_encoder(folder / "model", dense=16)
    first, other = sentences(60), sentences(60, 1)
    write(folder / "pairs.jsonl", [{"anchor": text, "positive": f"{text} red"} for text in first])
    triplets = [{"anchor": a, "positive": f"{a} red", "negative": b} for a, b in zip(first, other, strict=True)]
    write(folder / "triplets.jsonl", triplets)
    draw = random.Random(2)
    scored = [
        {"sentence1": a, "sentence2": draw.choice((b, f"{a} run")), "score": draw.choice((0, 1.5, 3, 5))}
        for a, b in zip(first, other, strict=True)
    ]
    write(folder / "scored.jsonl", scored)
    make_labelled(folder / "labels.jsonl", count=80)
    return folder


class Runs:
    """Trained and compared runs by name, each made when it is first asked for."""

    def __init__(self, place: Path) -> None:
        self.place, self.workspace, self.worker = place, Workspace(place / "studio"), Worker()
        self.known: dict[str, RunFolder] = {}

    def __getitem__(self, name: str) -> RunFolder:
        if name not in self.known:
            model, rows = self.place / "model", self.place
            made = {
                "full": lambda: recipe(model, rows / "scored.jsonl", "full"),
                "lora": lambda: recipe(model, rows / "pairs.jsonl", "lora"),
                "few": lambda: recipe(model, rows / "labels.jsonl", "full", "few-shot-classification", shots=4),
            }[name]()
            self.known[name] = run = prepare_run(made, self.workspace)
            self.worker.execute(Train(run.path))
            assert run.state() == "done", run.events()[-1]
            self.worker.execute(Compare(run.compare.path, (run.path,), None))
            assert run.compare.state() == "done", run.compare.events()[-1]
        return self.known[name]


@pytest.fixture(scope="module")
def runs(place: Path) -> Runs:
    """A full and an adapter run of embeddings, and a few-shot one."""
    return Runs(place)


# -- rows ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("file", "form", "loss"), [
    ("pairs", "pairs", "mnrl"), ("triplets", "triplets", "mnrl"), ("scored", "scores", "cosine"),
])  # fmt: skip
def test_the_loss_follows_from_what_the_rows_hold(place: Path, file: str, form: str, loss: str) -> None:
    dataset = open_dataset(str(place / f"{file}.jsonl"))
    shape = recognise(dataset, task="embedding")
    task = tasks.get("embedding")
    task = task.bound({}, task.survey(dataset, shape))
    assert (task.form, task.loss_name) == (form, loss)  # type: ignore[attr-defined]
    assert task.divisible == (loss == "cosine")
    wrong = tasks.get("embedding").bound({"loss": "triplet" if form != "triplets" else "cosine"})
    with pytest.raises(UsageError, match="learns from"):
        wrong.survey(dataset, shape)


def test_a_row_may_have_several_hard_negatives(tmp_path: Path) -> None:
    """As many of each row as the row with the fewest has; the nearest of them counts."""
    import torch

    rows = [{"anchor": f"red cats {word}", "positive": f"red dogs {word}", "negatives": [f"run {word}", "eat", "nine"]}
            for word in WORDS[:6]]  # fmt: skip
    rows[3]["negatives"] = ["sleep", "slowly"]
    dataset = open_dataset(str(write(tmp_path / "rows.jsonl", rows)))
    shape = recognise(dataset, task="embedding")
    assert (shape.name, shape.columns["negative"]) == ("triplet", "negatives")
    task: Any = tasks.get("embedding")
    task = task.bound({}, task.survey(dataset, shape))
    assert (task.form, task.facts["negatives"]) == ("triplets", 2)
    assert task.texts(shape.example(dataset[0])) == ("red cats red", "red dogs red", "run red", "eat")
    assert tasks.get("embedding").bound({"loss": "triplet"}).survey(dataset, shape)["negatives"] == 1
    with pytest.raises(BadRow, match="1 negatives, not 2"):
        task.texts(shape.example({**rows[0], "negatives": ["eat"]}))
    unit = torch.eye(4)
    outputs = [unit[:1], (unit[:1] + unit[1:2]) / 2, unit[2:3], unit[:1] + 0.1 * unit[3:]]
    [found] = task.predictions(outputs, {"told": [{"texts": ["partner", "far", "near"], "words": [1, 1, 1, 1]}]})
    assert (found.text, found.extra["cosine"], found.extra["negative"]) == ("near", 0.707107, 0.995037)


@pytest.mark.parametrize(("values", "said"), [
    ([0.0, 3.5, 700.0], "no usual scale"),
    ([2.0, 2.0, 2.0], "same score"),
    (["entailment", "neutral", "contradiction"], "nothing says which"),
    (["same", "same", "same"], "nothing says which"),
])  # fmt: skip
def test_scores_that_say_nothing_are_refused(tmp_path: Path, values: list[Any], said: str) -> None:
    rows = [{"sentence1": "a b c", "sentence2": "d e f", "score": value} for value in values]
    dataset = open_dataset(str(write(tmp_path / "rows.jsonl", rows)))
    shape = recognise(dataset, {"sentence1": "sentence1", "sentence2": "sentence2", "score": "score"})
    with pytest.raises(StudioError, match=said):
        likeness.survey(dataset, shape)


def test_scores_out_of_range_are_told_by_row(tmp_path: Path) -> None:
    rows = [{"sentence1": "a b", "sentence2": "c d", "score": score} for score in (1, 2, 7, 3, -1)]
    dataset = open_dataset(str(write(tmp_path / "rows.jsonl", rows)))
    shape = recognise(dataset, {"sentence1": "sentence1", "sentence2": "sentence2", "score": "score"})
    with pytest.raises(StudioError, match=r"2 scores lie outside 0 to 5 \(row 3: 7, row 5: -1\)"):
        likeness.survey(dataset, shape, (0, 5))
    with pytest.raises(BadRow, match="outside"):
        likeness.Likeness(0, 5).of(7)
    assert likeness.Likeness(0, 5).of("2.5") == 0.5


def pairs(values: list[Any], role: str = "score") -> tuple[Any, Any]:
    """Pairs of sentences with VALUES in a column called ROLE, and how they are mapped."""
    dataset = from_rows([{"sentence1": f"a {n}", "sentence2": f"b {n}", role: one} for n, one in enumerate(values)])
    return dataset, Shape("sentence-pair", {"sentence1": "sentence1", "sentence2": "sentence2", role: role}, "")


@pytest.mark.parametrize(("values", "found"), [
    ([0, 1, 2], "labels ('0', '1', '2'), and nothing says which"),  # NLI: 0 is entailment
    ([1, 2, 3, 4], "labels ('1', '2', '3', '4')"),
    ([0, 1, 0], (0.0, 1.0)),
    ([-1, 1, 1], (-1.0, 1.0)),
    ([0.0, 0.5, 1.0], (0.0, 1.0)),
])  # fmt: skip
def test_numbers_of_classes_are_no_scores(values: list[Any], found: Any) -> None:
    dataset, shape = pairs(values, "label")
    if isinstance(found, tuple):
        known = likeness.survey(dataset, shape)
        assert (known.low, known.high) == found
        return
    with pytest.raises(StudioError) as caught:
        likeness.survey(dataset, shape)
    assert found in caught.value.message
    assert "options.alike" in caught.value.hint
    assert "score: label" in caught.value.hint
    known = likeness.survey(dataset, shape, yes=f"{values[0]}.0")  # as an old run may have it
    assert [known.of(value) for value in (values[0], float(values[0]), values[1])] == [1.0, 1.0, 0.0]
    task = tasks.get("embedding").bound({"alike": values[0]})  # as YAML reads a number
    assert task.survey(dataset, shape) == {"form": "labels", "alike": str(values[0])}
    assert likeness.survey(dataset, shape, scale=(0, 5)).of(values[1]) == values[1] / 5  # somebody said that they are


@pytest.mark.parametrize(("odd", "at"), [(45.0, "row 78: 45"), (700.0, "row 78: 700")])
def test_one_score_out_of_range_rescales_no_others(odd: float, at: str) -> None:
    values = [odd if place == 77 else (place % 26) / 5 for place in range(300)]
    dataset, shape = pairs(values)
    with pytest.raises(StudioError, match=at) as caught:
        likeness.survey(dataset, shape)
    assert "0 to 5" in caught.value.message
    assert "options.scale" in caught.value.hint
    assert likeness.survey(dataset, shape, scale=(0, 700)).high == 700
    values[77] = 5.0
    assert likeness.survey(*pairs(values)).high == 5.0
    assert likeness.survey(*pairs([place % 11 for place in range(300)])).high == 10.0


def test_sources_with_other_scales_are_not_thrown_together() -> None:
    parts = []
    for name, most in (("a", 5), ("b", 1)):
        dataset, shape = pairs([most * (n % 6) / 5 for n in range(60)])
        parts.append(Part(name, dataset, shape))
    whole, mixed = concatenated(parts)
    with pytest.raises(StudioError, match="other scales: a 0 to 5, b 0 to 1"):
        likeness.survey(whole, mixed)
    assert likeness.survey(whole, mixed, scale=(0, 5)).high == 5
    whole, mixed = concatenated([parts[0], Part("c", parts[0].dataset, parts[0].shape)])
    assert likeness.survey(whole, mixed).high == 5


def test_unknown_modules_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    entries = [{"idx": 0, "path": "", "type": "x.Transformer"}, {"idx": 1, "path": "1", "type": "x.LSTM"}]
    (tmp_path / "modules.json").write_text(json.dumps(entries))
    assert "LSTM" in sentence_files.fault(tmp_path)
    entries[1] = {"idx": 1, "path": "../out", "type": "x.Pooling"}
    (tmp_path / "modules.json").write_text(json.dumps(entries))
    assert "outside" in sentence_files.fault(tmp_path)


# -- losses ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["mnrl", "cosent", "cosine", "contrastive", "triplet"])
@pytest.mark.parametrize("dimensions", [(), (16, 8)])
def test_losses_are_those_of_the_library(name: str, dimensions: tuple[int, ...]) -> None:
    import torch
    from sentence_transformers.sentence_transformer import losses

    torch.manual_seed(0)
    vectors = [torch.randn(6, 16) for _ in range(3 if name == "triplet" else 2)]
    labels = torch.tensor([0.0, 1, 1, 0, 1, 0])

    class Model(torch.nn.Module):
        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            return {"sentence_embedding": features["given"]}

        def get_embedding_dimension(self) -> int:
            return 16

    model: Any = Model()
    made: Any = {
        "mnrl": lambda: losses.MultipleNegativesRankingLoss(model, scale=10.0),
        "cosent": lambda: losses.CoSENTLoss(model, scale=10.0),
        "cosine": lambda: losses.CosineSimilarityLoss(model),
        "contrastive": lambda: losses.ContrastiveLoss(model, margin=0.4),
        "triplet": lambda: losses.TripletLoss(
            model, distance_metric=losses.TripletDistanceMetric.COSINE, triplet_margin=0.4
        ),
    }[name]()
    if dimensions:
        made = losses.MatryoshkaLoss(model, made, list(dimensions))
    wanted = made([{"given": one} for one in vectors], labels)
    found = vector_losses.value(name, vectors, labels, scale=10.0, margin=0.4, dimensions=dimensions)
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)
    if name == "mnrl":
        with pytest.raises(StudioError, match="matryoshka"):
            vector_losses.value(name, vectors, labels, scale=10.0, margin=0.4, dimensions=(32,))


@pytest.mark.parametrize("sampling", ["unique", "undersampling", "oversampling"])
def test_pairs_are_as_many_as_setfit_makes(sampling: Any) -> None:
    labels = [0] * 4 + [1] * 4 + [2] * 3
    alike, unlike = 10 + 10 + 6, 4 * 4 + 4 * 3 + 4 * 3
    first, second, same = pair_set.pairs(labels, sampling, None, 0)
    wanted = {
        "unique": (alike, unlike), "undersampling": (alike, alike), "oversampling": (unlike, unlike),
    }[sampling]  # fmt: skip
    assert (int(same.sum()), int((same == 0).sum())) == wanted
    assert all((labels[a] == labels[b]) == bool(one) for a, b, one in zip(first, second, same, strict=True))
    assert len(pair_set.pairs(labels, sampling, 8, 0)[0]) == 8
    assert [list(part) for part in pair_set.pairs(labels, sampling, None, 0)] == [
        list(first), list(second), list(same)
    ]  # fmt: skip


# -- batches whose rows are held against each other ------------------------------------------------------------------
def test_rows_of_a_batch_are_mixed_and_share_no_text() -> None:
    from ftstudio.engine.order import LengthGrouped, Mixed

    draw = random.Random(0)
    lengths = [draw.randint(3, 60) for _ in range(400)]
    texts = [(draw.randrange(40), 1000 + row) for row in range(400)]  # each anchor about ten times
    order = Mixed(lengths, 8, 3, None, texts)
    batches = [order.order(1)[at : at + 8] for at in range(0, 400, 8)]
    assert sorted(row for batch in batches for row in batch) == list(range(400))
    assert order.order(1) == Mixed(lengths, 8, 3, None, texts).order(1) != order.order(2)
    met = [len({texts[row][0] for row in batch}) < len(batch) for batch in batches]
    assert sum(met[:45]) == 0
    assert sum(met) < 5  # of what is left at the end some must
    spread = [max(lengths[row] for row in batch) - min(lengths[row] for row in batch) for batch in batches]
    grouped = LengthGrouped(lengths, 8, 3).order(1)
    like = [max(lengths[row] for row in grouped[at : at + 8]) - min(lengths[row] for row in grouped[at : at + 8])
            for at in range(0, 400, 8)]  # fmt: skip
    assert sum(spread) > 10 * sum(like)
    same = Mixed(lengths, 8, 3, None, [(7,)] * 400).order(0)  # nothing can be kept apart
    assert sorted(same) == list(range(400))


def test_texts_that_stay_apart_are_those_of_pairs(place: Path) -> None:
    task: Any = tasks.get("embedding")
    rows = [{"input_ids": [2, 7, 3, 2, 8, 3], "parts": [3, 3]}, {"input_ids": [2, 8, 3, 2, 7, 9, 3], "parts": [3, 4]}]
    assert task.bound({}, {"form": "pairs"}).texts_apart(rows) == [(0, 1), (1, 2)]
    assert task.bound({}, {"form": "scores"}).texts_apart(rows) == ()
    assert task.bound({"chunk": 4}, {"form": "pairs"}).chunk == 4
    assert task.bound({"chunk": 4, "loss": "cosine"}, {"form": "scores"}).chunk is None


@pytest.mark.parametrize("dimensions", [(), (16, 8)])
def test_a_batch_in_parts_has_the_gradients_of_the_whole(place: Path, dimensions: tuple[int, ...]) -> None:
    """Held against sentence-transformers' CachedMultipleNegativesRankingLoss too."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import losses

    from ftstudio.engine import gradient_cache
    from ftstudio.engine.collate import split
    from ftstudio.engine.loading import ModelSpec, load
    from ftstudio.engine.locate import locate
    from ftstudio.engine.objective import TaskObjective
    from ftstudio.tasks.base import Head

    folder = str(place / "model")
    model = load(locate(folder), ModelSpec(folder, "float32", "cpu", None, Head("encoder"))).eval()
    theirs: Any = SentenceTransformer(folder, device="cpu").eval()
    for weight in [*model.parameters(), *theirs.parameters()]:
        weight.requires_grad_(True)
    pairs = list(zip(sentences(7), sentences(7, 1), strict=True))
    task: Any = tasks.get("embedding").bound({"matryoshka": dimensions}, {"form": "pairs"})
    columns = [dict(theirs.tokenizer([pair[side] for pair in pairs], padding=True, return_tensors="pt"))
               for side in (0, 1)]  # fmt: skip
    rows = []
    for place_ in range(7):
        parts = [column["input_ids"][place_][column["attention_mask"][place_].bool()].tolist() for column in columns]
        rows.append({"input_ids": [*parts[0], *parts[1]], "parts": [len(part) for part in parts], "labels": 0.0})
    objective, batch = TaskObjective(task), task.collate(rows, 0)

    def gradients(loss: Any) -> list[torch.Tensor]:
        model.zero_grad()
        loss.backward()
        return [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]

    whole = objective(model, batch)
    wanted = gradients(whole)
    parts = split(batch, 3)
    assert [len(part["lengths"]) for part in parts] == [3, 3, 1]
    loss, pulls, _ = gradient_cache.look(objective, model, batch, parts)
    found = gradients(
        sum(
            gradient_cache.pulled(objective, model, {**part, "pulls": pull})
            for part, pull in zip(parts, pulls, strict=True)
        )
    )
    assert float(loss.detach()) == pytest.approx(float(whole.detach()), rel=1e-5)
    assert len(found) == len(wanted) > 30
    largest = max(float(one.abs().max()) for one in wanted)  # which the others are rounded beside
    assert all(torch.allclose(a, b, atol=1e-5 * max(1.0, largest)) for a, b in zip(found, wanted, strict=True))
    made: Any = losses.CachedMultipleNegativesRankingLoss(theirs, mini_batch_size=3)
    if dimensions:
        made = losses.MatryoshkaLoss(theirs, made, list(dimensions))
    value = made(columns, None)
    value.backward()
    assert 7 * float(value.detach()) == pytest.approx(float(loss.detach()), rel=1e-4)
    size = sum(float((weight.grad**2).sum()) for weight in theirs.parameters() if weight.grad is not None) ** 0.5
    assert 7 * size == pytest.approx(sum(float((one**2).sum()) for one in found) ** 0.5, rel=1e-3)


def test_the_second_look_has_the_dropout_of_the_first() -> None:
    import torch

    from ftstudio.engine.gradient_cache import Draws

    draws = Draws(torch.device("cpu"))
    first = torch.rand(5)
    after = torch.random.get_rng_state()
    with draws.again():
        assert torch.equal(torch.rand(5), first)
    assert torch.equal(torch.random.get_rng_state(), after)


# -- the whole loop --------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "lora"])
def test_the_saved_folder_is_a_sentence_transformer_with_the_same_vectors(place: Path, runs: Runs, name: str) -> None:
    import numpy as np
    from sentence_transformers import SentenceTransformer

    from ftstudio.engine.models import ModelStore
    from ftstudio.tasks.vectors import embed_rows

    run = runs[name]
    texts = [*sentences(5, 9), " ".join(sentences(9, 8))]  # the last one is longer than what is read
    materials = open_materials(load_recipe(run.recipe_path))
    task: Any = materials.task
    limit = materials.recipe.data.max_length
    assert limit == 32  # as the model's own settings say
    rows = [{"input_ids": ids, "parts": parts}
            for ids, parts, _ in task.framed([(text,) for text in texts], materials.tokenizer, limit)]  # fmt: skip
    with ModelStore().tuned(run).as_tuned() as model:
        ours = embed_rows(task, model, rows, 0).numpy()
    theirs = SentenceTransformer(str(run.model), device="cpu").encode(texts)
    base = SentenceTransformer(str(place / "model"), device="cpu").encode(texts)
    assert ours.shape == (6, 16)  # through the dense layer
    assert np.abs(ours - theirs).max() < 1e-5
    assert np.abs(ours - base).max() > 1e-3


@pytest.mark.slow
def test_scores_are_correlated_and_compared(runs: Runs) -> None:
    from scipy.stats import spearmanr

    run = runs["full"]
    last = [event for event in run.events() if event["kind"] == "eval"][-1]
    report = json.loads((run.compare.path / "report.json").read_text())
    tuned = report["arms"][1]["metrics"]
    rows = read_predictions(run.compare.path / f"{run.name}.jsonl")
    wanted = spearmanr([float(row.output) for row in rows], [float(row.reference or 0) for row in rows]).statistic
    assert tuned["spearman"] == pytest.approx(wanted, abs=1e-9)
    assert last["spearman"] == pytest.approx(tuned["spearman"], abs=1e-6)
    difference = next(one for one in report["differences"] if one["metric"] == "spearman")
    assert difference["low"] <= difference["difference"] <= difference["high"]


@pytest.mark.slow
def test_pairs_search_their_partner(runs: Runs) -> None:
    run = runs["lora"]
    report = json.loads((run.compare.path / "report.json").read_text())
    rows = read_predictions(run.compare.path / f"{run.name}.jsonl")
    ranks = [row.extra["rank"] for row in rows]
    metrics = report["arms"][1]["metrics"]
    assert metrics["accuracy"] == pytest.approx(sum(row.output == row.reference for row in rows) / len(rows))
    assert metrics["mrr@10"] == pytest.approx(sum(1 / rank for rank in ranks if rank <= 10) / len(ranks))
    assert metrics["recall@10"] == pytest.approx(sum(rank <= 10 for rank in ranks) / len(ranks))
    assert all((row.output == row.reference) == (row.extra["rank"] == 1) for row in rows)
    assert {entry["name"] for entry in report["categories"]} <= set(SEARCHED)


def test_few_shot_shows_its_steps_and_keeps_a_head_without_pickle(runs: Runs) -> None:
    run = runs["few"]
    phases = [event["phase"] for event in run.events() if event["kind"] == "phase"]
    steps = [phase for phase in phases if phase in ("pairs", "training", "head")]
    assert steps[0] == "pairs"
    assert steps[-1] == "head"
    assert "contrastive" in next(event["text"] for event in run.events() if event.get("phase") == "training")
    assert not [path for path in run.model.rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib", ".bin")]
    examples = load_recipe(run.recipe_path).resolved["task"]["examples"]  # type: ignore[index]
    assert {len(rows) for rows in examples.values()} == {4}
    rows = read_predictions(run.compare.path / f"{run.name}.jsonl")
    shares = [row.extra["probabilities"] for row in rows]
    assert all(max(share, key=share.get) == row.output for share, row in zip(shares, rows, strict=True))
    assert all(sum(share.values()) == pytest.approx(1, abs=1e-3) for share in shares)


def test_the_base_arm_has_a_head_fitted_on_the_same_examples(place: Path, runs: Runs) -> None:
    """The oracle: sentence-transformers' vectors and scikit-learn's regression alone."""
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression

    run = runs["few"]
    materials = open_materials(load_recipe(run.recipe_path))
    examples = [(place, label) for label, rows in materials.task.facts["examples"].items() for place in rows]
    texts = [materials.whole[row]["text"] for row, _ in examples]
    model = SentenceTransformer(str(place / "model"), device="cpu")
    head = LogisticRegression(max_iter=1000).fit(model.encode(texts), [label for _, label in examples])
    for row in read_predictions(run.compare.path / "base.jsonl"):
        [given] = head.predict_proba(model.encode([row.prompt]))
        wanted = dict(zip(head.classes_, given, strict=True))
        assert row.extra["probabilities"] == pytest.approx(wanted, abs=2e-3)


def test_a_plan_of_few_shots_tells_memory_and_held_out_rows_that_nobody_can_answer(place: Path) -> None:
    rows = write(place / "others.jsonl", [{"text": f"red {n}", "label": "unheard"} for n in range(30)])
    made = recipe(place / "model", place / "labels.jsonl", "full", "few-shot-classification", shots=4)
    value = plan(made)
    assert value["memory"]["estimated_bytes"] > 0
    assert value["memory"]["moments"]["evaluating"] > 0
    assert not [problem for problem in value["problems"] if "can't be estimated" in problem["text"]]
    assert value["labels"]["text"].startswith(f"{len(value['labels']['labels'])} labels: ")
    value = plan(made.with_changes({"data.eval": str(rows)}))
    [error] = [problem for problem in value["problems"] if problem["severity"] == "error"]
    assert not value["compatible"]
    assert not [
        problem for problem in value["problems"] if problem["severity"] == "note" and "None of" in problem["text"]
    ]
    assert "None of the 30 held-out rows can be used: the label 'unheard' is in no training row" in error["text"]
    assert error["key"] == "data.eval"


def test_a_label_without_examples_is_named(tmp_path: Path, place: Path) -> None:
    rows = [{"text": f"red cats {word}", "label": "common"} for word in WORDS] + [{"text": "run", "label": "rare"}]
    data = write(tmp_path / "rows.jsonl", rows)
    made = recipe(place / "model", data, "full", "few-shot-classification")
    told = []
    for seed in range(6):  # whichever side of the split the rare row falls on
        try:
            open_materials(made.with_changes({"training.seed": seed}))
        except StudioError as error:
            told.append(error.message)
    assert told
    assert all("'rare'" in text for text in told)


def test_examples_with_other_texts_stand_for_other_answers(tmp_path: Path, place: Path) -> None:
    """A repair of the data that changes what an example says changes the head, though its row has the same number."""
    rows = [{"text": f"{word} cats", "label": "ab"[at % 2]} for at, word in enumerate(WORDS[:12])]
    data = write(tmp_path / "rows.jsonl", rows)
    task: Any = open_materials(recipe(place / "model", data, "full", "few-shot-classification", shots=2)).task
    other = copy.copy(task)
    assert other.marks() == task.marks()
    other._examples = [{**task._examples[0], "input_ids": [5, 6, 7]}, *task._examples[1:]]
    assert other.marks()["examples"] == task.marks()["examples"]
    assert other.marks() != task.marks()


# -- errors ----------------------------------------------------------------------------------------------------------
def test_errors_of_scored_pairs_are_found_where_they_were_planted() -> None:
    rows = [
        Prediction(number, "a\nb", f"{number / 10:g}", f"{number / 50:.4f}", extra={"words": [5, 5], "others": 0.1})
        for number in range(50)
    ]
    rows[49] = Prediction(49, "a\nb", "4.9", "0.1", extra={"words": [5, 5], "others": 0.1})
    rows[0] = Prediction(0, "a\nb", "0", "0.95", extra={"words": [5, 5], "others": 0.9})
    found = categorise(rows, Context(only=SCORED))
    assert found.rows["similar_low"] == [49]
    assert found.rows["dissimilar_high"] == [0]
    assert set(found.rows["rank_inversion"]) == {0, 49}
    assert found.rows["anisotropy"] == [0]
    assert not found.rows["length_bias"]
    assert all(fired == 0 for fired, _ in found.references.values())


def test_hubs_and_a_bias_of_length_are_found() -> None:
    rows = [
        Prediction(number, "q", f"answer {number}", "hub" if number < 6 else f"answer {number}",
                   extra={"rank": 2 if number < 6 else 1, "cosine": 0.5, "words": [4, 40 if number < 6 else 4]})
        for number in range(30)
    ]  # fmt: skip
    found = categorise(rows, Context(only=SEARCHED))
    assert found.rows["hub"] == found.rows["not_found"] == found.rows["length_bias"] == list(range(6))


@pytest.mark.slow
def test_a_checkpoint_keeps_what_the_dense_layer_learnt(place: Path, runs: Runs) -> None:
    """transformers puts back the weights it knows; those of the modules behind them come from their own folders."""
    import torch

    from ftstudio.engine import sentence
    from ftstudio.engine.loading import ModelSpec, load
    from ftstudio.engine.locate import locate
    from ftstudio.tasks.base import Head

    run = runs["full"]
    spec = ModelSpec(str(place / "model"), "float32", "cpu", None, Head("encoder"))
    model = load(locate(str(place / "model")), spec)
    dense = sentence.of(model).parts[1].linear.weight  # type: ignore[union-attr]
    before = dense.detach().clone()
    sentence.restore(model, run.checkpoints / "checkpoint-4")
    tuned = load(locate(str(run.model)), ModelSpec(str(run.model), "float32", "cpu", None, Head("encoder")))
    assert torch.equal(dense, sentence.of(tuned).parts[1].linear.weight)  # type: ignore[union-attr]
    assert not torch.equal(dense, before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "name", "chunk"), [("scored", "cosine", None), ("scored", "cosent", None), ("pairs", "mnrl", 3)]
)
def test_steps_are_those_of_the_library_by_hand(
    place: Path, tmp_path: Path, form: str, name: str, chunk: int | None
) -> None:
    """All rows in one batch and no dropout: then order and chance play no part, and the weights must be the same; also
    where the batch is looked at in parts."""
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import losses

    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    folder = make_sentence_encoder(tmp_path / "model", dense=16, **still)
    rows = [json.loads(line) for line in (place / f"{form}.jsonl").read_text().splitlines()][:8]
    made = recipe(folder, write(tmp_path / "rows.jsonl", rows), "full", chunk=chunk, loss=name).with_changes({
        "data.eval": None, "training.steps": 3, "training.learning_rate": 1e-3, "training.warmup": 0,
        "training.scheduler": "constant", "training.precision": "fp32",
    })  # fmt: skip
    run = prepare_run(made, Workspace(tmp_path / "studio"))
    Worker().execute(Train(run.path))
    assert run.state() == "done", run.events()[-1]
    model = SentenceTransformer(str(folder), device="cpu").train()
    kinds: dict[str, Any] = {
        "cosine": losses.CosineSimilarityLoss,
        "cosent": losses.CoSENTLoss,
        "mnrl": losses.MultipleNegativesRankingLoss,
    }
    loss = kinds[name](model)
    names = ("sentence1", "sentence2") if form == "scored" else ("anchor", "positive")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    labels = torch.tensor([row.get("score", 0) / 5 for row in rows])
    for _ in range(3):
        features = [
            dict(model.tokenizer([row[name] for row in rows], padding=True, return_tensors="pt")) for name in names
        ]
        loss(features, labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    texts = sentences(6, 7)
    ours = SentenceTransformer(str(run.model), device="cpu").encode(texts)
    before = SentenceTransformer(str(folder), device="cpu").encode(texts)
    assert np.abs(ours - model.eval().encode(texts)).max() < 1e-4
    assert np.abs(ours - before).max() > 1e-3


@pytest.mark.slow
def test_a_batch_that_memory_will_not_hold_is_learnt_as_a_whole(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer

    from ftstudio.engine.objective import TaskObjective

    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    folder = make_sentence_encoder(tmp_path / "model", dense=16, **still)
    plain, asked = TaskObjective.outputs, []

    def limited(self: TaskObjective, model: Any, batch: Any) -> Any:
        asked.append(len(batch["lengths"]))
        if asked[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return plain(self, model, batch)

    found = []
    for name, outputs in (("whole", plain), ("parts", limited)):
        monkeypatch.setattr(TaskObjective, "outputs", outputs)
        made = recipe(folder, place / "pairs.jsonl", "full").with_changes({"training.steps": 3})
        run = prepare_run(made, Workspace(tmp_path / name))
        Worker().execute(Train(run.path))
        assert run.state() == "done", run.events()[-1]
        found.append(SentenceTransformer(str(run.model), device="cpu").encode(sentences(6, 7)))
        evals = [event for event in run.events() if event["kind"] == "eval"]
    assert max(asked) == 8
    assert asked.count(8) < asked.count(2)
    assert np.abs(found[0] - found[1]).max() < 1e-4
    assert evals[-1]["loss"] > 0


@pytest.mark.parametrize("parted", [False, True])
def test_texts_of_like_width_share_a_pass_unless_other_processes_wait_for_it(place: Path, parted: bool):
    """Passes that depended on what is in a batch would have each process wait for another one's for good."""
    import torch
    from transformers import AutoModel

    from ftstudio.engine import sentence

    folder = make_sentence_encoder(place / f"encoder-{parted}")
    model: Any = AutoModel.from_pretrained(folder).eval()
    sentence.attach(model, folder)
    passes: list[tuple[int, ...]] = []
    model.embeddings.register_forward_hook(lambda module, given, out: passes.append(tuple(out.shape[:2])))
    task: Any = tasks.get("embedding")
    like, unlike = ({"input_ids": list(range(2, 2 + 5 + more)), "parts": [4, 1 + more]} for more in (3, 9))
    alone = []
    for rows in ([like, like], [unlike, unlike]):
        inputs = task.collate([{**row, "labels": 0} for row in rows], 0)["inputs"]
        with torch.no_grad():
            alone.append(task.outputs(model, inputs))
            if parted:
                model.ftstudio_parted = True
                passes.clear()
                again = task.outputs(model, inputs)
                del model.ftstudio_parted
                assert passes == [(2, 4), (2, inputs["1"]["input_ids"].shape[1])]
                assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(again, alone[-1], strict=True))
    if not parted:
        assert passes == [(4, 4), (2, 4), (2, 10)]
