"""The recipe in the words of transformers' TrainingArguments."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainingArguments

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.engine.hardware import Hardware
    from ftstudio.methods import Method

_OPTIMISERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_8bit", "paged_adamw_8bit": "paged_adamw_8bit"}


def arguments(recipe: Recipe, method: Method, machine: Hardware, folder: Path) -> TrainingArguments:
    """RECIPE for a training of METHOD on MACHINE, checkpoints into FOLDER.

    When to log, evaluate and save is decided by the director, so transformers' own rhythms are off.
    """
    training = recipe.training
    values: dict[str, Any] = {
        "output_dir": str(folder),
        "num_train_epochs": training.epochs if training.epochs is not None else 3.0,
        "max_steps": training.steps or -1,
        "learning_rate": training.learning_rate or method.rate(method.settings(recipe.method.settings)),
        "lr_scheduler_type": training.scheduler if training.scheduler != "constant" else "constant_with_warmup",
        "per_device_train_batch_size": training.batch_size,
        "per_device_eval_batch_size": training.batch_size,
        "gradient_accumulation_steps": training.gradient_accumulation,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "optim": _OPTIMISERS[training.optimizer],
        "seed": training.seed,
        "bf16": False,  # autocast lies around the wrapped model (loss.Objective)
        "fp16": machine.precision == "fp16",
        "use_cpu": machine.device == "cpu",
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": machine.device == "cuda",
        "ddp_find_unused_parameters": False,
    }
    if training.batch_tokens is not None:  # accelerate evens out batches of one size only; ours come out even
        values["accelerator_config"] = {"even_batches": False}
    known = inspect.signature(TrainingArguments.__init__).parameters
    if training.warmup < 1:
        # transformers 5 takes a share as warm-up steps below 1; earlier versions have warmup_ratio
        values["warmup_steps" if "warmup_ratio" not in known else "warmup_ratio"] = training.warmup
    else:
        values["warmup_steps"] = int(training.warmup)
    for name in ("activation_checkpointing", "gradient_checkpointing"):
        if name in known:
            values[name] = bool(training.gradient_checkpointing)
            values[f"{name}_kwargs"] = {"use_reentrant": False} if training.gradient_checkpointing else None
            break
    found = TrainingArguments(**values)
    # One process trains on one GPU: over all that it sees transformers would spread each batch (torch's DataParallel),
    # which cuts rows laid end to end apart. Several GPUs have a process each, which torchrun starts.
    found._n_gpu = min(1, found.n_gpu)
    # `accelerate launch --mixed_precision` (or its configuration) would lay an autocast of its own round the model
    found.mixed_precision = "fp16" if machine.precision == "fp16" else "no"
    return found
