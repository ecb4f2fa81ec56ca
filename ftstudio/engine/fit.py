"""Will it fit: what a training takes held against what each device has, and how to make it smaller."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ftstudio import tasks
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import size

# Above this share of what is free it may not do: kernels take workspaces, and allocators keep what was freed, glibc's
# on the CPU up to two thirds as much as is in use (628 MiB resident where 370 were held, measured).
TIGHT = {"cuda": 0.9, "cpu": 0.6}
LEAST = 256  # tokens of a batch below which it isn't halved where the recipe names no max_length


def devices(device: str) -> list[dict[str, Any]]:
    """`[{name, total, free}]` in bytes: the GPUs where DEVICE is `cuda`, else this machine's main memory.

    Needs no CUDA context. What a container may use counts, where it says so.
    """
    from ftstudio.engine.telemetry import Telemetry

    telemetry = Telemetry()
    reading = telemetry.read()
    telemetry.close()
    if device == "cuda":
        cards = [gpu for gpu in reading["gpus"] if gpu["memory_total"]]
        if cards:
            return [
                {"name": f"GPU {place} {card['name']}", "total": card["memory_total"],
                 "free": card["memory_total"] - card["memory_used"]}
                for place, card in enumerate(cards)
            ]  # fmt: skip
    total, free = reading["ram_total"], reading["ram_total"] - reading.get("ram_used", 0)
    limit = _container_limit()
    if limit is not None and limit[0] < total:
        total, free = limit[0], min(free, limit[0] - limit[1])
    return [{"name": "main memory", "total": total, "free": free}]


def free(device: str, held: int = 0) -> int:
    """Bytes that a training in this very process has on DEVICE, the libraries' own share among them: what is free, what
    torch only keeps in store, and HELD of models that the training takes over or lets go of.

    An estimate counts their weights, and the libraries, too. Of a GPU the driver is asked through torch, which knows
    the one that is computed on, a part of one (MIG) as well; others' processes count as they do.
    """
    from ftstudio.engine.memory import CONTEXT

    if device != "cuda":
        return int(devices(device)[0]["free"]) + held + CONTEXT["cpu"]
    import torch

    there = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return int(there) + held + CONTEXT["cuda"]


def there(device: str, held: int | None = 0) -> list[dict[str, Any]]:
    """`devices` as a training in this very process finds them once it has its turn: see `free`. HELD None: all that
    torch holds here is let go of or taken over by then.

    Makes no CUDA context: in a process without one nothing is held, and what the driver tells is right.
    """
    found = devices(device)
    if device != "cuda":
        most = free(device, held or 0)
    elif _on_gpu():
        import torch

        most = free(device, int(torch.cuda.memory_allocated()) if held is None else held)
    else:
        return found
    found[0]["free"] = min(int(found[0]["total"]), most)
    return found


def _on_gpu() -> bool:
    """Whether this process has something on a GPU."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


def gpus() -> int:
    """How many GPUs a launch can use here: those of the driver, or what CUDA_VISIBLE_DEVICES leaves of them."""
    from ftstudio.engine.telemetry import Telemetry

    telemetry = Telemetry()
    count = len(telemetry.read()["gpus"])
    telemetry.close()
    return count


def _container_limit() -> tuple[int, int] | None:
    """(bytes this process's control group may use, bytes it uses); None where there is no limit."""
    try:
        with open("/sys/fs/cgroup/memory.max") as most, open("/sys/fs/cgroup/memory.current") as now:
            limit, used = most.read().strip(), now.read().strip()
        return None if limit == "max" else (int(limit), int(used))
    except (OSError, ValueError):
        return None


def verdicts(needed: int, there: Sequence[Mapping[str, Any]], kind: str) -> list[dict[str, Any]]:
    """THERE (`devices`, of KIND cpu or cuda) with `fits`: `yes`, `tight`, `busy` (others hold the memory now) or `no`;
    and `text`."""
    found = []
    for device in there:
        total, free = int(device["total"]), int(device["free"])
        fits = "tight" if needed > TIGHT[kind] * free else "yes"
        if needed > free:
            fits = "no" if needed > total else "busy"
        said = {
            "yes": f"fits: {size(needed)} of {size(free)} free",
            "tight": f"just fits: {size(needed)} of {size(free)} free",
            "busy": f"doesn't fit now: {size(needed)} needed, {size(free)} of {size(total)} free",
            "no": f"doesn't fit: {size(needed)} needed, {size(total)} there",
        }[fits]
        found.append({**device, "fits": fits, "text": f"{device['name']}: {said}"})
    return found


def refused(device: Mapping[str, Any], found: Mapping[str, Any] | None) -> dict[str, Any]:
    """DEVICE, a verdict, where real steps said otherwise: `no`, though it would run as FOUND (`measure`) tells; None:
    not even so."""
    if found is None:
        text = "doesn't fit: it ran out of memory in a measured step, whatever the batch was cut into"
        return {**device, "fits": "no", "text": f"{device['name']}: {text}"}
    ways = [f"in {found['parts']} parts"] if found.get("parts", 1) > 1 else []
    ways += ["with activations computed again"] if found.get("recomputes") else []
    if not ways:
        return dict(device)
    text = f"doesn't fit as it is: the heaviest batch went through only {' and '.join(ways)}"
    return {**device, "fits": "no", "text": f"{device['name']}: {text}, with {size(found['bytes'])}"}


