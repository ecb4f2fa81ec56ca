"""A model judges pairs of answers: in both orders, kept line by line, gone on with where it was stopped.

`<folder>/judge.jsonl`: a line for each row, pair and order. What the report holds under `judge` is
`{model, local, rubric, rows, complete, reason, usage, pairs}`; `pairs` as `evaluation.judge.tally` gives them, the
reference arm against every other; `complete` False where the judge failed or was stopped before its end, and then
`reason` says why.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftstudio.core import files
from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.core.serving import Judge
from ftstudio.core.text import clean
from ftstudio.data.encode import prompt_ids
from ftstudio.data.example import Example, Turn
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer, load_tokenizer
from ftstudio.engine.arms import BASE, Arms
from ftstudio.engine.context import JobContext
from ftstudio.engine.endpoint import Endpoint
from ftstudio.engine.likelihood import log_likelihoods
from ftstudio.engine.locate import locate
from ftstudio.engine.marks import texts_mark, weights_mark
from ftstudio.evaluation.judge import asking
from ftstudio.evaluation.judge.tally import Said, tally
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.votes.ballot import mark, voted_on
from ftstudio.evaluation.votes.book import NAME as VOTES
from ftstudio.evaluation.votes.book import Book

FILE = "judge.jsonl"
REPLY_TOKENS = 512  # of a server's judge, which may say why before it says what
AT_ONCE = 16  # questions a local judge is put together
Pair = tuple[str, str]
_CHOICES = ("first", "second", "tie", None)


@dataclass(frozen=True)
class Ask:
    """One question: ROW of PAIR with the arm `first` shown as A."""

    pair: Pair
    row: int
    first: str
    messages: list[dict[str, str]]
    answers: str


class Judging:
    """Judges PREDICTIONS (by arm, the reference first) as SETTINGS say, and keeps what was said in the job's folder."""

    def __init__(
        self, context: JobContext, recipe: Recipe, settings: Judge, predictions: Mapping[str, Sequence[Prediction]]
    ) -> None:
        self.context, self.recipe, self.settings = context, recipe, settings
        self.tables = {name: {row.row: row for row in rows} for name, rows in predictions.items()}
        names = list(predictions)
        self.pairs: list[Pair] = [(names[0], name) for name in names[1:]]
        self.path: Path = context.folder.path / FILE
        self.key, self.texts = _key(settings, recipe), _texts(settings, recipe)
        self._writer = files.LineWriter(self.path)
        rows = list(self.tables[names[0]])
        random.Random(recipe.training.seed).shuffle(rows)
        self.rows = sorted(rows[: settings.rows])

    def run(self, arms: Arms | None) -> dict[str, Any]:
        """The report's part. ARMS: where a local judge that is the run's base comes from. Raises Stopped only."""
        context, known = self.context, self._known()
        asks = [ask for ask in self._asks() if (ask.pair, ask.row, ask.first, ask.answers) not in known]
        total, usage, reason = len(asks) + len(known), None, ""
        context.phase("judging", f"{clean(self.settings.model, 60)}: {len(asks)} questions")
        endpoint = None
        if self.settings.url is not None:
            endpoint = Endpoint(self.settings.url, self.settings.model, self.settings.server, context.should_stop)
        try:
            replies = self._served(endpoint, asks) if endpoint is not None else self._local(arms, asks)
            for ask, choice, facts in replies:
                known[ask.pair, ask.row, ask.first, ask.answers] = choice
                self._keep(ask, choice, facts)
                context.folder.emit(
                    "progress", arm="judge", done=len(known), total=total, tokens_per_second=None, eta=None
                )
        except Stopped:
            raise
        except StudioError as error:
            reason = str(error)
            context.folder.emit("alert", level="warning", text=f"The judge didn't get to its end: {error}")
        if endpoint is not None:
            usage = endpoint.usage.told(self.settings.server)
        return {
            "model": self.settings.model,
            "local": self.settings.url is None,
            "rubric": self.settings.rubric or asking.RUBRIC,
            "rows": len(self.rows),
            "complete": not reason,
            "reason": reason,
            "usage": usage,
            "pairs": [self._tally(pair, known) for pair in self.pairs],
        }

    def _outputs(self, pair: Pair) -> dict[int, tuple[str, str]]:
        a, b = (self.tables[name] for name in pair)
        return {row: (a[row].output, b[row].output) for row in self.rows}

    def _asks(self) -> Iterator[Ask]:
        """All questions: both orders of every row whose answers differ, in an order drawn by the seed."""
        found = []
        for pair in self.pairs:
            for row, (a, b) in self._outputs(pair).items():
                if a == b:
                    continue
                asked = self.tables[pair[0]][row]
                reference = asked.reference if self.settings.reference else None
                for first in pair:
                    shown = (a, b) if first == pair[0] else (b, a)
                    messages = asking.messages(asked.prompt, *shown, reference, self.settings.rubric)
                    found.append(Ask(pair, row, first, messages, mark(a, b)))
        random.Random(self.recipe.training.seed).shuffle(found)
        return iter(found)

    def _known(self) -> dict[tuple[Pair, int, str, str], asking.Choice | None]:
        """What this judge said of these answers before."""
        wanted = {(ask.pair, ask.row, ask.first, ask.answers) for ask in self._asks()}
        found: dict[tuple[Pair, int, str, str], asking.Choice | None] = {}
        for line in files.read_lines(self.path):
            place = ((line.get("a"), line.get("b")), line.get("row"), line.get("first"), line.get("answers"))
            whole = type(line.get("row")) is int and all(isinstance(text, str) for text in (*place[0], *place[2:]))
            if (
                line.get("key") == self.key
                and line.get("texts", self.texts) == self.texts  # older lines name none
                and whole  # a line that somebody changed may hold what can't be looked up
                and place in wanted
                and line.get("choice") in ("first", "second", "tie", None)
            ):
                found[place] = line["choice"]  # type: ignore[index]
        return found

    def _keep(self, ask: Ask, choice: asking.Choice | None, facts: Mapping[str, Any]) -> None:
        a, b = ask.pair
        self._writer.append(
            {"key": self.key, "a": a, "b": b, "row": ask.row, "first": ask.first, "answers": ask.answers,
             "choice": choice, "texts": self.texts, **facts}
        )  # fmt: skip

    def _served(
        self, endpoint: Endpoint, asks: Sequence[Ask]
    ) -> Iterator[tuple[Ask, asking.Choice | None, dict[str, Any]]]:
        request: dict[str, Any] = {"max_tokens": REPLY_TOKENS, "temperature": 0}
        for number, reply in endpoint.ask_all([ask.messages for ask in asks], **request):
            facts = {"text": reply.text[:2000], "tokens_in": reply.tokens_in, "tokens_out": reply.tokens_out}
            yield asks[number], asking.verdict(reply.text), facts

    def _local(
        self, arms: Arms | None, asks: Sequence[Ask]
    ) -> Iterator[tuple[Ask, asking.Choice | None, dict[str, Any]]]:
        """A local judge says the likeliest of the three letters: always one, and the same every time."""
        if not asks:
            return
        own = self.settings.model == "base"
        model_name = self.recipe.model if own else self.settings.model
        tokenizer = load_tokenizer(model_name)
        template = Template.resolve("chat", tokenizer, None)
        letters = [tokenizer.encode_batch([letter])[0] for letter in asking.OPTIONS]
        if own and arms is not None:
            with arms.use(BASE) as model:
                yield from self._letters(model, tokenizer, template, letters, asks)
            return
        other = self.recipe.model_copy(update={"model": model_name, "task": "sft"})
        loaded = self.context.models.base(other)
        yield from self._letters(loaded.model, tokenizer, template, letters, asks)

    def _letters(
        self,
        model: Any,
        tokenizer: Tokenizer,
        template: Template,
        letters: Sequence[Sequence[int]],
        asks: Sequence[Ask],
    ) -> Iterator[tuple[Ask, asking.Choice | None, dict[str, Any]]]:
        choices: tuple[asking.Choice, ...] = ("first", "second", "tie")
        for start in range(0, len(asks), AT_ONCE):
            self.context.check()
            part = asks[start : start + AT_ONCE]
            prompts = [_ids(ask.messages, template, tokenizer) for ask in part]
            requests = [(ids, letter) for ids in prompts for letter in letters]
            logs = log_likelihoods(model, requests, should_stop=self.context.should_stop)
            for place, ask in enumerate(part):
                own = logs[3 * place : 3 * place + 3]
                yield ask, choices[own.index(max(own))], {"logs": [round(value, 4) for value in own]}

    def _tally(self, pair: Pair, known: Mapping[tuple[Pair, int, str, str], asking.Choice | None]) -> dict[str, Any]:
        said = [Said(row, first, choice) for (whose, row, first, _), choice in known.items() if whose == pair]
        outputs = self._outputs(pair)
        return tally(pair, said, outputs, votes_of(self.context.folder.path / VOTES, pair, outputs))


