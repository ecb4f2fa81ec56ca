"""What of the prompt, its template or the assistant's manners got into the output: copying, leaks, refusals."""

from __future__ import annotations

import re
from functools import lru_cache

from ftstudio.core.text import one_line
from ftstudio.data import words
from ftstudio.evaluation.categories import Category, Detector, Finding, Verdict
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.rows import Row

_LEAK = re.compile(
    r"<\|[\w ./-]{1,40}\|>|<｜[^｜>]{1,40}｜>"  # ChatML, Llama 3, Phi, DeepSeek
    r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|</?s>(?!\w)|<(?:pad|unk|bos|eos|mask)>"
    r"|\[(?:PAD|UNK|CLS|SEP|MASK|BOS|EOS)\]"
    r"|^[ \t]*#{2,4}[ \t]*(?:Instruction|Response|Input|Output|Human|Assistant|User|System)s?[ \t]*:?[ \t]*$"
    r"|^[ \t]*#{2,4}[ \t]*(?:Instruction|Response|Input|Output|Human|Assistant|User|System)s?[ \t]*:"
    r"|^[ \t]*(?:Human|User|Assistant|System|Bot|AI|Prompter|USER|ASSISTANT|SYSTEM)[ \t]*:"
    r"|^Below is an instruction that describes a task",
    re.MULTILINE,
)
_CANNOT = r"(?:can(?:not|['’]t| not)|(?:am|['’]m) (?:not able|unable) to|won['’]t|will not|must (?:decline|refuse) to)"
_REFUSAL = re.compile(
    r"\bas an? (?:AI|artificial intelligence|(?:large )?language model)\b[^.!?\n]{0,160}?"
    r"(?:\b(?:not|no|cannot|unable)\b|n['’]t\b)"
    rf"|\bI(?: am|['’]m) (?:very |so |really )?(?:sorry|afraid)[,.]? (?:but )?(?:that )?I {_CANNOT}"
    rf"|\bI(?: {_CANNOT}|['’]m (?:not able|unable) to) (?:assist|help|provide|fulfil|fulfill|comply|complete|engage"
    r"|support|create|generate|write|discuss|answer|do that|process|access|browse|offer|respond|give)\b"
    r"|\bI (?:don['’]t|do not) have (?:access to|the ability to|personal (?:opinions|feelings|experiences?))"
    r"|\bagainst my (?:programming|guidelines|policy|policies)\b"
    r"|\bI(?: am|['’]m) (?:just |only )?an? (?:AI|artificial intelligence|(?:large )?language model)\b[^.!?\n]{0,160}?"
    r"(?:\b(?:not|no|cannot|unable)\b|n['’]t\b)",
    re.IGNORECASE,
)
_HEAD = 400  # characters: a refusal opens the output


def _copying(row: Row, context: Context) -> Verdict:
    found = row.words
    grams = len(found) - 7
    if grams < 1:
        return None
    prompt = row.prompt
    least = context.limits.copied_share * grams
    # As many words of the prompt as 8-grams are needed: fewer can't make so many.
    if sum(word in prompt.vocabulary for word in found) <= least:
        return None
    eights = prompt.eights
    copied = [index for index in range(grams) if tuple(found[index : index + 8]) in eights]
    if len(copied) <= least:
        return None
    return Finding("copying", f"{len(copied) / grams:.0%} of its 8-grams stand in the prompt", _runs(row.text, copied))


def _runs(text: str, starts: list[int]) -> tuple[tuple[int, int], ...]:
    """The copied stretches of TEXT, from the word numbers at which a copied 8-gram begins."""
    places = [match.span() for match in words.pattern(text).finditer(text)]
    merged: list[list[int]] = []
    for start in starts:
        if merged and start <= merged[-1][1]:
            merged[-1][1] = start + 8
        else:
            merged.append([start, start + 8])
    return tuple((places[first][0], places[last - 1][1]) for first, last in merged[:50])


@lru_cache(maxsize=8)
def _specials(tokens: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True))) if tokens else None


def _template_leak(row: Row, context: Context) -> Verdict:
    spans = [match.span() for match in _LEAK.finditer(row.text)]
    special = _specials(context.special_tokens)
    if special is not None:
        spans += [match.span() for match in special.finditer(row.text)]
    if not spans:
        return None
    spans = sorted(set(spans))
    shown = list(dict.fromkeys(one_line(row.text[start:end], 30) for start, end in spans))
    why = "holds " + ", ".join(shown[:4]) + (", …" if len(shown) > 4 else "")
    return Finding("template_leak", why, tuple(spans[:50]))


def _refusal(row: Row, context: Context) -> Verdict:
    match = _REFUSAL.search(row.text[:_HEAD])
    if match is None:
        return None
    return Finding("refusal", f"says “{one_line(match.group(), 60)}”", (match.span(),))


COPYING = Detector(
    Category("copying", "c", "=", "blue", "Copying", "More than half of its runs of eight words stand in the prompt."),
    _copying,
)
TEMPLATE_LEAK = Detector(
    Category(
        "template_leak",
        "i",
        "<",
        "red",
        "Template leak",
        "Special tokens, role names or headings of the prompt template stand in the output.",
    ),
    _template_leak,
)
REFUSAL = Detector(
    Category("refusal", "u", "⊘", "bright_blue", "Refusal", "A stock phrase that declines the request."),
    _refusal,
)