def shrink(recipe: Recipe, divisible: bool | None = None) -> Recipe | None:
    """RECIPE with half the micro-batch and twice the accumulation, so that a step learns from as many rows; at one
    row with gradient checkpointing; None where nothing is left to make smaller without changing what is learnt.

    An odd micro-batch becomes the greatest divisor of it that is at most half, so that the rows of a step stay. Where
    the loss holds the rows of a batch against each other (not DIVISIBLE; None: as far as RECIPE tells) the batch stays,
    and half as many of its rows are looked at at once (`gradient_cache`).
    """
    training = recipe.training
    if not (tasks.of(recipe).divisible if divisible is None else divisible):
        half = _at_once(recipe) // 2
        return recipe.with_changes({"options.chunk": half}) if half else _recomputed(recipe)
    if training.batch_tokens is not None:
        return _fewer_tokens(recipe, training.batch_tokens)
    batch = training.batch_size
    half = next((part for part in range(batch // 2, 0, -1) if batch % part == 0), 0)
    if half:
        accumulation = training.gradient_accumulation * (batch // half)
        return recipe.with_changes({"training.batch_size": half, "training.gradient_accumulation": accumulation})
    return _recomputed(recipe)


def _at_once(recipe: Recipe) -> int:
    """How many rows of a batch are looked at at once where they are held against each other."""
    return min(recipe.training.batch_size, int(recipe.options.get("chunk") or recipe.training.batch_size))


def _fewer_tokens(recipe: Recipe, tokens: int) -> Recipe | None:
    """The same where a batch is as many rows as TOKENS hold: half of them, as long as the longest row has room."""
    training = recipe.training
    if tokens // 2 >= max(8, recipe.data.max_length or LEAST):
        accumulation = training.gradient_accumulation * 2
        return recipe.with_changes(
            {"training.batch_tokens": tokens // 2, "training.gradient_accumulation": accumulation}
        )
    return _recomputed(recipe)


def _recomputed(recipe: Recipe) -> Recipe | None:
    if recipe.training.gradient_checkpointing:
        return None
    return recipe.with_changes({"training.gradient_checkpointing": True})


def ways(recipe: Recipe, divisible: bool | None = None) -> list[Recipe]:
    """What may take less than RECIPE does and learns the same, the first to be tried first: `shrink`, and computing
    activations again. Whether it does is for an estimate to say: where the weights take it all, it doesn't."""
    found = [shrink(recipe, divisible), _recomputed(recipe)]
    return [way for place, way in enumerate(found) if way is not None and way not in found[:place]]


def smaller(recipe: Recipe, divisible: bool | None = None) -> str:
    """What `shrink` would do, in words; empty where it can't."""
    less = shrink(recipe, divisible)
    return "" if less is None else said(recipe, less)


def said(recipe: Recipe, less: Recipe) -> str:
    """What LESS, one of the `ways` of RECIPE, does, in words."""
    if less.options != recipe.options:
        return (
            f"options.chunk {less.options['chunk']}: so many rows are looked at at once, each is still held against "
            f"all {recipe.training.batch_size} of its batch; about a third slower"
        )
    if less.training.batch_tokens != recipe.training.batch_tokens:
        return (
            f"training.batch_tokens {less.training.batch_tokens} and gradient_accumulation "
            f"{less.training.gradient_accumulation}: as many tokens a step"
        )
    if less.training.batch_size != recipe.training.batch_size:
        return (
            f"training.batch_size {less.training.batch_size} and gradient_accumulation "
            f"{less.training.gradient_accumulation}: as many rows a step"
        )
    return "training.gradient_checkpointing: activations are computed again, about 30 % slower"


def changed(recipe: Recipe, less: Recipe) -> dict[str, Any]:
    """The dotted keys, with their values, in which LESS, one of the `ways` of RECIPE, differs from it."""
    found = {"options.chunk": less.options["chunk"]} if less.options != recipe.options else {}
    for key in ("batch_size", "batch_tokens", "gradient_accumulation", "gradient_checkpointing"):
        value = getattr(less.training, key)
        if value != getattr(recipe.training, key):
            found[f"training.{key}"] = value
    return found


def lighter(recipe: Recipe, rows: bool = False) -> str:
    """What makes weights and optimiser states less that the RECIPE trains with, as a hint; ROWS: or what goes through
    at once."""
    methods = {"qlora": [], "lora": ["method qlora"]}.get(recipe.method.name, ["method qlora or lora"])
    ways = [*methods, "a smaller model", *(["a lower data.max_length"] if rows else []), "a device with more memory"]
    return f"Use {', '.join(ways[:-1])}, or {ways[-1]}."


def moments_of(memory: Mapping[str, Any]) -> list[str]:
    """What is held at each moment of a run, estimated beside measured where it was: one line."""
    measured = (memory.get("measured") or {}).get("moments") or {}
    found = []
    for name, count in (memory.get("moments") or {}).items():
        real = f" / {size(measured[name])}" if name in measured else ""
        found.append(f"{name} {size(count)}{real}")
    if not found:
        return []
    cache = f"; answers keep {size(memory['cache_bytes'])} of earlier tokens" if memory.get("cache_bytes") else ""
    return [f"{', '.join(found)}{' (estimated / measured)' if measured else ''}{cache}"]
