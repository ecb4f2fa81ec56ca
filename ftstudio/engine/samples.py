"""The same held-out prompts answered at every evaluation: what the numbers mean, in words."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftstudio.core import files
from ftstudio.core.folder import JobFolder
from ftstudio.engine import adapters, predicting
from ftstudio.engine.generation import Decoding
from ftstudio.methods.from_weights import off_is_base

if TYPE_CHECKING:
    from ftstudio.data.tokenizer import Tokenizer
    from ftstudio.engine.trainer import StudioTrainer
    from ftstudio.tasks.base import Prompt, Task

# An answer that goes on forever tells no more after this many tokens, and training waits for it.
LONGEST = 96


@dataclass(frozen=True)
class Fixed:
    """One of the prompts: `row` of the held-out rows, and what the model is fed."""

    row: int
    prompt: Prompt


def spread(count: int, wanted: int) -> list[int]:
    """WANTED of COUNT places, evenly spread, so that they don't all come from the file's first lines."""
    wanted = min(count, wanted)
    return [place * count // wanted for place in range(wanted)] if wanted else []


class Samples:
    """Answers FIXED prompts greedily; the base model's answers are computed once and kept in `samples.json`.

    APART: the base is another model than the one that trains, and was asked beforehand.
    """

    def __init__(
        self,
        folder: JobFolder,
        path: Path,
        fixed: Sequence[Fixed],
        tokenizer: Tokenizer,
        ends: Sequence[int],
        limit: int,
        should_stop: Callable[[], bool],
        task: Task,
        *,
        apart: bool = False,
    ) -> None:
        self.folder, self.path, self.fixed, self.tokenizer = folder, path, fixed, tokenizer
        self.apart = apart
        self.task = task
        self.ends, self.should_stop = ends, should_stop
        self.decoding = Decoding(min(limit, LONGEST))
        self.base: list[str | None] = [None] * len(fixed)
        kept = files.read_json(path)
        if isinstance(kept, list) and [item.get("row") for item in kept] == [item.row for item in fixed]:
            self.base = [item.get("base") for item in kept]

    def __call__(self, trainer: StudioTrainer, step: int) -> None:
        """Answer all prompts with the model as it is at STEP and tell them as `sample` events."""
        model = trainer.model
        answers: list[str | None] | None = None
        if not self.apart and (step == 0 or None in self.base):
            adapted = off_is_base(model)
            if step == 0:  # before its first step a fully trained model still is the base
                with adapters.off(model) if adapted else contextlib.nullcontext():
                    self._keep(self._answers(model))
                answers = list(self.base)
            elif adapted:
                with trainer.meter.once(), adapters.off(model):
                    self._keep(self._answers(model))
        if answers is None:
            answers = self._answers(model)
        for index, (item, base, output) in enumerate(zip(self.fixed, self.base, answers, strict=True)):
            if output is not None:
                self.folder.emit(
                    "sample",
                    step=step,
                    index=index,
                    row=item.row,
                    prompt=item.prompt.text,
                    reference=item.prompt.reference,
                    base=base,
                    output=output,
                )

    @property
    def known(self) -> bool:
        """Whether the base has answered all of them."""
        return None not in self.base

    def ask_base(self, model: Any, tokenizer: Tokenizer, fixed: Sequence[Fixed]) -> None:
        """Let MODEL, the base as it is, answer: the same prompts, FIXED, in its own TOKENIZER's ids."""
        known = {item.row: item for item in fixed}
        if all(item.row in known for item in self.fixed):
            self._keep(self._answers(model, tokenizer, [known[item.row] for item in self.fixed]))

    def _keep(self, answers: list[str | None]) -> None:
        self.base = answers
        files.write_json(
            self.path, [{"row": item.row, "base": text} for item, text in zip(self.fixed, answers, strict=True)]
        )

    def _answers(
        self, model: Any, tokenizer: Tokenizer | None = None, fixed: Sequence[Fixed] | None = None
    ) -> list[str | None]:
        fixed, tokenizer = fixed or self.fixed, tokenizer or self.tokenizer
        found: list[str | None] = [None] * len(fixed)
        filler = next((token for token in (tokenizer.pad_id, tokenizer.eos_id) if token is not None), 0)
        for batch in predicting.answers(
            self.task.fitted(model, filler),
            model,
            [item.prompt for item in fixed],
            self.decoding,
            self.ends,
            pad_token=filler,
            should_stop=self.should_stop,
        ):
            for answer in batch:
                found[answer.index] = predicting.decode(tokenizer, answer)
        return found
