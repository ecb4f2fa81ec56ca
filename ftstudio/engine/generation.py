"""Answering many prompts fast: batches of like length, padded on the left, each prompt stopped at its end token.

The answers are those of `model.generate` on one prompt at a time; batching changes only the speed. The model's own
generation defaults (temperature, repetition penalty and the like) are left out on purpose: base and tuned are compared
under the same plain decoding, which the report can name in one line.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftstudio.engine.beside_others import company
from ftstudio.engine.soft_prompts import apart_by_padding, written_with
from ftstudio.engine.trouble import out_of_memory

if TYPE_CHECKING:
    import torch

    from ftstudio.data.framing import Frame
    from ftstudio.data.tokenizer import Tokenizer

log = logging.getLogger(__name__)

# (parameters below which it holds, tokens, rows): what a batch may hold on a CPU, prompts, answers and padding
# included. A step of a tiny model costs about 10 ms however many rows take it (0.3 M parameters on one core: 1,200
# tokens/s with 16 rows, 10,400 with 128); a big one gains little from more rows and would show its first answers late.
CPU = ((20e6, 32768, 128), (300e6, 8192, 32), (float("inf"), 4096, 8))
# On a GPU the memory left decides, up to this many rows.
GPU_ROWS = 256
STOP_EVERY = 4  # tokens between two questions whether an answer is through


@dataclass(frozen=True)
class Decoding:
    """How an answer is written: at most `max_new_tokens`, greedy where `temperature` is 0, else sampled with `seed`
    from the likeliest tokens that make up `top_p` of the probability.

    Of encoder-decoders: `beams` that search, with `length_penalty`; `no_repeat_ngram` and `min_new_tokens` as
    transformers has them; `language` is the one that is written.
    """

    max_new_tokens: int
    temperature: float = 0.0
    seed: int = 0
    top_p: float = 1.0
    beams: int = 1
    length_penalty: float = 1.0
    no_repeat_ngram: int = 0
    min_new_tokens: int = 0
    language: str = ""

    def signature(self) -> str:
        """One line that names it in reports and tells stored answers of other settings apart."""
        rules = {
            "length penalty": self.length_penalty if self.beams > 1 else 1.0,
            "no run of tokens twice from": self.no_repeat_ngram,
            "at least": self.min_new_tokens,
            "in": self.language,
        }
        usual = (0, 1.0, "")
        told = "".join(f", {name} {value}" for name, value in rules.items() if value not in usual)
        if self.beams > 1 and self.temperature == 0:
            return f"{self.beams} beams, at most {self.max_new_tokens} tokens{told}"
        searched = f", {self.beams} beams" if self.beams > 1 else ""
        return self._single() + searched + told

    def _single(self) -> str:
        if self.temperature == 0:
            return f"greedy, at most {self.max_new_tokens} tokens"
        nucleus = f", top-p {self.top_p:g}" if self.top_p < 1 else ""
        return (
            f"sampled at temperature {self.temperature:g}{nucleus} (seed {self.seed}), "
            f"at most {self.max_new_tokens} tokens"
        )


@dataclass(frozen=True)
class Answer:
    """The answer to prompt number `index`: its tokens without end token and padding, and whether an end token came.

    An answer that was predicted, not written, has its `text` instead, and what stands behind it (`extra`).
    """

    index: int
    token_ids: tuple[int, ...]
    ended: bool
    text: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """How many tokens were written, the end token among them."""
        return 0 if self.text is not None else len(self.token_ids) + self.ended


def decode(tokenizer: Tokenizer, answer: Answer) -> str:
    """The answer as text. Special tokens inside it stay visible: a template that leaks is an error to be seen."""
    return tokenizer.decode(answer.token_ids, skip_special=False)


def batches(
    lengths: Sequence[int], new_tokens: int, tokens: int, rows: int, *, unpadded: bool = False
) -> list[list[int]]:
    """Indices of prompts of LENGTHS in batches of like length, the longest first (so that memory fails early).

    A batch holds at most ROWS prompts and, padding and NEW_TOKENS answers included, at most TOKENS tokens; a prompt
    that is longer alone gets a batch of its own. UNPADDED: all prompts of a batch have the same length.
    """
    result: list[list[int]] = []
    widest = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        room = result and len(result[-1]) < rows and (len(result[-1]) + 1) * (widest + new_tokens) <= tokens
        if room and not (unpadded and lengths[index] != widest):
            result[-1].append(index)
        else:
            result.append([index])
            widest = lengths[index]
    return result


def budget(model: Any) -> tuple[int, int]:
    """(tokens, rows) a batch may hold on the device MODEL is on."""
    device = next(model.parameters()).device
    if device.type != "cuda":
        size = sum(parameter.numel() for parameter in model.parameters())
        return next((tokens, rows) for most, tokens, rows in CPU if size < most)
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own reserve is free too
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    layers = getattr(config, "num_hidden_layers", 32)
    heads = getattr(config, "num_attention_heads", 32)
    width = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 4096) // heads
    cache = 2 * layers * (getattr(config, "num_key_value_heads", None) or heads) * width * 4  # bytes a token, at worst
    # as much again goes to activations of the prompt and to what the allocator can't use
    return max(1024, int(free * 0.4 / cache)), GPU_ROWS


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    end_tokens: Collection[int],
    *,
    pad_token: int = 0,
    should_stop: Callable[[], bool] | None = None,
    tick: Callable[[int], None] | None = None,
    early: Callable[[Answer], None] | None = None,
    limits: tuple[int, int] | None = None,
    stop: Callable[[list[int]], bool] | None = None,
    frame: Frame | None = None,
    beside: Callable[[list[int], int], dict[str, Any]] | None = None,
) -> Iterator[list[Answer]]:
    """Answer PROMPTS (token ids each), yielding the answers of a batch as soon as it is through.

    SHOULD_STOP is asked at every token: once true, answers that have ended are yielded, unfinished ones dropped, and
    the iterator ends. TICK is told the rows of the batch at every token, EARLY every answer the moment it has
    ended, before its batch is through (it is yielded with it again). LIMITS overrides `budget`'s (tokens, rows). STOP
    is asked every few tokens whether an answer (its ids so far) has come to its end without an end token. FRAME is what
    stands around every answer of an encoder-decoder: its beginning is left out of them. BESIDE gives what else the
    model takes for the prompts of these indices, padded on the left to a width.
    Where a GPU runs out of memory the batch is halved and done again. Raises torch's OutOfMemoryError where a single
    row doesn't fit.
    """
    tokens, rows = limits or budget(model)
    tokens, rows = max(1, tokens // decoding.beams), max(1, rows // decoding.beams)
    lengths = [len(prompt) for prompt in prompts]
    with ready(model):
        beside_row = company(model) if len(prompts) > 1 else "any"
    unpadded = beside_row == "equal" or apart_by_padding(model, max(lengths, default=0) + decoding.max_new_tokens)
    rows = 1 if beside_row == "none" else rows
    waiting = batches(lengths, decoding.max_new_tokens, tokens, rows, unpadded=unpadded)
    waiting.reverse()
    while waiting:
        if should_stop is not None and should_stop():
            return
        chosen = waiting.pop()
        try:
            watch = _Watch(should_stop, tick, early, chosen, frozenset(end_tokens), stop)
            answers, stopped = _batch(model, prompts, chosen, decoding, pad_token, watch, frame, beside)
        except Exception as error:
            if len(chosen) == 1 or not out_of_memory(error):
                raise
            answers = None
        if answers is None:  # outside the handler: the traceback would keep the tensors alive
            _free()
            half = len(chosen) // 2
            log.info("out of memory with %d rows: going on with %d", len(chosen), half)
            waiting += [chosen[half:], chosen[:half]]
            continue
        yield answers
        if stopped:
            return


def _batch(
    model: Any,
    prompts: Sequence[Sequence[int]],
    chosen: list[int],
    decoding: Decoding,
    pad_token: int,
    watch: _Watch,
    frame: Frame | None = None,
    beside: Callable[[list[int], int], dict[str, Any]] | None = None,
) -> tuple[list[Answer], bool]:
    import torch
    from transformers import GenerationConfig

    device = next(model.parameters()).device
    both = bool(getattr(model.config, "is_encoder_decoder", False))
    width = max(len(prompts[index]) for index in chosen)
    ids = torch.full((len(chosen), width), pad_token, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, index in enumerate(chosen):
        prompt = prompts[index]
        first = 0 if both else width - len(prompt)
        ids[row, first : first + len(prompt)] = torch.tensor(prompt, dtype=torch.long)
        mask[row, first : first + len(prompt)] = 1
    sampling = (
        {"do_sample": True, "temperature": decoding.temperature, "top_p": decoding.top_p}
        if decoding.temperature
        else {"do_sample": False}
    )
    config = GenerationConfig(
        max_new_tokens=decoding.max_new_tokens,
        eos_token_id=sorted(watch.ends) or None,
        pad_token_id=pad_token,
        use_cache=True,
        top_k=0 if decoding.temperature else None,
        **sampling,
        **(decoder(model, decoding, frame) if both else {}),
    )
    lead = list(frame.prefix) if both and frame is not None else []
    more = beside(chosen, width) if beside is not None else {}
    with ready(model), torch.inference_mode(), _seeded(decoding, chosen, device):
        writer, inputs = written_with(model, ids.to(device), mask.to(device))
        first = 0 if "inputs_embeds" in inputs else width  # vectors don't come back with the answer
        watch.width, watch.lead, watch.beams = 1 if both else first, lead, decoding.beams
        output = writer.generate(
            **inputs,
            **{name: value.to(device) for name, value in more.items()},
            generation_config=config,
            stopping_criteria=[watch],
            synced_gpus=False,  # one process asks, of weights that are whole
        )
    answers = []
    for place, (index, found) in enumerate(zip(chosen, output[:, watch.width :].tolist(), strict=True)):
        if place in watch.cut:
            answers.append(Answer(index, tuple(without(found[: watch.cut[place]], lead)), True))
            continue
        found = without(found, lead)
        end = next((at for at, token in enumerate(found) if token in watch.ends), None)
        if end is None and watch.stopped:
            continue
        answers.append(Answer(index, tuple(found if end is None else found[:end]), end is not None))
    return answers, watch.stopped


def without(ids: list[int], lead: list[int]) -> list[int]:
    """IDS without the tokens LEAD that every answer begins with."""
    return ids[len(lead) :] if lead and ids[: len(lead)] == lead else ids


def decoder(model: Any, decoding: Decoding, frame: Frame | None) -> dict[str, Any]:
    """How the decoder of an encoder-decoder begins and searches. What the model's own settings say of its architecture
    holds (where it begins, tokens that must not be written); what they say of taste doesn't."""
    own, config = getattr(model, "generation_config", None), model.config
    begin = [getattr(part, "decoder_start_token_id", None) for part in (own, config)]
    begin.append(getattr(config, "bos_token_id", None))
    forced = None if frame is None else frame.forced
    found = {
        "decoder_start_token_id": next((token for token in begin if token is not None), None),
        "forced_bos_token_id": forced if forced is not None else getattr(own, "forced_bos_token_id", None),
        "bad_words_ids": getattr(own, "bad_words_ids", None),
        "num_beams": decoding.beams,
        "no_repeat_ngram_size": decoding.no_repeat_ngram or None,
        "min_new_tokens": decoding.min_new_tokens or None,
    }
    if frame is not None and frame.start is not None:
        found["decoder_start_token_id"] = frame.start
    if decoding.beams > 1:
        found["length_penalty"] = decoding.length_penalty
    return {name: value for name, value in found.items() if value is not None}


