"""A run's model as a folder others can use: its adapter, the model merged into the original weights, a model card.

Merging goes into the weights as they were published, never into quantised ones: rounding to 4 bits again would lose
most of what was learnt. What was written is read back and held against the adapter over the same weights.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

from ftstudio import methods, tasks
from ftstudio.core import files
from ftstudio.core.errors import StudioError, UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.core.run import RunFolder, Story
from ftstudio.core.text import clean, number, one_line, size
from ftstudio.engine import gguf, going_on, reshaping, weights
from ftstudio.tasks import beginning

KINDS = ("adapter", "merged", "gguf", "card")
PROBE = 32  # tokens two models are compared on
WRITTEN = 6  # tokens of an answer that they are compared by


def export(run: RunFolder, kind: str, to: Path | None = None) -> dict[str, Any]:
    """Write RUN's model as KIND (see KINDS) into the new folder TO: {path, kind, verified, difference, note}.

    `verified`: what was written was read back and says the same; `difference`: the greatest one between their logits;
    `note`: what else is to be known of it, a sentence or "".
    Default for TO: `export/KIND` in the run's folder. Raises StudioError; nothing that is there is written over.
    """
    from ftstudio.engine.models import recipe_of

    recipe = recipe_of(run)
    if not run.model.is_dir():
        raise StudioError(f"{run.name} has no tuned model yet.", "Train it first, or resume it.")
    target = (to or run.path / "export" / kind).absolute()
    if target.exists():
        raise StudioError(f"{target} is there already.", "Name another folder with --to, or move it away.")
    command = gguf.need_converter(run.name) if kind == "gguf" else []
    beside = target.with_name(f".{target.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        verified, difference = True, 0.0
        if kind == "card":
            pass
        elif kind == "gguf":
            verified, difference = _gguf(run, recipe, beside, command)
        elif kind == "merged" and methods.get(recipe.method.name).adapter:
            verified, difference = _merged(run, recipe, beside)
        else:
            if kind == "adapter" and not methods.get(recipe.method.name).adapter:
                raise UsageError(
                    f"{run.name} was trained with method {recipe.method.name}: it has no adapter, it is a whole model.",
                    f"Use `ftstudio export {run.name} merged`.",
                )
            shutil.copytree(run.model, beside, dirs_exist_ok=True)
            verified = _same_files(run.model, beside)
        (beside / "README.md").write_text(card(run, recipe, kind), "utf-8")
        beside.rename(target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    notes = [quantised_note(recipe), going_on.other_base(run, recipe)] if kind in ("merged", "gguf") else []
    note = " ".join(text for text in notes if text)
    return {"path": str(target), "kind": kind, "verified": verified, "difference": difference, "note": note}


def quantised_note(recipe: Recipe) -> str:
    """What sets RECIPE's merged model apart from the one that was trained and compared; "" where nothing does."""
    method = methods.get(recipe.method.name)
    stored = method.quantisation(method.settings(recipe.method.settings))
    if stored is None:
        return ""
    return (
        f"Trained and compared over weights stored as {stored.kind}: figures of a comparison are of that model. This "
        "one has the original weights (read back, it says what the adapter over those says), and may score a little "
        "differently."
    )


def _gguf(run: RunFolder, recipe: Recipe, folder: Path, command: list[str]) -> tuple[bool, float]:
    """RUN's merged model as a GGUF file in FOLDER, by llama.cpp's converter: (verified, difference) of the merging."""
    model, merged = run.model, folder / ".merged"
    verified, difference = True, 0.0
    if methods.get(recipe.method.name).adapter:
        merged.mkdir()
        verified, difference = _merged(run, recipe, merged)
        model = merged
    gguf.convert(command, model, folder / f"{run.name}.gguf")
    shutil.rmtree(merged, ignore_errors=True)
    return verified, difference