def votes_of(path: Path, pair: Pair, outputs: Mapping[int, tuple[str, str]]) -> dict[int, int]:
    """What people voted on OUTPUTS of PAIR: 1 for b, -1 for a, 0 for neither, by row."""
    book = Book(path, *pair)
    found: dict[int, int] = {}
    for vote in book.votes.values():
        if vote.row in outputs and voted_on(vote.answers, *outputs[vote.row]):
            found[vote.row] = found.get(vote.row, 0) + (
                0 if vote.winner is None else 1 if vote.winner == pair[1] else -1
            )
    return {row: (value > 0) - (value < 0) for row, value in found.items()}


def _key(settings: Judge, recipe: Recipe) -> str:
    """Stands for all that what the judge says depends on."""
    value: dict[str, Any] = settings.model_dump(include={"model", "url", "rubric", "reference"})
    if settings.url is None:
        name = recipe.model if settings.model == "base" else settings.model
        try:
            value["weights"] = weights_mark(locate(name).folder)
        except StudioError:
            value["weights"] = None
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()


def _texts(settings: Judge, recipe: Recipe) -> str | None:
    """The mark of a local judge's tokenizer and template; None for one on a server, or that isn't here."""
    if settings.url is not None:
        return None
    try:
        return texts_mark(locate(recipe.model if settings.model == "base" else settings.model).folder)
    except StudioError:
        return None


def _ids(messages: Sequence[Mapping[str, str]], template: Template, tokenizer: Tokenizer) -> list[int]:
    """MESSAGES as the model reads them, up to where its letter comes."""
    roles = {"system": "system", "user": "user"}
    turns = tuple(Turn(roles[message["role"]], message["content"]) for message in messages)  # type: ignore[arg-type]
    example = Example((*turns, Turn("assistant", "")))
    return prompt_ids(template.segments(example, for_generation=True), template, tokenizer)
