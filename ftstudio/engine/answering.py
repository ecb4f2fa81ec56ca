"""Asking every arm every row: batches of like length, each put to all arms in turn: answers appear side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ftstudio import tasks
from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.data.example import BadRow, Example
from ftstudio.engine import generation, predicting
from ftstudio.engine.arms import Arms
from ftstudio.engine.cache import AnswerCache
from ftstudio.engine.context import JobContext
from ftstudio.engine.forgetting import context_length
from ftstudio.engine.generation import Decoding
from ftstudio.engine.materials import Materials
from ftstudio.engine.outputs import Outputs
from ftstudio.engine.prepare import NEW_TOKENS
from ftstudio.engine.shots import FewShot, ShotPrompt
from ftstudio.evaluation.predictions import Prediction
from ftstudio.tasks.base import Prompt, Task

TELL_SECONDS = 1.0  # between two progress events inside a batch
WRITE_SECONDS = 0.5  # between two writes of answers that ended before their batch
ROOM_STEP = 32  # tokens
REPEAT_SEED = 7_919  # between the seeds of two repeats
Asker = Materials | FewShot  # what writes an arm's prompts


@dataclass(frozen=True)
class Question:
    """A held-out row: its number, its example, and the ids that each arm is fed (arms may use other templates)."""

    row: int
    example: Example
    text: str
    reference: str | None
    prompts: Mapping[str, Prompt]
    shots: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # of few-shot arms: the rows that are shown

    @cached_property
    def ids(self) -> Mapping[str, list[int]]:
        """What each arm is fed."""
        return {name: prompt.ids for name, prompt in self.prompts.items()}

    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(len(prompt.ids) for prompt in self.prompts.values())


def decoding_of(recipe: Recipe) -> Decoding:
    """How RECIPE's answers are written."""
    evaluation = recipe.evaluation
    return Decoding(
        evaluation.max_new_tokens or NEW_TOKENS,
        evaluation.temperature,
        recipe.training.seed,
        evaluation.top_p,
        **tasks.of(recipe).writing(),
    )


def repeats(decoding: Decoding, count: int) -> list[Decoding]:
    """DECODING and its COUNT - 1 repeats under other seeds; greedy decoding repeats itself, so there it is alone."""
    count = count if decoding.temperature else 1
    return [replace(decoding, seed=decoding.seed + REPEAT_SEED * number) for number in range(count)]


def questions(
    examples: Sequence[tuple[int, Example]], materials: Mapping[str, Asker]
) -> tuple[list[Question], list[tuple[int, str]]]:
    """EXAMPLES as each arm's MATERIALS (by arm name) write them, and the rows that can't be written: (row, why)."""
    found, left_out = [], []
    for row, example in examples:
        try:
            prompts = {name: part.prompt(example) for name, part in materials.items()}
        except BadRow as error:
            left_out.append((row, str(error)))
            continue
        first = next(iter(prompts.values()))
        asker = next(iter(materials.values()))
        task = asker.materials.task if isinstance(asker, FewShot) else asker.task
        templated = task.templates and not example.is_text
        text = example.prompt if templated else first.text
        if all(prompt.ids for prompt in prompts.values()):
            shots = {name: prompt.rows for name, prompt in prompts.items() if isinstance(prompt, ShotPrompt)}
            found.append(Question(row, example, text, first.reference, prompts, shots))
        else:
            left_out.append((row, "the prompt is empty"))
    return found, left_out


@dataclass
class Speed:
    """Progress and time of answering: rows to do and done, tokens written, seconds spent."""

    rows: int = 0
    done: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float | None:
        """Tokens a second."""
        return self.tokens / self.seconds if self.seconds > 0 and self.tokens else None

    @property
    def eta(self) -> float | None:
        """Seconds to the end."""
        return self.seconds / self.done * (self.rows - self.done) if self.done else None


