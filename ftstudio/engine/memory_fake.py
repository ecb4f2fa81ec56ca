"""One training step of a model that has a few of its layers, or all, and no weights, followed byte by byte.

What the engine's real step does, it does here too: layout of the batch, head only at labels, adapters, checkpointing,
half precision. What can't run without numbers (4-bit weights, drawn dropout, the loss in pieces) has a stand-in that
holds as much memory for as long.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AttentionInterface, AttentionMaskInterface

from ftstudio.core.launch import place
from ftstudio.core.recipe import Recipe
from ftstudio.core.text import one_line
from ftstudio.engine import attention, fused, levers, masters
from ftstudio.engine.building import BUILDING
from ftstudio.engine.dropout import SparseDropout
from ftstudio.engine.hardware import Hardware
from ftstudio.engine.loss import head_of, soft_prompt
from ftstudio.engine.memory_gpu import attends, on_gpu
from ftstudio.engine.memory_head import InChunks, Whole, chunk_rows, head_fused
from ftstudio.engine.memory_hollow import Hollowed, run
from ftstudio.engine.memory_layers import kinds_of, layers_of, only
from ftstudio.engine.memory_track import Tracker

log = logging.getLogger(__name__)

REMEMBERED = 32
_followed: dict[tuple[Any, ...], Followed] = {}
_passed: dict[tuple[Any, ...], int] = {}
_kinds: dict[str, tuple[int, ...]] = {}

ONE_ROW = "ftstudio_one_row"  # all tokens as one row: what a fused kernel keeps, whatever the lengths are


@dataclass(frozen=True)
class Load:
    """What goes through the model at once: `lengths` of the rows in tokens, and how many places are `asked`."""

    lengths: tuple[int, ...]
    asked: int


@dataclass(frozen=True)
class Followed:
    """Bytes alive at most in each phase of a step (`forward`, `head`, `layer 0` …), `others` without the gradients;
    `still` in a pass without gradients, for each load that was asked for; `logits` bytes of the step's logits
    and of their gradient; `learning` weights that learn."""

    peaks: dict[str, int]
    others: dict[str, int]
    still: list[int]
    logits: int
    learning: int


class Ends(list[int]):
    """Where rows end, as numbers: attention asks a tensor of them for its list."""

    def tolist(self) -> list[int]:
        """Itself."""
        return list(self)


class _Unpacked(torch.autograd.Function):
    """A 4-bit layer: the weight is unpacked for the pass and again on the way back; no input is kept."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.shape, ctx.dtype = weight.shape, weight.dtype
        return x.to(weight.dtype) @ torch.empty(weight.shape, dtype=weight.dtype).t()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0].to(ctx.dtype) @ torch.empty(ctx.shape, dtype=ctx.dtype), None


