"""One training of the benchmark, in a process of its own: `training.py` starts it and reads the JSON line it prints."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402  the path comes first

Row = dict[str, list[int]]

# Llamas with random weights: most of the work in the vocabulary (heavy, 21.7M), most of it in the layers (light, 27M)
MODELS: dict[str, dict[str, int]] = {
    "heavy": {"vocab_size": 32_000, "hidden_size": 256, "intermediate_size": 1040, "layers": 5, "heads": 4},
    "light": {"vocab_size": 6_000, "hidden_size": 512, "intermediate_size": 1584, "layers": 6, "heads": 8},
    "quick": {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "layers": 2, "heads": 4},
}
PROMPT, COMPLETION, LONGEST = (54, 0.35), (39, 1.1), 512  # (mean, sigma) of log-normal lengths, tokens


@dataclass(frozen=True)
class Setting:
    """What is trained, in which arithmetic."""

    method: str
    precision: str
    checkpointing: bool = False


SETTINGS = {
    "full fp32": Setting("full", "fp32"),
    "lora fp32": Setting("lora", "fp32"),
    "lora bf16": Setting("lora", "bf16"),
    "qlora bf16 checkpointed": Setting("qlora", "bf16", True),
}


def make_rows(count: int, vocabulary: int, seed: int = 0) -> list[Row]:
    """COUNT rows of Alpaca-like lengths (mean 93 tokens, 42 % of them labels); ids log-uniform, as words nearly are."""
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        parts = []
        for mean, sigma in (PROMPT, COMPLETION):
            length = int(draw.lognormal(np.log(mean) - sigma**2 / 2, sigma))
            size = min(max(length, 1), LONGEST)
            parts.append([int(token) for token in vocabulary ** draw.random(size) - 1])
        rows.append({"input_ids": parts[0] + parts[1], "labels": [-100] * len(parts[0]) + parts[1]})
    return rows


def make_model(name: str, folder: Path) -> None:
    """The model called NAME with random weights into FOLDER."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    values = MODELS[name]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=values["vocab_size"],
        hidden_size=values["hidden_size"],
        intermediate_size=values["intermediate_size"],
        num_hidden_layers=values["layers"],
        num_attention_heads=values["heads"],
        num_key_value_heads=values["heads"],
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


class Padded:
    """What transformers' own collator makes of rows: padded on the right, with an attention mask."""

    def __call__(self, rows: list[Row]) -> dict[str, Any]:
        import torch

        width = max(len(row["input_ids"]) for row in rows)

        def filled(name: str, value: int) -> Any:
            return torch.tensor([list(row[name]) + [value] * (width - len(row[name])) for row in rows])

        mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows])
        return {"input_ids": filled("input_ids", 2), "labels": filled("labels", -100), "attention_mask": mask}


def plain_loss(model: Any, rows: list[Row]) -> float:
    """Nats a trained token over ROWS, by the model's own forward pass on padded rows."""
    import torch

    model.eval()
    total, tokens = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(rows), 8):
            inputs = _at(model, Padded()(rows[start : start + 8]))
            count = int((inputs["labels"][:, 1:] != -100).sum())
            total += float(model(**inputs, use_cache=False).loss) * count
            tokens += count
    model.train()
    return total / tokens


