"""What a garment is, told from its picture by a tiny vision-language model made from a configuration: tuned by the
studio and written by hand on transformers alone, on the same rows with the same settings.

    python tests/benchmarks/pictures.py [--kind llava] [--epochs 8] [--seed 0 1 2] [--column masterCategory]

The model's first weights are the same both ways; the order within an epoch differs. Scored by exact answers, written
greedily, beside the share of the commonest answer.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny_pictures import KINDS, make_vlm

SETTINGS: dict[str, Any] = {"batch_size": 8, "learning_rate": 2e-3, "scheduler": "linear", "warmup": 0.1}
NEW = 16  # tokens of an answer
Rows = list[dict[str, Any]]


def rows_of(folder: Path, column: str) -> tuple[Rows, Rows]:
    """Training and test rows of turns with a picture each."""
    with open(folder / "sample_styles.csv", newline="", encoding="utf-8") as file:
        found = [row for row in csv.DictReader(file) if (folder / "sample_images" / f"{row['id']}.jpg").is_file()]
    random.Random(0).shuffle(found)
    rows = [
        {
            "messages": [
                {"role": "user", "content": "<image>What is it?"},
                {"role": "assistant", "content": row[column]},
            ],
            "images": [str((folder / "sample_images" / f"{row['id']}.jpg").resolve())],
        }
        for row in found
    ]
    return rows[len(rows) // 4 :], rows[: len(rows) // 4]


def by_studio(model: Path, folder: Path, arguments: argparse.Namespace, seed: int) -> tuple[float, float]:
    """(held-out loss, share of exact answers) as `ftstudio train` and `ftstudio compare` tell them."""
    recipe = {
        "task": "image-text-to-text", "model": str(model), "method": "full",
        "data": {"train": str(folder / "train.jsonl"), "eval": str(folder / "test.jsonl"), "max_length": 256},
        "training": {**SETTINGS, "epochs": arguments.epochs, "seed": seed, "precision": "fp32", "device": "cpu",
                     "save_steps": 1_000_000},
        "evaluation": {"every": 1_000_000, "rows": 1000, "samples": 0, "metrics": ["exact"], "max_new_tokens": NEW,
                       "forgetting": False},
    }  # fmt: skip
    path = folder / f"recipe-{seed}.yaml"
    path.write_text(json.dumps(recipe))
    trained = told(["train", str(path)], folder)
    arms = told(["compare", trained["run"], "--arms", "base,tuned"], folder)["arms"]
    return trained["eval"]["loss"], arms[-1]["metrics"]["exact_match"]


def told(command: list[str], folder: Path) -> dict[str, Any]:
    """What the studio's COMMAND says as JSON."""
    call = [sys.executable, "-m", "ftstudio", *command, "--json", "--workspace", str(folder / "studio")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the studio failed: {done.stderr.strip()[-400:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def by_hand(model: Path, train: Rows, test: Rows, arguments: argparse.Namespace, seed: int) -> tuple[float, float]:
    """The same with transformers' Trainer and the model's own processor."""
    import torch
    from transformers import AutoModelForImageTextToText, Trainer, TrainingArguments, set_seed

    from ftstudio.data import looked
    from ftstudio.tasks.picture_reader import reader_of

    set_seed(seed)
    processor = reader_of(model).processor  # transformers' own, which AutoProcessor finds only for published models
    network = AutoModelForImageTextToText.from_pretrained(model)

    def encode(row: dict[str, Any], answer: bool = True) -> dict[str, Any]:
        asked, said = row["messages"]
        parts = [{"type": "image"}, {"type": "text", "text": asked["content"].removeprefix("<image>")}]
        turns = [{"role": "user", "content": parts}]
        pictures = [looked.load(name) for name in row["images"]]
        template = processor.tokenizer.chat_template
        before = processor.apply_chat_template(turns, chat_template=template, add_generation_prompt=True)
        found = dict(processor(text=[before], images=pictures, return_tensors="pt"))
        if answer:
            ids = processor.tokenizer(f"{said['content']}</s>", add_special_tokens=False, return_tensors="pt")[
                "input_ids"
            ]
            found["labels"] = torch.cat((torch.full_like(found["input_ids"], -100), ids), 1)
            found["input_ids"] = torch.cat((found["input_ids"], ids), 1)
            found["attention_mask"] = torch.ones_like(found["input_ids"])
        return found

    def together(rows: list[dict[str, Any]]) -> dict[str, Any]:
        width = max(row["input_ids"].shape[1] for row in rows)
        fill = {"input_ids": 258, "attention_mask": 0, "labels": -100}
        found = {}
        for name in rows[0]:
            parts = [row[name] for row in rows]
            if name in fill:
                parts = [torch.nn.functional.pad(part, (0, width - part.shape[1]), value=fill[name]) for part in parts]
            found[name] = torch.cat(parts)
        return found

    steps = round(arguments.epochs * -(-len(train) // SETTINGS["batch_size"]))
    settings = TrainingArguments(
        output_dir=str(model / "hand"), max_steps=steps, per_device_train_batch_size=SETTINGS["batch_size"],
        learning_rate=SETTINGS["learning_rate"], lr_scheduler_type="linear", warmup_steps=round(0.1 * steps), seed=seed,
        use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True, logging_strategy="no",
        remove_unused_columns=False,
    )  # fmt: skip
    rows: Any = [encode(row) for row in train]
    Trainer(model=network, args=settings, train_dataset=rows, data_collator=together).train()
    network.eval()
    total, count, right = 0.0, 0, 0
    with torch.no_grad():
        for row in test:
            whole, asked = encode(row), encode(row, answer=False)
            labels = int((whole["labels"] != -100).sum())
            total += float(network(**whole).loss) * labels
            count += labels
            written = network.generate(
                **asked, do_sample=False, max_new_tokens=NEW, eos_token_id=257, pad_token_id=258
            )[0, asked["input_ids"].shape[1] :]
            text = processor.tokenizer.decode(written, skip_special_tokens=True)
            right += text.strip() == row["messages"][1]["content"]
    return total / count, right / len(test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--kind", choices=KINDS, default="llava")
    parser.add_argument("--column", default="masterCategory")
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    train, test = rows_of(arguments.shared / "data" / "fashion-images", arguments.column)
    common = Counter(row["messages"][1]["content"] for row in test).most_common(1)[0]
    print(
        f"{len(train)} training rows, {len(test)} test rows, {arguments.kind}, {arguments.epochs:g} epochs, {SETTINGS}"
    )
    print(f"always {common[0]!r}: {common[1] / len(test):.3f}", flush=True)
    table: dict[str, list[tuple[float, float]]] = {"studio": [], "by hand": []}
    for seed in arguments.seed:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            for name, rows in (("train", train), ("test", test)):
                (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
            model = make_vlm(folder / "model", arguments.kind, seed)
            for name in table:
                if name == "studio":
                    found = by_studio(model, folder, arguments, seed)
                else:
                    found = by_hand(model, train, test, arguments, seed)
                table[name].append(found)
                print(f"seed {seed}  {name:8} loss {found[0]:.4f}  exact {found[1]:.4f}", flush=True)
    for place, score in enumerate(("loss", "exact")):
        means = [statistics.mean(one[place] for one in found) for found in table.values()]
        print(f"{score:6} studio {means[0]:.4f}, by hand {means[1]:.4f}, ratio {means[0] / max(means[1], 1e-9):.4f}")


if __name__ == "__main__":
    main()