def _merged(run: RunFolder, recipe: Recipe, folder: Path) -> tuple[bool, float]:
    """Merge RUN's adapter into the original weights, save into FOLDER, read back: (verified, difference)."""
    from peft import PeftModel

    from ftstudio.engine import adapters, loading, tying
    from ftstudio.engine.loading import ModelSpec
    from ftstudio.engine.locate import Located, locate
    from ftstudio.engine.saving import save_weights

    method = methods.get(recipe.method.name)
    settings = method.settings(recipe.method.settings)
    if not method.mergeable(settings):
        kind = getattr(settings, "kind", "")
        raise StudioError(
            f"{run.name}'s {kind} {method.name} can't be merged into the base weights.".replace("  ", " "),
            f"Use `ftstudio export {run.name} adapter`: it is loaded over the base.",
        )
    head = tasks.of(recipe).head(recipe.training.seed)
    spec = ModelSpec(recipe.model, "float32", "cpu", None, head, recipe.architecture)
    adapters.kind_of(run.model, run.name)
    where = locate(recipe.model)
    _check_memory(where.folder, recipe.model, run.name)
    base = loading.load(where, spec)
    model: Any = PeftModel.from_pretrained(base, str(run.model)).eval()  # type: ignore[arg-type]
    wanted, answer = _says(model), _writes(model, run.model)
    whole = model.merge_and_unload()
    tying.untie(whole)
    dtype = _stored_dtype(where.folder)
    save_weights(whole.to(dtype), folder)
    for path in run.model.iterdir():  # tokenizer, processor, a head of its own, how long texts may be
        if path.is_file() and not path.name.startswith("adapter_") and path.name != "README.md":
            shutil.copyfile(path, folder / path.name)
    beginning.into_config(folder)
    del model, whole, base
    loading.free()
    written = ModelSpec(run.name, "float32", "cpu", None, spec.head)
    try:
        back = loading.load(Located(folder, run.name), written)
        found, written_now = _says(back), _writes(back, folder)
    except StudioError as error:
        raise StudioError(
            f"The merged model can't be read back ({error.message.rstrip('.')}).",
            f"Use `ftstudio export {run.name} adapter`: it is loaded over the base.",
        ) from error
    difference = float((found - wanted).abs().max())
    allowed = 1e-3 if str(dtype) == "torch.float32" else 5e-2  # the original's own precision rounds
    verified = difference <= allowed * max(1.0, float(wanted.abs().max()))
    exact = str(dtype) == "torch.float32"  # where weights were rounded, a token may turn, but never the first one
    if answer[: None if exact else 1] != written_now[: None if exact else 1]:
        raise StudioError(
            "The merged model begins or writes an answer otherwise than the tuned one.",
            f"Use `ftstudio export {run.name} adapter` instead, and report it with the run's log.",
        )
    if not verified:
        raise StudioError(
            f"The merged model differs from the tuned one (logits by {difference:.3g}).",
            f"Use `ftstudio export {run.name} adapter` instead, and report it with the run's log.",
        )
    return verified, difference


def _check_memory(folder: Path, model: str, run: str) -> None:
    """Raise StudioError where the weights in FOLDER don't fit into free memory in 32 bits, as merging holds them."""
    import psutil

    needed = 4 * sum(math.prod(shape) for shape in weights.shapes(folder, model).values())
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    if needed > free:
        raise StudioError(
            f"Merging takes {size(needed)} of memory (all weights of {model} in 32 bits), and {size(free)} are free.",
            f"Use `ftstudio export {run} adapter`, unload models in the studio, or merge on a machine with more.",
        )


def _stored_dtype(folder: Path) -> Any:
    """The precision the original weights are stored in, as its config.json says; 32 bits where it doesn't."""
    import torch

    config = files.read_json(folder / "config.json")
    name = str((config or {}).get("dtype") or (config or {}).get("torch_dtype") or "float32")
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(name, torch.float32)