def _at(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """INPUTS where MODEL is."""
    device = next(model.parameters()).device
    return {name: value.to(device) for name, value in inputs.items()}


class Clock:
    """Seconds and real tokens from the second step on; the first warms up. Of the process on a CPU, which others may
    use too; on a GPU by the clock on the wall, when it has done all that it was given."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.tokens = self.steps = 0
        self.began = 0.0

    def now(self) -> float:
        """Seconds."""
        if self.device != "cuda":
            return time.process_time()
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()

    def watch(self, trainer: Any, count: Any) -> None:
        """Count what TRAINER trains on: COUNT(inputs) gives the tokens of a batch that are no padding."""
        step = trainer.training_step

        def counted(model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            if self.steps == 1:
                self.began = self.now()
            if self.steps:
                self.tokens += count(inputs)
            self.steps += 1
            return step(model, inputs, *rest, **named)

        trainer.training_step = counted

    def rate(self) -> float:
        """Real tokens a second."""
        return self.tokens / (self.now() - self.began)


def recipe_of(model: Path, setting: Setting, options: argparse.Namespace) -> Any:
    """The studio's recipe of this training; the others get the same values."""
    from ftstudio.core.recipe import Recipe

    return Recipe.model_validate(
        {
            "model": str(model),
            "method": setting.method,
            "data": {"train": "rows.jsonl"},
            "training": {
                "steps": options.steps,
                "batch_size": options.batch,
                "precision": setting.precision,
                "gradient_checkpointing": setting.checkpointing,
                "device": options.device,
            },
        }
    )


def studio(model: Any, recipe: Any, machine: Any, rows: list[Row], folder: Path, clock: Clock) -> Any:
    """The studio's engine, as a run puts it together."""
    from ftstudio import methods, tasks
    from ftstudio.engine.arguments import arguments
    from ftstudio.engine.levers import choose
    from ftstudio.engine.meter import Meter
    from ftstudio.engine.trainer import StudioTrainer

    class Listener:
        first_loss = evaluated_at = None

        def begun(self, trainer: Any) -> None:
            pass

        def planned(self, step: int, last: int) -> set[str]:
            return set()

        def stepped(self, trainer: Any, logs: dict[str, float]) -> None:
            pass

        def between(self, trainer: Any) -> None:
            pass

    method = methods.get(recipe.method.name)
    lengths = [len(row["input_ids"]) for row in rows]
    trainer = StudioTrainer(
        model,
        arguments(recipe, method, machine, folder),
        rows,  # type: ignore[arg-type]
        [],
        lengths,
        choose(model, rows, lengths, machine, recipe, 2, tasks.get("sft")),
        Listener(),  # type: ignore[arg-type]
        Meter(),
        keep=1,
    )
    clock.watch(trainer, lambda inputs: inputs["tokens"])
    return trainer


def transformers_own(
    model: Any, recipe: Any, machine: Any, rows: list[Row], folder: Path, clock: Clock, *, grouped: bool
) -> Any:
    """Plain transformers: rows padded to the longest of the batch, in random order or GROUPED by length."""
    from transformers import Trainer

    values = plain_arguments(recipe, machine, folder)
    if grouped:
        values.train_sampling_strategy = "group_by_length"
    trainer = Trainer(model=model, args=values, train_dataset=rows, data_collator=Padded())  # type: ignore[arg-type]
    clock.watch(trainer, lambda inputs: int(inputs["attention_mask"].sum()))
    return trainer


def plain_arguments(recipe: Any, machine: Any, folder: Path) -> Any:
    """The studio's arguments with transformers' own rhythm of logging."""
    from ftstudio import methods
    from ftstudio.engine.arguments import arguments

    values = arguments(recipe, methods.get(recipe.method.name), machine, folder)
    # the studio's own mixed precision lies in its loss, not in these
    return dataclasses.replace(values, logging_steps=10, bf16=machine.precision == "bf16")


def flash(model: Any, recipe: Any, machine: Any, rows: list[Row], folder: Path, clock: Clock) -> Any:
    """Plain transformers with FlashAttention: rows laid end to end, without padding, as it advises."""
    from transformers import DataCollatorWithFlattening, Trainer

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner.set_attn_implementation("flash_attention_2")
    trainer = Trainer(
        model=model,
        args=plain_arguments(recipe, machine, folder),
        train_dataset=rows,  # type: ignore[arg-type]
        data_collator=DataCollatorWithFlattening(return_flash_attn_kwargs=True),
    )
    clock.watch(trainer, lambda inputs: int(inputs["input_ids"].numel()))
    return trainer


def trl_packed(model: Any, recipe: Any, machine: Any, rows: list[Row], folder: Path, clock: Clock) -> Any:
    """TRL's SFTTrainer, packing rows; one packed row holds as many tokens as a batch of the others does."""
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    ours = plain_arguments(recipe, machine, folder)
    mean = sum(len(row["input_ids"]) for row in rows) / len(rows)
    width = max(int(mean * recipe.training.batch_size), max(len(row["input_ids"]) for row in rows))
    values = SFTConfig(
        output_dir=str(folder),
        max_steps=recipe.training.steps,
        learning_rate=ours.learning_rate,
        lr_scheduler_type=ours.lr_scheduler_type,
        warmup_steps=ours.warmup_steps,
        per_device_train_batch_size=1,
        bf16=ours.bf16,
        use_cpu=ours.use_cpu,
        optim=ours.optim,
        seed=ours.seed,
        max_length=width,
        packing=True,
        gradient_checkpointing=recipe.training.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=10,
        dataloader_pin_memory=False,
    )
    from tokenizers import Tokenizer, models

    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<pad>": 2}, unk_token="<pad>")),
        eos_token="</s>",
        pad_token="<pad>",
    )
    trainer = SFTTrainer(
        model=model,
        args=values,
        train_dataset=Dataset.from_list(rows),  # type: ignore[arg-type]
        processing_class=words,
    )
    clock.watch(trainer, lambda inputs: int(inputs["input_ids"].numel()))
    return trainer


