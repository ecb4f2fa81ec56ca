"""Examples before the question: training rows that a few-shot arm is shown. No torch.

With a chat template the examples are earlier turns of the conversation. Other templates write them one after the
other; the answer then ends where the model begins the next example by itself, since it was never taught to stop there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ftstudio.core.arm import ArmSpec
from ftstudio.core.errors import Stopped, StudioError, UsageError
from ftstudio.core.recipe import Recipe
from ftstudio.data.chat import Segment
from ftstudio.data.encode import prompt_ids
from ftstudio.data.example import BadRow, Example
from ftstudio.data.normal import prompt_key
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer
from ftstudio.engine.materials import Materials
from ftstudio.evaluation.neighbours import Neighbours
from ftstudio.evaluation.similarity import Embedder
from ftstudio.tasks.base import Prompt

GAPS = ("\n\n", "\n\n\n", "\n\n---\n\n", "\n\n###\n\n")  # between examples: the first that no answer holds
LOOKED_AT = 200  # training rows that tell which of them, and how prompts begin
BEGINNING = 40  # characters of what prompts begin with that end an answer
SPARE = 8  # more rows than wanted are drawn, for those that ask what is asked


@dataclass(frozen=True)
class ShotPrompt(Prompt):
    """A prompt with examples: how many, and the numbers of their rows, in their order."""

    rows: tuple[int, ...] = ()


@dataclass
class FewShot:
    """MATERIALS' prompts with the examples of SPEC before them, as few as leave `room` tokens for the answer.

    `reads`: how many tokens the model can read (None: unknown). `stop` ends an answer, see above. Examples that ask
    what is asked (leaked rows) are never shown. Raises UsageError where SPEC can't be done with these rows.
    """

    materials: Materials
    spec: ArmSpec
    reads: int | None
    room: int
    embedder: Callable[[], Embedder] | None = None
    should_stop: Callable[[], bool] | None = None
    stop: str | None = field(init=False, default=None)
    _gap: str = field(init=False, default=GAPS[0])
    _fixed: list[tuple[int, Example]] = field(init=False, default_factory=list)
    _near: Neighbours | None = field(init=False, default=None)
    _places: dict[int, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not self.materials.task.generates:
            raise UsageError(
                f"{self.spec.text}: {self.materials.task.name} reads no examples; its answers are no text.",
                "Compare without examples.",
            )
        train = self.materials.train
        self._places = {train.origin_of(place): place for place in range(len(train))}
        if self.spec.choice == "rows":
            self._fixed = [self._named(row) for row in self.spec.rows]
        else:
            order = list(range(len(train)))
            random.Random(self.recipe.rows_seed).shuffle(order)
            self._fixed = self._usable(order, self.spec.shots + SPARE)
            if self.spec.choice == "near":
                self._near = self._index()
        if not self._fixed:
            raise UsageError(
                f"{self.spec.text} needs training rows with a prompt and an answer; there are none.",
                "Compare without examples.",
            )
        if not self._as_turns:
            self._gap, self.stop = self._parted()

    @property
    def recipe(self) -> Recipe:
        """The recipe whose rows these are."""
        return self.materials.recipe

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        return self.materials.tokenizer

    @property
    def template(self) -> Template:
        """How a row is written."""
        return self.materials.template

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """The ids at which an answer ends."""
        return self.materials.end_tokens

    @property
    def _as_turns(self) -> bool:
        return self.template.name == "chat" and not self.template.adds_special

    def prompt(self, example: Example) -> ShotPrompt:
        """What the model is fed to answer EXAMPLE. Raises BadRow."""
        plain = self.materials.prompt(example)
        if example.is_text:
            raise BadRow("running text takes no examples")
        shots = self._chosen(example)
        while True:
            ids = self._ids(shots, example) if shots else plain.ids
            if not shots or self.reads is None or len(ids) + self._room(len(plain.ids)) <= self.reads:
                return ShotPrompt(ids, plain.text, plain.reference, rows=tuple(row for row, _ in shots))
            shots = shots[1:]  # the farthest, or the first drawn

    def _room(self, alone: int) -> int:
        """Tokens an answer must have: as many as without examples."""
        return self.room if self.reads is None else max(1, min(self.room, self.reads - alone))

    def _ids(self, shots: Sequence[tuple[int, Example]], example: Example) -> list[int]:
        if self._as_turns:
            turns = [turn for turn in example.messages if turn.role == "system"]
            for _, shot in shots:
                turns += [turn for turn in shot.messages[: shot.answer_at + 1] if turn.role != "system"]
            turns += [turn for turn in example.messages if turn.role != "system"]
            segments = self.template.segments(replace(example, messages=tuple(turns)), for_generation=True)
        else:
            before = "".join(self.template.text(shot) + self._gap for _, shot in shots)
            segments = [Segment(before, False), *self.template.segments(example, for_generation=True)]
        return prompt_ids(segments, self.template, self.tokenizer)

    # -- choosing --------------------------------------------------------------------------------------------------
    def _chosen(self, example: Example) -> list[tuple[int, Example]]:
        """The examples for EXAMPLE, the most like it last."""
        asked = prompt_key(example)
        if self._near is None:
            found = [shot for shot in self._fixed if prompt_key(shot[1]) != asked]
            return found[: self.spec.shots]
        near = self._near.nearest(prompt=example.prompt, most=self.spec.shots + SPARE)
        usable = self._usable([self._places[one.row] for one in near], len(near))
        other = [shot for shot in usable if prompt_key(shot[1]) != asked]
        return other[: self.spec.shots][::-1]

    def _usable(self, places: Sequence[int], count: int) -> list[tuple[int, Example]]:
        found: list[tuple[int, Example]] = []
        for place in places:
            if len(found) == count:
                break
            example = self._example(place)
            if example is not None:
                found.append((self.materials.train.origin_of(place), example))
        return found

    def _example(self, place: int) -> Example | None:
        """The training row at PLACE; None where it has no answer or can't be written."""
        try:
            example = self.materials.shape.example(self.materials.train[place])
            if example.is_text or not example.reference or not self.template.text(example).strip():
                return None
        except BadRow:
            return None
        return example

    def _named(self, row: int) -> tuple[int, Example]:
        place = self._places.get(row)
        example = self._example(place) if place is not None else None
        if example is None:
            why = "is no training row" if place is None else "has no prompt and answer"
            raise UsageError(f"{self.spec.text}: row {row} {why}.", "Choose training rows, as Data numbers them.")
        return row, example

    def _index(self) -> Neighbours:
        if self.embedder is None:
            raise StudioError(f"{self.spec.text} needs an embedding.", "Use +3shot.")
        rows = (
            (self.materials.train.origin_of(place), example.prompt, "")
            for place in range(len(self.materials.train))
            if (example := self._example(place)) is not None
        )
        found = Neighbours.build(self.embedder(), rows, should_stop=self.should_stop)
        if found is None:
            raise Stopped("Stopped while looking for examples.")
        return found

    def _parted(self) -> tuple[str, str]:
        """(what stands between examples, the text at which an answer ends): the gap and how every prompt begins."""
        looked = self._usable(list(range(min(LOOKED_AT, len(self.materials.train)))), LOOKED_AT) + self._fixed
        answers = [shot.reference or "" for _, shot in looked]
        prompts = []
        for _, shot in looked:
            try:
                prompts.append(self.template.text(shot, for_generation=True))
            except BadRow:
                continue
        beginning = _beginning(prompts)
        if len(beginning.strip()) >= 4:
            return GAPS[0], GAPS[0] + beginning.rstrip()
        gap = next((gap for gap in GAPS if not any(gap in answer.strip() for answer in answers)), GAPS[-1])
        return gap, gap


def _beginning(texts: Sequence[str]) -> str:
    """What all TEXTS begin with, BEGINNING characters at most; nothing where they are all the same."""
    if len(set(texts)) < 2:
        return ""
    first, last = min(texts), max(texts)
    size = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(map(len, texts)))
    return first[: min(size, BEGINNING)]