class FourBit(nn.Linear):
    """Stands in for bitsandbytes' Linear4bit; peft copies its result before it adds to it."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """See nn.Linear."""
        result: torch.Tensor = _Unpacked.apply(input, self.weight)
        if self.bias is not None:
            result = result + self.bias
        return result.to(input.dtype).clone()


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, p: float) -> torch.Tensor:
        ctx.save_for_backward(torch.empty(max(1, int(x.numel() * p)), dtype=torch.int64))
        return x * 1.0

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0] * 1.0, None


class FakeDropout(nn.Dropout):
    """Stands in for SparseDropout."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """See nn.Dropout."""
        result: torch.Tensor = _Dropped.apply(input, self.p)
        return result


@dataclass(frozen=True)
class Method:
    """How a method changes a model without weights: `put` sets what learns, `quantised` names the weights that are
    stored in fewer bits, `narrow`: the base is loaded in the precision it computes in."""

    put: Callable[[Any], Any]
    quantised: Callable[[Any], Collection[str]]
    narrow: bool
    key: str
    """Name and settings: what tells one method from another."""
    kind: str = "causal-lm"
    """What kind of model it changes."""
    apart: bool = False
    """Whether it tells layers apart by their numbers (see `methods.Method`)."""


def kinds(config: Any) -> tuple[int, ...]:
    """See `memory_layers.kinds_of`: of the model of CONFIG."""
    key = config.to_json_string(use_diff=False)
    if key not in _kinds:
        with BUILDING, torch.device("meta"):
            remember(_kinds, key, kinds_of(built(config)))
    return _kinds[key]


def follow(
    config: Any,
    places: tuple[int, ...],
    recipe: Recipe,
    method: Method,
    machine: Hardware,
    load: Load,
    still: Sequence[Load],
) -> Followed:
    """A step on LOAD, and passes without gradients on STILL, of CONFIG's model with its layers at PLACES.

    The last few are remembered: most changes to a recipe change nothing here.
    """
    checkpointing = bool(recipe.training.gradient_checkpointing)
    model = (
        config.to_json_string(use_diff=False), places, method.key, method.narrow, machine.device, machine.precision,
        recipe.training.attention, recipe.training.shard,
    )  # fmt: skip
    key = (*model, checkpointing, load, tuple(still))
    if key not in _followed:
        # nothing is computed again in a pass without gradients: the same with checkpointing and without
        passes = {one: _passed.get((*model, one)) for one in still}
        asked = [one for one, found in passes.items() if found is None]
        new = lightly(partial(_follow, config, places, recipe, method, machine, load, asked))
        for one, found in zip(asked, new.still, strict=True):
            passes[one] = found
            remember(_passed, (*model, one), found)
        remember(_followed, key, replace(new, still=[passes[one] or 0 for one in still]))
    return _followed[key]


def remember(found: dict[Any, Any], key: Any, value: Any) -> None:
    """Put VALUE into FOUND, and leave the oldest out where it holds many."""
    if len(found) >= REMEMBERED:
        found.pop(next(iter(found)), None)
    found[key] = value


def lightly(follow: Callable[[bool], Any]) -> Any:
    """What FOLLOW gives with hollow tensors (True); where an operation can't do with them, with torch's fake ones."""
    try:
        return follow(True)
    except Exception as error:
        log.info("followed again with torch's own fake tensors: %s", one_line(error, 200))
        return follow(False)


def dressed(model: Any, recipe: Recipe, machine: Hardware, method: Method, half: Any) -> Any:
    """MODEL as it trains: its weights in HALF or four bits, with what METHOD puts on it, and the engine's levers."""
    if method.narrow and half is not None:
        model.to(half)
    names = method.quantised(model)
    for name, module in list(model.named_modules()):
        if f"{name}.weight" in names and hasattr(module, "weight"):
            replaced(model, name, four_bit(module))
    for parameter in model.parameters() if names else ():
        parameter.requires_grad_(False)
    with torch.device(next(model.parameters()).device):  # no numbers are drawn for what it puts on
        model = method.put(model)
    model.train()
    levers.checkpoint(model, recipe)
    masters.widen(model)
    levers.lean_adapters(model, machine, {})
    for name, module in list(model.named_modules()):
        if type(module) is SparseDropout:
            replaced(model, name, FakeDropout(module.p))
    if machine.device == "cuda":
        on_gpu(model)
    return model


def _follow(
    config: Any,
    places: tuple[int, ...],
    recipe: Recipe,
    method: Method,
    machine: Hardware,
    load: Load,
    still: Sequence[Load],
    hollow: bool,
) -> Followed:
    half = None if machine.precision == "fp32" else machine.dtype
    attends = "eager" if recipe.training.attention == "eager" else "sdpa"
    alike = kinds(config)
    with BUILDING, torch.device("meta"):
        model: Any = only(config, places, alike, lambda config: built(config, attends))
    model = dressed(model, recipe, machine, method, half)
    with faked(model, hollow) as tracks:
        parted = recipe.training.shard and not place().alone
        asks = _Asks(model, machine, half, recipe.training.attention, parted)
        tracker, logits = _step(model, asks, load, len(places), tracks())
        learning = sum(item.numel() for item in model.parameters() if item.requires_grad)
        passes = [_still(model, asks, item, tracks()) for item in still]
        return Followed(tracker.peaks, tracker.others, passes, logits, learning)


def built(config: Any, attends: str = "sdpa") -> Any:
    """The model of CONFIG, attending as ATTENDS says where it can."""
    from transformers import AutoModelForCausalLM

    try:
        # a copy: transformers writes into it what it then refuses (Gemma2, GptOss)
        return AutoModelForCausalLM.from_config(copy.deepcopy(config), attn_implementation=attends)
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error) and "sdpa" not in str(error):
            raise
        return AutoModelForCausalLM.from_config(config)