def _says(model: Any) -> Any:
    """The numbers of MODEL (logits, vectors, or hidden states of a body) on a few tokens, in 32 bits on the CPU."""
    import torch

    from ftstudio.engine import sentence

    vocabulary = len(model.get_input_embeddings().weight)
    ids = (torch.arange(PROBE) * max(1, vocabulary // PROBE) % vocabulary)[None]
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if getattr(model.config, "is_encoder_decoder", False):
        inputs["decoder_input_ids"] = ids[:, :8]
    with torch.no_grad():
        outputs = model.eval()(**inputs)
        behind = sentence.of(model)
        if behind is not None:
            return behind(outputs.last_hidden_state, inputs["attention_mask"]).cpu()
    found = getattr(outputs, "logits", None)
    return (found if found is not None else outputs[0]).float().cpu()


def _writes(model: Any, folder: Path) -> list[int]:
    """The ids of a short answer of an encoder-decoder by transformers' own `generate`, with the settings in FOLDER
    (else MODEL's): the decoder's first token, then what is written. None of others: their prompt is the beginning."""
    import torch
    from transformers import GenerationConfig

    if not getattr(model.config, "is_encoder_decoder", False) or not getattr(model, "generation_config", None):
        return []
    own = (folder / "generation_config.json").is_file()
    config = GenerationConfig.from_pretrained(folder) if own else model.generation_config
    vocabulary = len(model.get_input_embeddings().weight)
    ids = (torch.arange(PROBE) * max(1, vocabulary // PROBE) % vocabulary)[None]
    with torch.no_grad():
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config, max_new_tokens=WRITTEN,
            do_sample=False, num_beams=1,
        )  # fmt: skip
    return [int(token) for token in out[0]]


def _same_files(a: Path, b: Path) -> bool:
    import filecmp

    names = [path.name for path in a.iterdir() if path.is_file()]
    return not any(filecmp.cmpfiles(a, b, names, shallow=False)[1:])


def card(run: RunFolder, recipe: Recipe, kind: str) -> str:
    """A model card of RUN with its facts, in Markdown; KIND is what it lies beside."""
    story = Story()
    story.feed(run.events())
    method = methods.get(recipe.method.name)
    base = Path(recipe.model).name if Path(recipe.model).is_absolute() else recipe.model
    done = story.done or {}
    parameters = story.start.get("parameters") or {}
    settings = ", ".join(
        f"{key} {value}" for key, value in recipe.method.settings.items() if value not in (None, [], (), False)
    )
    rows = (story.start.get("rows") or {}).get("train")
    head = {"base_model": base, "library_name": "peft" if kind == "adapter" else "transformers", "tags": [recipe.task]}
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---", "", f"# {run.name}", ""]
    lines += [f"{one_line(base, 80)} tuned for {recipe.task} with {method.title.partition(':')[0]}.", ""]
    facts = {
        "base model": base,
        **({"commit of the base model": commit} if (commit := going_on.commit(recipe)) else {}),
        "task": recipe.task,
        "method": f"{method.name} ({settings})" if settings else method.name,
        "weights that learnt": f"{number(parameters.get('trainable'))} of {number(parameters.get('total'))}",
        "data": f"{Path(recipe.data.first).name}, {number(rows)} rows",
        "steps": number(story.step),
        "learning rate": number(recipe.training.learning_rate),
        "training loss": f"{number(story.first_loss)} → {number(story.loss)}",
        "held-out loss": number(story.judged_loss),
        "precision": str(story.start.get("precision") or ""),
        "tokens a second": number(done.get("tokens_per_second"), 0),
    }
    lines += [
        "| | |",
        "|---|---|",
        *(f"| {name} | {clean(value).replace('|', '/')} |" for name, value in facts.items()),
    ]
    report = files.read_json(run.compare.path / "report.json")
    if isinstance(report, dict) and report.get("arms"):
        lines += ["", "## Compared with the base", ""]
        for arm in report["arms"]:
            told = ", ".join(f"{name} {number(value)}" for name, value in (arm.get("metrics") or {}).items())
            lines.append(f"- {one_line(arm.get('name', ''), 60)}: {clean(told)}")
    notes = [quantised_note(recipe), going_on.other_base(run, recipe)] if kind in ("merged", "gguf") else []
    note = " ".join(text for text in notes if text)
    if note:
        lines += ["", note]
    if kind == "adapter" and (run.model / "generation_config.json").is_file():
        lines += ["", "The base begins an answer otherwise. Give `generate` this folder's settings: "
                  "`generation_config=GenerationConfig.from_pretrained(FOLDER)`."]  # fmt: skip
    changed = reshaping.told(recipe)
    if changed:
        lines += ["", "## Changes to the base model", "", *(f"- {text}" for text in changed)]
        if kind == "adapter":
            lines += ["", *_remake(recipe)]
    lines += ["", "## Limits", "", *(f"- {limit}" for limit in method.limits), ""]
    lines += ["The data's and the base model's licences apply; see their own cards.", ""]
    return "\n".join(lines)


def _remake(recipe: Recipe) -> list[str]:
    """How the base of RECIPE's adapter is made from the original, for those who load it without this studio."""
    wanted = recipe.architecture
    lines = [
        "The adapter lies over the base with these changes; ftstudio makes them by itself. With peft alone, first:",
        "",
    ]
    if wanted.drop_layers or wanted.drop_encoder_layers:
        lines.append("- take the layers named above out of the model, and number those that stay from 0;")
    if wanted.new_tokens:
        lines.append(
            "- load the tokenizer of this folder, and `model.resize_token_embeddings(len(tokenizer))` where it has"
        )
        lines.append("  more tokens than the model; the rows themselves are in the adapter.")
    if wanted.new_head:
        lines.append("- nothing for the head: it is in the adapter.")
    return lines
