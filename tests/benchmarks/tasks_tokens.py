"""Tags, hidden words and translations: the studio beside the same fine-tuning written by hand on transformers alone.

`python tests/benchmarks/tasks_tokens.py token-classification --model FOLDER --train FILE --eval FILE` trains both
ways on the same rows with the same settings, seed by seed, and prints what each scores on the same held-out rows. Files
are any that the studio reads; MODEL is an encoder (an encoder-decoder for seq2seq).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHAPES = {"token-classification": ("tokens", "tags"), "masked-lm": ("text",), "seq2seq": ("source", "target")}
SCORES = {
    "token-classification": ("loss", "entity_f1", "tag_accuracy"),
    "masked-lm": ("loss", "masked_accuracy"),
    "seq2seq": ("loss",),
}


def rows_of(path: str, task: str, count: int, reading: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The first COUNT usable rows of PATH, as plain columns."""
    from ftstudio.core.reading import Reading
    from ftstudio.data.read import open_dataset
    from ftstudio.data.shape import recognise

    dataset = open_dataset(path, reading=Reading(**reading))
    shape = recognise(dataset, task=task)
    for index in range(len(dataset)):
        row = dataset[index]
        found = {role: row[shape.columns[role]] for role in SHAPES[task]}
        if all(found.values()) and (task != "masked-lm" or found["text"].strip()):
            yield found
            count -= 1
        if not count:
            return


def by_studio(folder: Path, options: argparse.Namespace, seed: int) -> dict[str, float]:
    """What `ftstudio train` tells of its last evaluation."""
    recipe = {
        "task": options.task,
        "model": options.model,
        "method": {"name": "full"},
        "data": {
            "train": str(folder / "train.jsonl"),
            "eval": str(folder / "eval.jsonl"),
            "max_length": options.length,
            "columns": {role: role for role in SHAPES[options.task]},
        },
        "training": {
            "steps": options.steps, "batch_size": options.batch, "learning_rate": options.rate, "scheduler": "linear",
            "warmup": 0.1, "seed": seed, "device": "cpu", "precision": "fp32", "save_steps": options.steps,
        },
        "evaluation": {"every": options.steps, "rows": 100_000, "samples": 0},
    }  # fmt: skip
    path = folder / f"recipe-{seed}.yaml"
    path.write_text(json.dumps(recipe))  # JSON is YAML
    command = [sys.executable, "-m", "ftstudio", "train", str(path), "--json", "--workspace", str(folder / "studio")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the studio failed: {done.stderr.strip()[-400:]}")
    found: dict[str, float] = json.loads(done.stdout)["eval"]
    return found


def by_hand(folder: Path, options: argparse.Namespace, seed: int) -> dict[str, float]:
    """The same with transformers' Trainer and collators."""
    import transformers
    from transformers import AutoTokenizer, Trainer, TrainingArguments

    transformers.set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    parts = [
        [json.loads(line) for line in (folder / name).read_text().splitlines()]
        for name in ("train.jsonl", "eval.jsonl")
    ]
    build = {"token-classification": tagger, "masked-lm": filler, "seq2seq": translator}[options.task]
    model, collator, (train, held_out), score = build(parts, tokenizer, options)
    arguments = TrainingArguments(
        output_dir=str(folder / "hand"), max_steps=options.steps, per_device_train_batch_size=options.batch,
        learning_rate=options.rate, lr_scheduler_type="linear", warmup_steps=round(0.1 * options.steps), seed=seed,
        use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True, logging_strategy="no",
        remove_unused_columns=False, max_grad_norm=1.0, weight_decay=0.0,
    )  # fmt: skip
    Trainer(model=model, args=arguments, train_dataset=train, data_collator=collator).train()
    return score(model.eval(), held_out, collator)


def losses(model: Any, rows: list[Any], collator: Any) -> Iterator[tuple[float, Any, Any]]:
    """(loss summed over labels, logits, labels) of batches of ROWS."""
    import torch

    for start in range(0, len(rows), 16):
        batch = collator(rows[start : start + 16])
        with torch.no_grad():
            found = model(**batch)
        yield float(found.loss) * int((batch["labels"] != -100).sum()), found.logits, batch["labels"]


def tagger(parts: list[Any], tokenizer: Any, options: argparse.Namespace) -> tuple[Any, Any, Any, Any]:
    """A token classifier, first sub-tokens labelled, scored by seqeval in strict mode."""
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2
    from transformers import AutoModelForTokenClassification, DataCollatorForTokenClassification

    names = sorted({tag for row in parts[0] for tag in row["tags"]})
    known = {name: place for place, name in enumerate(names)}
    model = AutoModelForTokenClassification.from_pretrained(options.model, num_labels=len(names))

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        found = tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=options.length)
        owners = found.word_ids()
        labels = [
            -100 if owner is None or owner == owners[at - 1] else known[row["tags"][owner]]
            for at, owner in enumerate(owners)
        ]
        return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"], "labels": labels}

    usable = [row for row in parts[1] if set(row["tags"]) <= known.keys()]
    wanted = [row["tags"] for row in usable]

    def score(model: Any, rows: list[Any], collator: Any) -> dict[str, float]:
        total, count, given = 0.0, 0, []
        for loss, logits, labels in losses(model, rows, collator):
            total += loss
            count += int((labels != -100).sum())
            for best, row in zip(logits.argmax(-1).tolist(), labels.tolist(), strict=True):
                given.append([names[tag] for tag, label in zip(best, row, strict=True) if label != -100])
        given = [tags + ["O"] * (len(right) - len(tags)) for tags, right in zip(given, wanted, strict=True)]
        right = sum(a == b for x, y in zip(given, wanted, strict=True) for a, b in zip(x, y, strict=True))
        f1 = f1_score(wanted, given, mode="strict", scheme=IOB2)
        return {"loss": total / count, "entity_f1": f1, "tag_accuracy": right / sum(map(len, wanted))}

    collator = DataCollatorForTokenClassification(tokenizer)
    return model, collator, [list(map(encode, part)) for part in (parts[0], usable)], score


