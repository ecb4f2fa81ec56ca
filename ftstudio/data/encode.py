"""Examples to token ids and labels: the rule of what is prompt, what is trained, and what a cut loses.

The prompt's ids are exactly those that generation is fed. An answer's ids go on from there: where the text of both,
tokenised together, begins with the prompt's ids, the rest of it; else (a token would straddle the boundary) those of
the answer alone. The begin token stands once, where the tokenizer adds it; the end token is trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ftstudio.data.chat import Segment
from ftstudio.data.example import BadRow, Example, Turn
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer

IGNORED = -100  # the label that transformers' losses leave out


@dataclass(frozen=True)
class Encoded:
    """One row as a model sees it. `labels` equal `input_ids` where trained, -100 elsewhere.

    `prompt_tokens` come before the first trained one. `lost_prompt` and `lost_completion` count the masked and trained
    tokens that max_length cut off: `lost_ids` and `lost_trained` are those, in order. `ends`: the last token kept
    is an end token and is trained. `boundary` is "merged" where prompt and answer would share a token if tokenised
    together, else "clean".
    """

    input_ids: list[int]
    labels: list[int]
    prompt_tokens: int
    trained: int
    lost_prompt: int
    lost_completion: int
    ends: bool
    boundary: str
    lost_ids: tuple[int, ...] = ()
    lost_trained: tuple[bool, ...] = ()

    @property
    def lost(self) -> int:
        """All tokens cut off."""
        return self.lost_prompt + self.lost_completion

    @property
    def total(self) -> int:
        """Tokens before the cut."""
        return len(self.input_ids) + self.lost


def end_ids(template: Template, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids at which generation stops: the model's end tokens, and the one that ends a turn in its chat template."""
    found = list(tokenizer.eos_ids)
    if not template.adds_special:
        try:
            probe = template.segments(Example((Turn("user", "a"), Turn("assistant", "b"))))
        except BadRow:
            return tuple(found)
        last = next((segment.text for segment in reversed(probe) if segment.trained), "")
        ids = tokenizer.encode(last)
        usual = tokenizer.special_ids - {tokenizer.unk_id, tokenizer.bos_id}
        if ids and ids[-1] in usual and ids[-1] not in found:
            found.append(ids[-1])
    return tuple(found)


def _prefixes(segments: Sequence[Segment]) -> list[str]:
    """The text up to the end of each segment."""
    texts, text = [], ""
    for segment in segments:
        text += segment.text
        texts.append(text)
    return texts


def _assemble(
    segments: Sequence[Segment], encoded: Sequence[list[int]], tokenizer: Tokenizer, special: bool
) -> tuple[list[int], list[bool], str]:
    """(ids, trained flags, boundary) from the ids of each prefix text (without special tokens)."""
    ids: list[int] = []
    flags: list[bool] = []
    boundary = "clean"
    for segment, upto in zip(segments, encoded, strict=True):
        if upto[: len(ids)] == ids:
            new = upto[len(ids) :]
        else:
            boundary = "merged"
            new = tokenizer.encode_after(segment.text)
        ids += new
        flags += [segment.trained] * len(new)
    if special and tokenizer.prefix and tuple(ids[: len(tokenizer.prefix)]) != tokenizer.prefix:
        ids = [*tokenizer.prefix, *ids]
        flags = [False] * len(tokenizer.prefix) + flags
    return ids, flags, boundary


def _finish(
    segments: Sequence[Segment],
    encoded: Sequence[list[int]],
    template: Template,
    tokenizer: Tokenizer,
    ends: frozenset[int],
    max_length: int | None,
) -> Encoded:
    ids, flags, boundary = _assemble(segments, encoded, tokenizer, template.adds_special)
    last = max((place for place, flag in enumerate(flags) if flag), default=-1)
    closed = last >= 0 and ids[last] in ends
    if segments and not closed and tokenizer.eos_id is not None:  # also after an empty answer: to say nothing is learnt
        ids, flags = [*ids, tokenizer.eos_id], [*flags, True]
    return cut(ids, flags, boundary, ends, max_length)


def cut(ids: list[int], flags: list[bool], boundary: str, ends: frozenset[int], max_length: int | None) -> Encoded:
    """IDS and which of them are trained as an `Encoded`, cut at the end to MAX_LENGTH tokens."""
    keep = len(ids) if max_length is None else min(len(ids), max_length)
    lost_ids, lost_flags = ids[keep:], flags[keep:]
    ids, flags = ids[:keep], flags[:keep]
    labels = [token if flag else IGNORED for token, flag in zip(ids, flags, strict=True)]
    trained = sum(flags)
    first = flags.index(True) if trained else len(ids)
    lost_completion = sum(lost_flags)
    last = max((place for place in range(keep - 1, -1, -1) if flags[place]), default=-1) if trained else -1
    ends_here = last >= 0 and ids[last] in ends and not lost_completion
    return Encoded(
        ids, labels, first, trained, len(lost_ids) - lost_completion, lost_completion, ends_here, boundary,
        tuple(lost_ids), tuple(lost_flags),
    )  # fmt: skip


def encode(example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None) -> Encoded:
    """EXAMPLE as ids and labels. Raises BadRow where the template can't write it."""
    return next(encode_many([template.segments(example)], template, tokenizer, max_length))


def encode_many(
    rows: Iterable[list[Segment]], template: Template, tokenizer: Tokenizer, max_length: int | None = None
) -> Iterator[Encoded]:
    """Each of ROWS (segments of an example) as ids and labels: `tokenizers` works on all of them at once."""
    held = list(rows)
    ends = frozenset(end_ids(template, tokenizer))
    texts = [text for segments in held for text in _prefixes(segments)]
    encoded = tokenizer.encode_batch(texts) if texts else []
    place = 0
    for segments in held:
        part = encoded[place : place + len(segments)]
        place += len(segments)
        yield _finish(segments, part, template, tokenizer, ends, max_length)


def prompt_ids(segments: Sequence[Segment], template: Template, tokenizer: Tokenizer) -> list[int]:
    """The ids of a prompt as generation is fed: the same way as in training, so they are equal."""
    encoded = tokenizer.encode_batch(_prefixes(segments)) if segments else []
    return _assemble(segments, encoded, tokenizer, template.adds_special)[0]
