"""Forgetting while it happens: at every evaluation, how far the model has moved from its base off the task.

Two figures: the change in bits a byte on a part of the general text that ftstudio ships (see `forgetting`), and the
mean Kullback-Leibler divergence KL(base ‖ tuned) of the next token over neutral prompts, nats a token. With an adapter
the base is the same model with the adapter switched off. Otherwise its figures are kept beside the run: those from
before the first step, or where the recipe changes the model itself (`architecture`) those of the base as it is. An
encoder-decoder and an encoder that fills in words are asked as the comparison's panel asks them (see `offtask`): both
figures are of what they write, or fill in, there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core import files
from ftstudio.core.errors import Stopped
from ftstudio.core.folder import JobFolder
from ftstudio.core.text import size as size_text
from ftstudio.engine import forgetting
from ftstudio.engine.neutral import PROMPTS
from ftstudio.methods.from_weights import off_is_base

if TYPE_CHECKING:
    from ftstudio.core.recipe import Recipe
    from ftstudio.data.tokenizer import Tokenizer
    from ftstudio.engine.materials import Materials
    from ftstudio.engine.offtask import OffTask
    from ftstudio.engine.trainer import StudioTrainer

SIZES = (64 << 10, 16 << 10, 4 << 10, 1 << 10)  # bytes of text: the most of these that the base reads in SECONDS
SECONDS = 1.0
KEPT = 64 << 20  # bytes that the base's word on the neutral prompts may take on disk, where there is no adapter


class Drift:
    """Measures FOLDER's model at an evaluation and tells a `forgetting` event; PATH keeps the base's figures. ASKS is
    what asks a model that isn't causal.

    An evaluation costs two passes over the neutral prompts and one over as much text as the base read in SECONDS.
    APART: the base is another model than the one that trains, and was measured beforehand.
    """

    def __init__(
        self,
        folder: JobFolder,
        path: Path,
        tokenizer: Tokenizer,
        texts: Sequence[str],
        should_stop: Callable[[], bool],
        asks: OffTask | None = None,
        *,
        apart: bool = False,
    ) -> None:
        self.folder, self.path, self.tokenizer, self.texts = folder, path, tokenizer, texts
        self.should_stop, self.asks, self.apart = should_stop, asks, apart
        kept = files.read_json(path)
        self._base: dict[str, Any] = {}
        if isinstance(kept, dict) and {"size", "base_bits_per_byte"} <= kept.keys():
            self._base = kept
        self._off = False
        self.told = ""  # what the last time cost

    def __call__(self, trainer: StudioTrainer, step: int) -> None:
        """Measure the model as it is after STEP. Silent where there is nothing to ask: its answers are labels alone."""
        model = trainer.model
        if causal(model):
            self.asks = None
        elif self.asks is None:
            return
        if self._off:
            return
        began = time.perf_counter()
        shared = self._shared(model)
        try:
            if not self._base:
                if self.apart or (not shared and step):
                    return self._give_up("the base's figures from before the first step are missing")
                with trainer.meter.once(), base_of(model) if shared else nullcontext():
                    self.measure_base(model, keep=not shared)
            bits = self._bits(model, self._base["size"])
            kl = self.divergence(model)
        except Stopped:
            return
        base = self._base["base_bits_per_byte"]
        self.folder.emit(
            "forgetting",
            step=step,
            change=bits.per_byte - base,
            bits_per_byte=bits.per_byte,
            base_bits_per_byte=base,
            kl=kl,
            bytes=bits.bytes,
            tokens=bits.tokens,
            about=self.asks.about if self.asks is not None else "general text",
            seconds=round(time.perf_counter() - began, 3),
        )
        self.told = f"about {time.perf_counter() - began:.1f} s each time"

    @property
    def known(self) -> bool:
        """Whether the base's figures are there."""
        return bool(self._base)

    def _shared(self, model: Any) -> bool:
        """Whether MODEL with its adapter off is the base."""
        return not self.apart and off_is_base(model)

    def _give_up(self, why: str) -> None:
        self._off = True
        self.folder.emit("alert", level="info", text=f"Forgetting is measured after training only: {why}.")

    def _bits(self, model: Any, size: int) -> forgetting.Bits:
        part: list[str] = []
        used = 0
        for text in self.texts:
            used += len(text.encode())
            if part and used > size:
                break
            part.append(text)
        if self.asks is not None:
            return self.asks.bits(model, part, self.should_stop)
        return forgetting.bits_per_byte(model, self.tokenizer, part, should_stop=self.should_stop)

    def measure_base(self, model: Any, *, keep: bool) -> None:
        """Bits a byte of MODEL, the base, on as much text as SECONDS allow; KEEP its word on the prompts, too."""
        self._bits(model, SIZES[-1])  # the first pass of a model is slower than those after it
        began = time.perf_counter()
        bits = self._bits(model, SIZES[-1])
        pace = bits.bytes / max(1e-6, time.perf_counter() - began)
        size = next((size for size in SIZES if size <= pace * SECONDS), SIZES[-1])
        if size != SIZES[-1]:
            bits = self._bits(model, size)
        self._base = {"size": size, "base_bits_per_byte": bits.per_byte}
        files.write_json(self.path, self._base)
        if keep:
            self._keep(model)

    def _keep(self, model: Any) -> None:
        """Keep the word of MODEL, the base, on as many neutral prompts as there is room for, and tell where it is not
        all of them."""
        from safetensors.torch import save_file

        said: dict[str, Any] = {}
        taken = count = 0
        for count, logs in enumerate(self._said(model), 1):
            low = logs.half().cpu()
            taken += low.nbytes
            if taken <= KEPT:
                said[str(count - 1)] = low
        if said:
            save_file(said, str(self.path.with_suffix(".safetensors")))
        if len(said) < count:
            text = (
                f"KL from the base is measured on {len(said)} of {count} neutral prompts"
                if said
                else ("KL from the base isn't measured while it trains")
            )
            text += f": with so large a vocabulary its word on all would take {size_text(taken)}."
            self.folder.emit("alert", level="info", text=text)

    def divergence(self, model: Any) -> float | None:
        """KL(base ‖ tuned), mean nats a token over the neutral prompts; None where the base's word wasn't kept."""
        kept: dict[str, Any] = {}
        shared = self._shared(model)
        if not shared:
            from safetensors.torch import load_file

            path = self.path.with_suffix(".safetensors")
            if not path.is_file():
                return None
            kept = load_file(str(path))
        total: Any = 0.0
        count = 0
        after = self._said(model) if shared else islice(self._said(model), len(kept))
        device = next(model.parameters()).device
        before = (
            self._said(model, as_base=True) if shared else (kept[str(at)].float().to(device) for at in range(len(kept)))
        )
        for old, new in zip(before, after, strict=True):
            if len(old) != len(new):
                continue  # a prompt that new tokens cut otherwise
            new = new.to(old.device)[:, : old.shape[1]]  # for the base, tokens that it doesn't have have no probability
            total = total + (old.exp() * (old - new)).double().sum()
            count += len(old)
        return float(total) / count if count else None

    def _said(self, model: Any, *, as_base: bool = False) -> Iterator[Any]:
        if self.asks is not None:
            with base_of(model) if as_base else nullcontext():  # all at once: the adapter is on again between two rows
                found = [logs.half() for logs in self.asks.said(model, self.should_stop)]
            return (logs.float() for logs in found)
        return said(model, self.tokenizer, self.should_stop, as_base=as_base, stays=True)