def filler(parts: list[Any], tokenizer: Any, options: argparse.Namespace) -> tuple[Any, Any, Any, Any]:
    """A masked language model with transformers' own masking."""
    import torch
    from transformers import AutoModelForMaskedLM, DataCollatorForLanguageModeling

    model = AutoModelForMaskedLM.from_pretrained(options.model)

    def encode(rows: list[Any]) -> list[Any]:
        found = tokenizer([row["text"] for row in rows], add_special_tokens=False)["input_ids"]
        size = options.length - 2
        windows = [ids[at : at + size] for ids in found for at in range(0, len(ids), size)]
        return [{"input_ids": tokenizer.build_inputs_with_special_tokens(ids)} for ids in windows]

    def score(model: Any, rows: list[Any], collator: Any) -> dict[str, float]:
        torch.manual_seed(1)
        total, count, right = 0.0, 0, 0
        for loss, logits, labels in losses(model, rows, collator):
            total += loss
            count += int((labels != -100).sum())
            right += int((logits.argmax(-1) == labels).sum())
        return {"loss": total / count, "masked_accuracy": right / count}

    return model, DataCollatorForLanguageModeling(tokenizer), [encode(part) for part in parts], score


def translator(parts: list[Any], tokenizer: Any, options: argparse.Namespace) -> tuple[Any, Any, Any, Any]:
    """An encoder-decoder with labels from `text_target`."""
    from transformers import AutoModelForSeq2SeqLM, DataCollatorForSeq2Seq

    model = AutoModelForSeq2SeqLM.from_pretrained(options.model)

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        cut = {"truncation": True, "max_length": options.length}
        found = tokenizer(row["source"], **cut)
        labels = tokenizer(text_target=row["target"], **cut)["input_ids"]
        return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"], "labels": labels}

    def score(model: Any, rows: list[Any], collator: Any) -> dict[str, float]:
        found = [(loss, int((labels != -100).sum())) for loss, _, labels in losses(model, rows, collator)]
        return {"loss": sum(loss for loss, _ in found) / sum(count for _, count in found)}

    return model, DataCollatorForSeq2Seq(tokenizer, model=model), [list(map(encode, part)) for part in parts], score


def main() -> None:
    """Both ways, seed by seed, and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=sorted(SHAPES))
    parser.add_argument("--model", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--eval", required=True)
    parser.add_argument(
        "--reading", type=json.loads, default={}, help='how TRAIN is read, as JSON, such as {"pair": …}'
    )
    parser.add_argument("--reading-eval", type=json.loads, default=None)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--eval-rows", type=int, default=200)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    options.model = os.path.abspath(options.model)
    table: dict[str, list[dict[str, float]]] = {"studio": [], "by hand": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        named = (("train", options.rows, options.reading), ("eval", options.eval_rows, options.reading_eval))
        for name, count, reading in named:
            rows = rows_of(getattr(options, name), options.task, count, options.reading if reading is None else reading)
            (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        for seed in range(options.seeds):
            for name, way in (("studio", by_studio), ("by hand", by_hand)):
                found = way(folder, options, seed)
                table[name].append(found)
                told = "  ".join(f"{score} {found[score]:.4f}" for score in SCORES[options.task])
                print(f"seed {seed}  {name:<8} {told}", flush=True)
    for name, found in table.items():
        for score in SCORES[options.task]:
            values = [one[score] for one in found]
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            print(f"{name:<8} {score:<16} {statistics.mean(values):.4f}{spread}")


if __name__ == "__main__":
    main()