class _Watch:
    """A stopping criterion that at every token asks SHOULD_STOP, calls TICK, and gives EARLY the answers that ended.

    STOP ends single answers, see `generate`: `cut` tells after how many tokens, by row of the batch.
    """

    def __init__(
        self,
        should_stop: Callable[[], bool] | None,
        tick: Callable[[int], None] | None,
        early: Callable[[Answer], None] | None,
        chosen: Sequence[int],
        ends: frozenset[int],
        stop: Callable[[list[int]], bool] | None = None,
    ) -> None:
        self.should_stop, self.tick, self.early, self.stop = should_stop, tick, early, stop
        self.chosen, self.width, self.ends = chosen, 0, ends
        self.lead: list[int] = []
        self.beams = 1
        self.stopped = False
        self.cut: dict[int, int] = {}
        self._ended: set[int] = set()

    def __deepcopy__(self, memo: Any) -> _Watch:
        """Itself: peft copies what an encoder-decoder with a soft prompt is to generate by, and what is told here, to
        threads that wait for it, can't be copied."""
        return self

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        import torch

        if self.beams == 1 and (self.early is not None or self.stop is not None):
            for row, token in enumerate(input_ids[:, -1].tolist()):
                if token in self.ends and row not in self._ended:
                    self._tell(row, input_ids[row, self.width : -1].tolist())
        if self.beams == 1 and self.stop is not None and (input_ids.shape[1] - self.width) % STOP_EVERY == 0:
            for row in range(len(self.chosen)):
                if row in self._ended:
                    continue
                ids = input_ids[row, self.width :].tolist()
                if self.stop(ids):
                    self.cut[row] = len(ids)
                    self._tell(row, ids)
        if self.should_stop is not None and not self.stopped:
            self.stopped = self.should_stop()
        if self.tick is not None:
            self.tick(input_ids.shape[0])
        done = [self.stopped or row in self.cut for row in range(input_ids.shape[0])]
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)

    def _tell(self, row: int, ids: list[int]) -> None:
        self._ended.add(row)
        if self.early is not None:
            self.early(Answer(self.chosen[row], tuple(without(ids, self.lead)), True))


