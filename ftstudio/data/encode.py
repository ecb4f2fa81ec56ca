"""Examples to token ids and labels: the rule of what is prompt, what is trained, and what a cut loses.

The prompt's ids are exactly those that generation is fed. An answer's ids go on from there: where the text of both,
tokenised together, begins with the prompt's ids, the rest of it; else (a token would straddle the boundary) those of
the answer alone. The begin token stands once, where the tokenizer adds it; the end token is trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ftstudio.data.chat import Segment
from ftstudio.data.example import BadRow, Example, Turn
from ftstudio.data.template import Template
from ftstudio.data.tokenizer import Tokenizer

_LONG = 4  # segments beyond which a conversation is tokenised section by section
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
        usual = tokenizer.special_ids - {tokenizer.unk_id, tokenizer.bos_id}
        at = next((place for place in reversed(range(len(probe))) if probe[place].trained), None)
        ids = [] if at is None else tokenizer.encode(probe[at].text)[-1:]
        if template.marked and at is not None and not usual.intersection(ids):  # behind what the marks enclose
            ids = tokenizer.encode("".join(segment.text for segment in probe[at + 1 :]))[:1]
        found += [token for token in ids if token in usual and token not in found]
    return tuple(found)


def _prefixes(segments: Sequence[Segment]) -> list[str]:
    """The text up to the end of each segment."""
    texts, text = [], ""
    for segment in segments:
        text += segment.text
        texts.append(text)
    return texts


def _sections(segments: Sequence[Segment], ends: Sequence[str]) -> list[Sequence[Segment]]:
    """SEGMENTS cut after those that end with a special token, where tokenizers start afresh."""
    cuts = [place for place, segment in enumerate(segments, 1) if segment.text.endswith(tuple(ends))]
    bounds = [0, *(place for place in cuts if place < len(segments)), len(segments)]
    return [segments[start:stop] for start, stop in pairwise(bounds)]


def _encode_prefixes(rows: Sequence[Sequence[Segment]], tokenizer: Tokenizer) -> list[list[list[int]]]:
    """For each of ROWS the ids of its text up to the end of each segment, without the tokenizer's special tokens.

    A long conversation would cost the square of its turns; so it is put together from its sections, which is checked
    against the ids of its whole text.
    """
    plans = [_sections(segments, tokenizer.end_texts) if len(segments) > _LONG else [segments] for segments in rows]
    texts: list[str] = []
    for segments, sections in zip(rows, plans, strict=True):
        texts += [text for section in sections for text in _prefixes(section)]
        if len(sections) > 1:
            texts.append("".join(segment.text for segment in segments))
    encoded = iter(tokenizer.encode_batch(texts) if texts else ())
    found = []
    for segments, sections in zip(rows, plans, strict=True):
        prefixes: list[list[int]] = []
        done: list[int] = []
        for section in sections:
            prefixes += [done + next(encoded) for _ in section]
            done = prefixes[-1] if prefixes else []
        if len(sections) > 1 and done != next(encoded):
            prefixes = tokenizer.encode_batch(_prefixes(segments))
        found.append(prefixes)
    return found


class Tokens(NamedTuple):
    """A row before any cut: `ids`, `flags` (1 where trained, a byte each), and whether a boundary was merged."""

    ids: list[int]
    flags: bytearray
    merged: bool


def _assemble(segments: Sequence[Segment], encoded: Sequence[list[int]], tokenizer: Tokenizer, special: bool) -> Tokens:
    """The row from the ids of the text up to the end of each segment (without special tokens).

    A segment whose first token would hold the end of the one before is brought into tokens by itself; those behind it
    are as they are in the whole text.
    """
    ids: list[int] = []
    before: list[int] = []
    flags, merged = bytearray(), False
    for segment, upto in zip(segments, encoded, strict=True):
        if upto[: len(before)] == before:
            new = upto[len(before) :]
        else:
            merged = True
            new = tokenizer.encode_after(segment.text)
        before = upto
        ids += new
        flags += (b"\1" if segment.trained else b"\0") * len(new)
    prefix = tokenizer.prefix
    if special and prefix and tuple(ids[: len(prefix)]) != prefix:
        ids = [*prefix, *ids]
        flags = bytearray(len(prefix)) + flags
    return Tokens(ids, flags, merged)


def tokens_of(rows: Iterable[list[Segment]], template: Template, tokenizer: Tokenizer) -> Iterator[Tokens]:
    """Each of ROWS (segments of an example) in tokens, end token included: `tokenizers` works on all of them at once.

    The tokenizer's end token is added, and trained, where the text doesn't end with an end token already; also after an
    empty answer (to say nothing is what is learnt), but not where there is no text at all, nor where a template's
    generation marks decide what is trained.
    """
    held = list(rows)
    ends = frozenset(end_ids(template, tokenizer))
    for segments, encoded in zip(held, _encode_prefixes(held, tokenizer), strict=True):
        found = _assemble(segments, encoded, tokenizer, template.adds_special)
        last = found.flags.rfind(1)
        open_end = not (last >= 0 and found.ids[last] in ends) and not template.marked
        if segments and open_end and tokenizer.eos_id is not None:
            found.ids.append(tokenizer.eos_id)
            found.flags.append(1)
        yield found


def ends_after(tokens: Tokens, keep: int, ends: frozenset[int]) -> bool:
    """Whether the last trained token is an end token and among the first KEEP."""
    last = tokens.flags.rfind(1)
    return 0 <= last < keep and tokens.ids[last] in ends


def cut(tokens: Tokens, ends: frozenset[int], max_length: int | None) -> Encoded:
    """TOKENS as an `Encoded`, cut at the end to MAX_LENGTH tokens."""
    keep = len(tokens.ids) if max_length is None else min(len(tokens.ids), max_length)
    flags, lost = tokens.flags[:keep], tokens.flags[keep:]
    ids = tokens.ids[:keep]
    first = flags.find(1)
    return Encoded(
        input_ids=ids,
        labels=[token if flag else IGNORED for token, flag in zip(ids, flags, strict=True)],
        prompt_tokens=first if first >= 0 else keep,
        trained=flags.count(1),
        lost_prompt=lost.count(0),
        lost_completion=lost.count(1),
        ends=ends_after(tokens, keep, ends),
        boundary="merged" if tokens.merged else "clean",
        lost_ids=tuple(tokens.ids[keep:]),
        lost_trained=tuple(map(bool, lost)),
    )


def encode(example: Example, template: Template, tokenizer: Tokenizer, max_length: int | None = None) -> Encoded:
    """EXAMPLE as ids and labels. Raises BadRow where the template can't write it."""
    tokens = next(tokens_of([template.segments(example)], template, tokenizer))
    return cut(tokens, frozenset(end_ids(template, tokenizer)), max_length)


def prompt_ids(segments: Sequence[Segment], template: Template, tokenizer: Tokenizer) -> list[int]:
    """The ids of a prompt as generation is fed: the same way as in training, so they are equal."""
    return _assemble(segments, _encode_prefixes([segments], tokenizer)[0], tokenizer, template.adds_special).ids
