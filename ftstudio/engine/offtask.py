"""What the forgetting panel asks models off their task, by the kind of model.

- `causal-lm`: bits a byte of general text, the next token on neutral prompts, options by likelihood, answers.
- `seq2seq-lm`: the same of a decoder whose encoder has read what comes before: the second half of every passage after
  the first, an option after its question.
- `masked-lm`: of words that are hidden in the text (15 % of the tokens, always the same ones), and of options that are
  hidden behind their question. It writes no answers.

Others answer with labels or vectors of their task alone: there is nothing off the task that they could forget to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ftstudio.core.errors import Stopped
from ftstudio.data.encode import IGNORED, end_ids, prompt_ids
from ftstudio.data.example import BadRow, Example, Turn
from ftstudio.data.template import Template
from ftstudio.engine import drift, forgetting, generation, predicting
from ftstudio.engine.forgetting import Bits
from ftstudio.engine.generation import Decoding
from ftstudio.engine.likelihood import log_likelihoods
from ftstudio.engine.neutral import PROMPTS
from ftstudio.evaluation import canaries
from ftstudio.tasks.base import Prompt, Row, Task
from ftstudio.tasks.masked_lm import MaskedLm
from ftstudio.tasks.seq2seq import Seq2Seq

if TYPE_CHECKING:
    import torch

    from ftstudio.data.tokenizer import Tokenizer
    from ftstudio.engine.materials import Materials

NO_TEMPLATE = Template.resolve("plain", None, None)  # for tasks that write without one
NEW_TOKENS = 48  # of an answer off the task
WORDS = 96  # of a passage that is read, or half read and half written
Stop = Callable[[], bool]


class OffTask(Protocol):
    """Asks one kind of model; the model is given each time. `about` is what its bits a byte are of."""

    about: str

    def bits(self, model: Any, texts: Sequence[str], stop: Stop) -> Bits:
        """What TEXTS cost. Raises Stopped."""

    def said(self, model: Any, stop: Stop) -> Iterator[torch.Tensor]:
        """Log-probabilities on the neutral prompts, [places, vocabulary] each, fp32 on the CPU. Raises Stopped."""

    def logs(self, model: Any, pairs: Sequence[tuple[str, str]], stop: Stop) -> list[float]:
        """The log-likelihood (nats) of each (context, option). Raises Stopped."""

    def answers(self, model: Any, prompts: Sequence[str], stop: Stop) -> list[str] | None:
        """Greedy answers to PROMPTS; None where it writes none."""

    @property
    def mark(self) -> str:
        """How it is asked, to tell figures from those that were asked otherwise."""


def of(materials: Materials, tokenizer: Tokenizer) -> OffTask | None:
    """What asks models of MATERIALS' task with TOKENIZER; None where there is nothing to ask."""
    task = materials.task
    if task.kind in ("causal-lm", "image-text-to-text"):
        return Causal(tokenizer)
    if isinstance(task, Seq2Seq | MaskedLm):
        return Labelled(task, tokenizer, materials.recipe.data.max_length)
    return None


def pad_of(tokenizer: Tokenizer) -> int:
    """The id that fills up rows; it is masked, so any will do."""
    return next((token for token in (tokenizer.pad_id, tokenizer.eos_id) if token is not None), 0)