def engine_loss(trainer: Any, rows: list[Row], name: str, machine: Any) -> float:
    """What the engine called NAME says the loss of ROWS is before training, by its own path; dropout off."""
    import torch

    if name != "studio":
        with torch.autocast(machine.device, machine.dtype, enabled=machine.precision != "fp32"):
            return plain_loss(trainer.model, rows)
    trainer.model.eval()
    with torch.no_grad():
        inputs = trainer._prepare_inputs(trainer.data_collator([{**row, "row": at} for at, row in enumerate(rows)]))
        with trainer.compute_loss_context_manager():
            loss = float(trainer.compute_loss(trainer.model, inputs))
    trainer.model.train()
    return loss


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train as OPTIONS say. What came out, JSON-ready."""
    import torch
    import transformers

    from ftstudio import methods
    from ftstudio.engine import hardware, loading
    from ftstudio.engine.locate import Located
    from ftstudio.engine.models import ModelStore

    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    setting = SETTINGS[options.setting]
    recipe = recipe_of(options.model, setting, options)
    machine = hardware.resolve(recipe)
    method = methods.get(setting.method)
    loaded = loading.load(Located(options.model, "benchmark"), ModelStore().spec(recipe, training=True))
    torch.manual_seed(0)
    model = method.apply(loaded, method.settings({}))
    rows = make_rows(options.rows, loaded.config.vocab_size)
    held_out = make_rows(32, loaded.config.vocab_size, seed=1)
    clock = Clock(machine.device)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if options.engine == "studio":
            trainer = studio(model, recipe, machine, rows, folder, clock)
        elif options.engine == "hf flash":
            trainer = flash(model, recipe, machine, rows, folder, clock)
        elif options.engine == "trl packed":
            trainer = trl_packed(model, recipe, machine, rows, folder, clock)
        else:
            grouped = options.engine == "hf grouped"
            trainer = transformers_own(model, recipe, machine, rows, folder, clock, grouped=grouped)
        before = engine_loss(trainer, rows[:8], options.engine, machine)
        trainer.train()
        rate = clock.rate()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if torch.cuda.is_available() and machine.device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    with torch.autocast(machine.device, machine.dtype, enabled=machine.precision != "fp32"):
        after = plain_loss(trainer.model, held_out)
    return {
        "rate": rate,
        "steps": clock.steps,
        "batch_loss": before,
        "held_out_loss": after,
        "peak": peak,
        "levers": trainer.levers.told if options.engine == "studio" else None,
    }


def why_absent(engine: str, device: str) -> str:
    """Why ENGINE can't be measured on DEVICE here; empty where it can."""
    if engine == "hf flash" and device != "cuda":
        return "FlashAttention needs a GPU"
    needed = {"trl packed": ("trl", "trl"), "hf flash": ("flash_attn", "flash-attn")}.get(engine)
    if needed is None:
        return ""
    try:
        importlib.import_module(needed[0])
    except ImportError:
        return f"not installed: pip install {needed[1]}"
    return ""


def main() -> None:
    """Read what to train, train it, print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine")
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("model", type=Path)
    for name in ("rows", "steps", "batch", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    absent = why_absent(options.engine, options.device)
    if absent:
        print(json.dumps({"absent": absent}))
        return
    with contextlib.redirect_stdout(sys.stderr):
        found = run(options)
    print(json.dumps(found))


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