class _Asks:
    """Calls a model on a load, as `loss.Objective` does with real rows."""

    def __init__(
        self, model: Any, machine: Hardware, half: torch.dtype | None, attends: str = "auto", parted: bool = False
    ) -> None:
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.half, self.narrow = half, head_of(model) != "all"
        self.device = machine.device
        self.head = None if parted else head_fused(model, machine.device, self.narrow)
        self.fused_from = 0
        if self.head is not None:
            self.fused_from = fused.worth_from(self.head.out_features, (half or self.head.weight.dtype).itemsize)
        self.free = not soft_prompt(model) and attention.padding_free(inner, machine.device, machine.dtype, attends)
        if self.free and machine.device == "cpu":
            attention.use(model, attention.SEGMENTS)
        elif self.free:
            AttentionInterface.register(ONE_ROW, _one_row)
            AttentionMaskInterface.register(ONE_ROW, attention._mask)
            inner.set_attn_implementation(ONE_ROW)

    def loss(self, model: Any, load: Load) -> tuple[torch.Tensor, int]:
        """The loss of LOAD, and the bytes of logits and their gradient."""
        if self.head is None or load.asked < self.fused_from:
            logits = self.logits(model, load)
            return Whole.apply(logits, self.device), 2 * logits.numel() * logits.element_size()
        with fused.without_head(self.head):
            hidden = self.logits(model, load)
        hidden = hidden if self.half is None else hidden.to(self.half)
        losses = InChunks.apply(hidden, self.head.weight.to(hidden.dtype))
        rows = chunk_rows(len(hidden), self.head.weight)
        return losses.float().sum(), rows * len(self.head.weight) * (4 + hidden.element_size())

    def logits(self, model: Any, load: Load) -> torch.Tensor:
        """What MODEL says where LOAD asks."""
        total, rows, width = sum(load.lengths), len(load.lengths), max(load.lengths)
        inputs: dict[str, Any] = {"input_ids": torch.zeros((rows, width), dtype=torch.long)}
        places = -(-load.asked // rows)
        if self.free:
            ends = Ends([0])
            for length in load.lengths:
                ends.append(ends[-1] + length)
            inputs = {"input_ids": torch.zeros((1, total), dtype=torch.long)}
            inputs |= {"position_ids": torch.zeros((1, total), dtype=torch.long)}
            inputs |= dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), ends)
            inputs |= dict.fromkeys(("max_length_q", "max_length_k"), width)
            places = load.asked
        if self.narrow:
            inputs["logits_to_keep"] = torch.zeros(places, dtype=torch.long)
        autocast = torch.autocast("cpu", self.half) if self.half is not None else contextlib.nullcontext()
        with autocast, attention.without_padding() if self.free else contextlib.nullcontext():
            logits: torch.Tensor = model(**inputs, use_cache=False).logits.flatten(0, -2)
            return logits if self.narrow else logits[torch.zeros(load.asked, dtype=torch.long)]


def _one_row(module: Any, query: Any, key: Any, value: Any, mask: Any, **named: Any) -> Any:
    kept = {name: named[name] for name in ("scaling",) if name in named}
    return attends(module, query, key, value, None, **kept)


def _step(model: Any, asks: _Asks, load: Load, layers: int, tracker: Tracker) -> tuple[Tracker, int]:
    """Forward, loss and backward; a phase for each layer on the way back. And the bytes of the logits."""
    tracker.ignore([*model.parameters(), *model.buffers()])
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda item: tracker.keep(item.grad))
    handles = [
        layer.register_forward_hook(_marks(tracker, f"layer {place}"))
        for place, layer in enumerate(layers_of(model, layers))
    ]
    with tracker:
        tracker.enter("forward")
        loss, size = asks.loss(model, load)
        tracker.enter("head")
        loss.backward()
    for handle in handles:
        handle.remove()
    for parameter in model.parameters():
        parameter.grad = None
    return tracker, size


def _marks(tracker: Tracker, phase: str) -> Any:
    def hook(module: Any, inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        if tracker.phase == "forward" and hidden.requires_grad:
            hidden.register_hook(lambda gradient: tracker.enter(phase))

    return hook


def _still(model: Any, asks: _Asks, load: Load, tracker: Tracker) -> int:
    tracker.ignore([*model.parameters(), *model.buffers()])
    model.eval()
    with torch.no_grad(), tracker:
        tracker.enter("pass")
        asks.loss(model, load)
    model.train()
    return tracker.peaks["pass"]


def four_bit(module: Any) -> FourBit:
    """What stands in for the linear MODULE in 4 bits."""
    rows, columns = module.weight.shape
    if isinstance(module, nn.Linear):
        rows, columns = columns, rows  # nn.Linear holds [out, in], GPT-2's Conv1D [in, out]
    return FourBit(rows, columns, bias=module.bias is not None, device="meta", dtype=module.weight.dtype)


@contextlib.contextmanager
def faked(model: nn.Module, hollow: bool) -> Iterator[Callable[[], Tracker]]:
    """MODEL, made on torch's meta device, does all but compute inside; what is given back makes trackers of it. With
    HOLLOW tensors, or torch's fake ones."""
    if hollow:
        with Hollowed():
            fake(model)
        yield lambda: Tracker(run)
        return
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake(model)
        yield Tracker


def fake(model: nn.Module) -> None:
    """Weights and buffers of MODEL, made on torch's meta device, as fake ones of the CPU. Shared ones stay shared."""
    made: dict[int, Any] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in made:
                    empty = torch.empty(parameter.shape, dtype=parameter.dtype)
                    made[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
                module._parameters[name] = made[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def replaced(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put MODULE where MODEL's module NAME was."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)