@dataclass
class Answering:
    """Puts questions to ARMS and keeps the answers in OUTPUTS (by arm name), telling progress in the job's folder.

    MATERIALS write the prompts, by arm name. COPIES are arms that are asked like another one, under a decoding of their
    own in DECODINGS: their name to the other's. What CACHE holds of an arm is taken from there, not asked again.
    """

    context: JobContext
    arms: Arms
    materials: Mapping[str, Asker]
    outputs: Mapping[str, Outputs]
    decoding: Decoding
    copies: Mapping[str, str] = field(default_factory=dict)
    decodings: Mapping[str, Decoding] = field(default_factory=dict)
    cache: Mapping[str, AnswerCache] = field(default_factory=dict)
    speed: Speed = field(default_factory=Speed)
    _done: dict[str, int] = field(default_factory=dict)
    _fitted: dict[str, Task] = field(default_factory=dict)
    _total: int = 0
    _told: float = 0.0

    def run(self, asked: Sequence[Question]) -> list[int]:
        """Answer what isn't answered yet; the rows that all arms have answers to. Raises Stopped, with every finished
        answer kept, and StudioError where no prompt leaves room for an answer."""
        self._total = len(asked)
        for name, outputs in self.outputs.items():
            self._remember(name, outputs, asked)
        missing = {
            name: {question.row for question in asked if question.row not in outputs.known}
            for name, outputs in self.outputs.items()
        }
        self._done = {name: len(asked) - len(rows) for name, rows in missing.items()}
        self.speed = Speed(rows=sum(map(len, missing.values())))
        for name in missing:
            self._tell(name, now=True)
        for group in self.arms.groups:
            names = [name for name in group if missing.get(name)]
            if names:
                self._ask_group(group, names, asked, missing)
        return [question.row for question in asked if all(question.row in o.known for o in self.outputs.values())]

    def _remember(self, name: str, outputs: Outputs, asked: Sequence[Question]) -> None:
        """Take from the cache what NAME answered before."""
        cache = self.cache.get(name)
        if cache is None:
            return
        ids = {question.row: question.prompts[self._like(name)].identity for question in asked}
        found = [
            (question, known)
            for question in asked
            if question.row not in outputs.known and (known := cache.get(ids[question.row])) is not None
        ]
        outputs.append(
            Prediction(row.row, row.text, row.reference, known.output, known.tokens, known.ended, name, known.extra)
            for row, known in found
        )

    def _like(self, name: str) -> str:
        """The arm whose prompts NAME is asked."""
        return self.copies.get(name, name)

    def _ask_group(
        self, group: Sequence[str], names: Sequence[str], asked: Sequence[Question], missing: Mapping[str, set[int]]
    ) -> None:
        self.context.phase("loading model", " and ".join(group))
        with self.arms.use(names[0]) as model:
            writes = (
                self.arms.task.generates and self.arms.task.kind != "seq2seq-lm"
            )  # else a prompt leaves all the room
            limits, reads = generation.budget(model), context_length(model) if writes else None
        self.context.phase("answering", "")
        wanted = set().union(*(missing[name] for name in names))
        rows = self._fitting([question for question in asked if question.row in wanted], reads)
        for batch, new_tokens in _chunks(rows, self.decoding.max_new_tokens, reads, limits):
            for name in names:
                self._ask(name, [row for row in batch if row.row in missing[name]], new_tokens, limits)

    def _fitting(self, rows: list[Question], reads: int | None) -> list[Question]:
        """ROWS without those whose prompt alone fills what the model can read."""
        if reads is None:
            return rows
        fitting = [question for question in rows if question.longest() < reads]
        if len(fitting) < len(rows):
            text = f"their prompts fill the {reads} tokens that the model can read."
            if not fitting:
                raise StudioError(f"No held-out row can be answered: {text}", "Use a model that reads more.")
            self.context.folder.emit(
                "alert", level="warning", text=f"{len(rows) - len(fitting)} held-out rows are left out: {text}"
            )
        return fitting

    def _ask(self, name: str, batch: list[Question], new_tokens: int, limits: tuple[int, int]) -> None:
        if not batch:
            return
        self.context.check()
        materials, speed, cache = self.materials[self._like(name)], self.speed, self.cache.get(name)
        stop = materials.stop if isinstance(materials, FewShot) else None
        decoding = self.decodings.get(name, self.decoding)
        prompts = [question.prompts[self._like(name)] for question in batch]
        began, seconds, tokens = time.monotonic(), speed.seconds, speed.tokens

        def tick(rows: int) -> None:
            speed.tokens += rows
            speed.seconds = seconds + time.monotonic() - began
            self._tell(name)

        waiting: list[Prediction] = []  # ended, but their batch isn't through; written together, a few times a second
        written: set[int] = set()
        last = began

        def keep(answer: generation.Answer) -> None:
            if answer.index not in written:
                written.add(answer.index)
                output = predicting.decode(materials.tokenizer, answer)
                if stop is not None:
                    output = output.partition(stop)[0]
                waiting.append(_prediction(batch[answer.index], answer, output, name))

        def write() -> None:
            self.outputs[name].append(waiting)
            if cache is not None:
                ids = {question.row: prompt.identity for question, prompt in zip(batch, prompts, strict=True)}
                # one that had less room than it may have is another answer where it has all
                whole = [row for row in waiting if row.ended or (row.tokens or 0) >= decoding.max_new_tokens]
                cache.keep((ids[row.row], row) for row in whole)
            self._done[name] += len(waiting)
            speed.done += len(waiting)
            waiting.clear()

        def early(answer: generation.Answer) -> None:
            nonlocal last
            keep(answer)
            if time.monotonic() - last >= WRITE_SECONDS:
                last = time.monotonic()
                write()

        with self.arms.use(name) as model:
            for answers in predicting.answers(
                self._ready(name, model),
                model,
                prompts,
                replace(decoding, max_new_tokens=new_tokens, seed=decoding.seed + 1_000_003 * batch[0].row),
                materials.end_tokens,
                pad_token=pad_token(materials),
                should_stop=self.context.should_stop,
                tick=tick,
                early=early,
                limits=limits,
                stop=_through(materials, stop),
            ):
                for answer in answers:
                    keep(answer)
                tokens += sum(answer.tokens for answer in answers)
                write()
        speed.tokens = tokens  # ticks count the padding of rows that had ended
        speed.seconds = seconds + time.monotonic() - began
        self._tell(name, now=True)
        if len(written) < len(batch):
            raise Stopped("Stopped while answering.", "The answers so far are kept; start again to go on.")

    def _ready(self, name: str, model: Any) -> Task:
        """The task of arm NAME, ready to read what its MODEL says; made once for all its batches."""
        like = self._like(name)
        if like not in self._fitted:
            asker = self.materials[like]
            task = asker.materials.task if isinstance(asker, FewShot) else asker.task
            tuned = self.arms.tuned.get(self.arms.views.get(name, name))
            self._fitted[like] = task.fitted(model, pad_token(asker), tuned.weights if tuned is not None else None)
        return self._fitted[like]

    def _tell(self, name: str, now: bool = False) -> None:
        moment = time.monotonic()
        if not now and moment - self._told < TELL_SECONDS:
            return
        self._told = moment
        self.context.folder.emit(
            "progress",
            arm=name,
            done=self._done[name],
            total=self._total,
            tokens_per_second=self.speed.rate,
            eta=self.speed.eta,
        )