def gauge(folder: JobFolder, recipe: Recipe, materials: Materials, should_stop: Callable[[], bool]) -> Drift | None:
    """What measures forgetting at every evaluation of RECIPE's run in FOLDER; None where that isn't wanted, or where
    the installation lacks its text."""
    return of(folder, recipe, materials.tokenizer, materials, should_stop)


def of(
    folder: JobFolder,
    recipe: Recipe,
    tokenizer: Tokenizer,
    materials: Materials | None,
    should_stop: Callable[[], bool],
) -> Drift | None:
    """As `gauge`; a causal model needs no MATERIALS beside its TOKENIZER."""
    from ftstudio import demo
    from ftstudio.engine import offtask

    if not recipe.evaluation.forgetting:
        return None
    try:
        texts = forgetting.documents(demo.GENERAL)
    except OSError:
        return None  # the comparison tells of it
    path = folder.path / "forgetting.json"
    asks = offtask.of(materials, tokenizer) if materials is not None else None
    return Drift(folder, path, tokenizer, texts, should_stop, asks, apart=recipe.architecture.changes)


def said(
    model: Any, tokenizer: Tokenizer, should_stop: Callable[[], bool], *, as_base: bool = False, stays: bool = False
) -> Iterator[Any]:
    """For each neutral prompt MODEL's log-probabilities of every next token, [tokens, vocabulary], fp32 on the CPU;
    where it STAYS, on the model's device: only a few prompts are there at once."""
    import torch

    from ftstudio.engine.generation import ready

    device = next(model.parameters()).device
    prompts = tokenizer.encode_batch(PROMPTS)
    width = max(map(len, prompts))
    vocabulary = int(getattr(model.config.get_text_config(), "vocab_size", 32_000))
    together = max(1, forgetting.LOGITS["cpu"] // (width * vocabulary))
    for start in range(0, len(prompts), together):
        if should_stop():
            raise Stopped("Stopped while measuring forgetting.")
        rows = prompts[start : start + together]
        inputs, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width)
        for place, ids in enumerate(rows):  # padded on the right, where no token looks
            inputs[place, : len(ids)] = torch.tensor(ids)
            mask[place, : len(ids)] = 1
        with ready(model), torch.no_grad(), base_of(model) if as_base else nullcontext():
            logits = model(input_ids=inputs.to(device), attention_mask=mask.long().to(device), use_cache=False).logits
            logits = logits[:, -width:]  # a soft prompt's own places come first
            found = [logits[place, : len(ids)].float().log_softmax(-1) for place, ids in enumerate(rows)]
        yield from (logs if stays else logs.cpu() for logs in found)


def base_of(model: Any) -> AbstractContextManager[Any]:
    """MODEL as its base: the adapter is off inside. A model without one is as it is."""
    off: AbstractContextManager[Any] = model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext()
    return off


def causal(model: Any) -> bool:
    """Whether MODEL predicts the next token, which both figures are about."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return type(inner).__name__.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) and not getattr(
        inner.config, "is_encoder_decoder", False
    )