class Causal:
    """A decoder alone."""

    about = "general text"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        chat = bool(tokenizer.chat_template)
        self.template = Template.resolve("chat" if chat else "plain", tokenizer, None)

    @property
    def mark(self) -> str:
        return self.template.name

    def bits(self, model: Any, texts: Sequence[str], stop: Stop) -> Bits:
        return forgetting.bits_per_byte(model, self.tokenizer, texts, should_stop=stop)

    def said(self, model: Any, stop: Stop) -> Iterator[torch.Tensor]:
        return drift.said(model, self.tokenizer, stop)

    def logs(self, model: Any, pairs: Sequence[tuple[str, str]], stop: Stop) -> list[float]:
        begin = list(self.tokenizer.prefix) or [self.tokenizer.eos_id or 0]
        contexts = self.tokenizer.encode_batch([context for context, _ in pairs])
        options = self.tokenizer.encode_batch([f" {option}" for _, option in pairs])
        requests = [([*begin, *context], option) for context, option in zip(contexts, options, strict=True)]
        return log_likelihoods(model, requests, should_stop=stop)

    def answers(self, model: Any, prompts: Sequence[str], stop: Stop) -> list[str] | None:
        asked = []
        for prompt in prompts:
            example = Example((Turn("user", prompt), Turn("assistant", "")))
            segments = self.template.segments(example, for_generation=True)
            asked.append(Prompt(prompt_ids(segments, self.template, self.tokenizer), prompt, None))
        found = [""] * len(asked)
        ids, ends = [prompt.ids for prompt in asked], end_ids(self.template, self.tokenizer)
        for answers in generation.generate(
            model, ids, Decoding(NEW_TOKENS), ends, pad_token=pad_of(self.tokenizer), should_stop=stop
        ):
            for answer in answers:
                found[answer.index] = generation.decode(self.tokenizer, answer)
        return found