@contextlib.contextmanager
def ready(model: Any) -> Iterator[None]:
    """MODEL in evaluation mode, with plain decoding defaults and an attention that knows padding; put back after."""
    from transformers import GenerationConfig

    holders = [model]
    with contextlib.suppress(AttributeError):
        holders.append(model.get_base_model())
    own = [(holder, holder.generation_config) for holder in holders if hasattr(holder, "generation_config")]
    training = [module for module in model.modules() if module.training]
    for holder, _ in own:
        holder.generation_config = GenerationConfig()
    model.eval()
    try:
        with plain_attention(holders[-1]):
            yield
    finally:
        for holder, config in own:
            holder.generation_config = config
        for module in training:
            module.training = True


@contextlib.contextmanager
def plain_attention(model: Any) -> Iterator[None]:
    """Use SDPA where MODEL was switched to an attention of ours, which knows concatenated rows but no padding."""
    before = getattr(model.config, "_attn_implementation", None)
    if before in (None, "sdpa", "eager") or "flash" in str(before) or "flex" in str(before):
        yield
        return
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextlib.contextmanager
def _seeded(decoding: Decoding, chosen: list[int], device: torch.device) -> Iterator[None]:
    """A random state of our own for sampling, so that samples repeat and training's dropout isn't disturbed."""
    import torch

    if not decoding.temperature:
        yield
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(decoding.seed * 1_000_003 + min(chosen))
        yield


def _free() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