def _prediction(question: Question, answer: generation.Answer, output: str, arm: str) -> Prediction:
    return Prediction(
        row=question.row,
        prompt=question.text,
        reference=question.reference,
        output=output,
        tokens=answer.tokens,
        ended=answer.ended,
        arm=arm,
        extra=dict(answer.extra),
    )


def _through(materials: Asker, stop: str | None) -> Callable[[list[int]], bool] | None:
    """Tells whether ids hold the text STOP near their end."""
    if stop is None:
        return None
    near = len(stop.encode()) + 2 * generation.STOP_EVERY  # a token stands for a byte at least
    tokenizer = materials.tokenizer
    return lambda ids: stop in tokenizer.decode(ids[-near:], skip_special=False)


def pad_token(materials: Asker) -> int:
    """The id that fills up prompts; it is masked, so any will do."""
    tokenizer = materials.tokenizer
    return next((token for token in (tokenizer.pad_id, tokenizer.eos_id) if token is not None), 0)


def _chunks(
    rows: Sequence[Question], new_tokens: int, reads: int | None, limits: tuple[int, int]
) -> Iterator[tuple[list[Question], int]]:
    """ROWS in batches of like length with the tokens each may write.

    Where a prompt leaves less room than NEW_TOKENS before the model's end, its answer gets what is left, in whole
    steps: so a row's room depends on its own length alone, and an answer doesn't depend on who shares the batch.
    """
    by_room: dict[int, list[Question]] = {}
    for question in rows:
        left = new_tokens if reads is None else reads - question.longest()
        room = new_tokens if left >= new_tokens else left // ROOM_STEP * ROOM_STEP or left
        by_room.setdefault(room, []).append(question)
    for room in sorted(by_room, reverse=True):
        part = by_room[room]
        for chosen in generation.batches([question.longest() for question in part], room, *limits):
            yield [part[index] for index in chosen], room


def versions_alert(recipe: Recipe, folder: Any, arms: Arms) -> None:
    """Tell where a library that changes answers is another version than when the run was made, or the base under one
    of ARMS another."""
    from ftstudio.engine.prepare import facts_differ

    for text in arms.over_others():
        folder.emit("alert", level="warning", text=text, hint="Put the old files back, or train it again.")
    changed = {
        name: pair
        for name, pair in facts_differ(recipe).items()
        if name in ("torch", "transformers", "peft", "bitsandbytes", "tokenizers")
    }
    if changed:
        text = ", ".join(f"{name} {now} (was {then})" for name, (then, now) in changed.items())
        folder.emit("alert", level="info", text=f"Other library versions than when the run was made: {text}.")