class Labelled:
    """An encoder-decoder, or an encoder that fills in what is hidden: rows with labels, as its task collates them."""

    def __init__(self, task: Seq2Seq | MaskedLm, tokenizer: Tokenizer, max_length: int | None) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        self.task: Task
        if isinstance(task, Seq2Seq):
            self.writer: Seq2Seq | None = Seq2Seq(
                task.options.model_copy(update={"prefix": "", "target_length": None, "beams": 1})
            )
            self.task = self.writer
            self.about = "the second halves of general text"
        else:
            self.writer = None
            hiding = {"mask": 1.0, "random": 0.0, "whole_words": False, "probability": 0.15}
            self.task = MaskedLm(task.options.model_copy(update=hiding))
            self.about = "hidden words of general text"

    @property
    def mark(self) -> str:
        return f"{self.task.name} {self.max_length}"

    # -- rows ------------------------------------------------------------------------------------------------------
    def _rows(self, text: str) -> list[tuple[Row, int]]:
        """TEXT as rows with labels, each with the bytes of what its labels stand for."""
        words = text.split()
        found: list[tuple[Row, int]] = []
        for start in range(0, len(words), WORDS):
            part = words[start : start + WORDS]
            middle = len(part) // 2
            if self.writer is not None:
                target = " ".join(part[middle:])
                if middle:
                    found += [(row, len(target.encode())) for row in self._row(" ".join(part[:middle]), target)]
                continue
            for row in self._row(" ".join(part), ""):
                hidden = [label for label in row["labels"] if label != IGNORED]
                size = sum(max(1, len(piece.strip().removeprefix("##").encode()))
                           for piece in self.tokenizer.tokens(hidden))  # fmt: skip
                found += [(row, size)] if hidden else []
        return found

    def _row(self, prompt: str, answer: str) -> list[Row]:
        turns = (
            (Turn("user", prompt), Turn("assistant", answer)) if self.writer is not None else (Turn("user", prompt),)
        )
        try:
            return self.task.rows_of(Example(turns), NO_TEMPLATE, self.tokenizer, self.max_length)
        except BadRow:
            return []

    def _option(self, context: str, option: str) -> Row:
        """CONTEXT with OPTION as what is to be written, or filled in."""
        if self.writer is not None:
            [row] = self._row(context, option)
            return row
        before, hidden = self.tokenizer.encode_batch([context, f" {option}"])
        mask = self.tokenizer.backend.id_of(self.tokenizer.special_tokens["mask_token"])
        if self.max_length is not None:  # the end of the context, where there isn't room for all
            room = max(1, self.max_length - len(self.tokenizer.prefix) - len(self.tokenizer.suffix))
            hidden = hidden[:room]
            before = before[max(0, len(before) + len(hidden) - room) :]
        ids = [*self.tokenizer.prefix, *before, *([mask] * len(hidden)), *self.tokenizer.suffix]
        labels = [IGNORED] * (len(self.tokenizer.prefix) + len(before)) + list(hidden)
        return {"input_ids": ids, "labels": labels + [IGNORED] * (len(ids) - len(labels))}

    # -- asking ----------------------------------------------------------------------------------------------------
    def _told(self, model: Any, rows: Sequence[Row], stop: Stop) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """For each of ROWS, the longest first: (its index, log-probabilities at its labelled places, the labels)."""
        import torch

        device = next(model.parameters()).device
        vocabulary = int(getattr(model.config.get_text_config(), "vocab_size", 32_000))
        order = sorted(range(len(rows)), key=lambda at: -len(rows[at]["labels"]) - len(rows[at]["input_ids"]))
        place = 0
        with generation.ready(model), torch.inference_mode():
            while place < len(order):
                if stop():
                    raise Stopped("Stopped while measuring forgetting.")
                width = max(1, len(rows[order[place]]["labels"]))
                room = forgetting.LOGITS.get(device.type, forgetting.LOGITS["cpu"])
                chosen = order[place : place + max(1, min(64, room // (vocabulary * width)))]
                place += len(chosen)
                batch = self.task.collate([rows[at] for at in chosen], pad_of(self.tokenizer))
                batch = predicting.moved({"inputs": batch["inputs"], "targets": batch["targets"]}, device)
                logits = self.task.outputs(model, batch["inputs"]).logits
                for at, scores, targets in zip(chosen, logits, batch["targets"], strict=True):
                    asked = targets != IGNORED
                    yield at, scores[-len(targets) :][asked].float().log_softmax(-1).cpu(), targets[asked].cpu()

    def _nats(self, model: Any, rows: Sequence[Row], stop: Stop) -> tuple[list[float], int]:
        """(the log-likelihood of each row's labels, how many labels there are)."""
        found, count = [0.0] * len(rows), 0
        for at, logs, labels in self._told(model, rows, stop):
            found[at] = float(logs.gather(-1, labels[:, None]).double().sum())
            count += len(labels)
        return found, count

    def bits(self, model: Any, texts: Sequence[str], stop: Stop) -> Bits:
        rows = [pair for text in texts for pair in self._rows(text)]
        logs, count = self._nats(model, [row for row, _ in rows], stop)
        return Bits(-sum(logs), count, max(1, sum(size for _, size in rows)))

    def said(self, model: Any, stop: Stop) -> Iterator[torch.Tensor]:
        rows = [row for text in PROMPTS for row, _ in self._rows(text)]
        for _, logs, _ in self._told(model, rows, stop):
            yield logs

    def logs(self, model: Any, pairs: Sequence[tuple[str, str]], stop: Stop) -> list[float]:
        return self._nats(model, [self._option(context, option) for context, option in pairs], stop)[0]

    def answers(self, model: Any, prompts: Sequence[str], stop: Stop) -> list[str] | None:
        if self.writer is None:
            return None
        asked = [self.writer.asked(text, self.tokenizer, self.max_length)[0] for text in prompts]
        ends = self.writer.end_ids(NO_TEMPLATE, self.tokenizer)
        decoding = Decoding(NEW_TOKENS, **self.writer.writing())
        found = [""] * len(asked)
        pad = pad_of(self.tokenizer)
        for answers in predicting.answers(self.writer, model, asked, decoding, ends, pad_token=pad, should_stop=stop):
            for answer in answers:
                found[answer.index] = predicting.decode(self.tokenizer, answer)
        return found


def right(offtask: OffTask, model: Any, stop: Stop) -> list[bool]:
    """Of which of the general questions MODEL chooses the right option."""
    asked = canaries.questions()
    each = len(asked[0].options)
    logs = offtask.logs(model, [(one.context, option) for one in asked for option in one.options], stop)
    return [
        canaries.chosen(logs[each * place : each * (place + 1)], question.options) == 0
        for place, question in enumerate(asked)
    ]
