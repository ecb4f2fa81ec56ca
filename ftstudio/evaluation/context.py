"""What the detectors must know besides the row: how the references are, and what was asked for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from ftstudio.core.limits import Limits
from ftstudio.data import language, words
from ftstudio.evaluation import facts, kinds, spelling
from ftstudio.evaluation.contract import Contract, infer
from ftstudio.evaluation.predictions import Prediction

if TYPE_CHECKING:
    from ftstudio.evaluation.own import OwnCategory

CLOSING = frozenset(".!?…。！？”’\"')]}»`|>*")  # the last character of a text that came to its end
FEWEST = 20  # references below which a share of them says nothing
_MOST_ANSWERS = 20_000  # training answers read for vocabulary and lengths


@dataclass(frozen=True)
class Context:
    """Everything the detectors need besides the row itself; made by `build` or `of_predictions`.

    `references` counts the rows with a reference. `longest` is the 99th percentile of words of the training answers
    (of the references where none were given). `closing_share` is the share of references that end in closing
    punctuation. `vocabulary` holds the words in at least two training answers. `locale` is the language whose words
    are known (`en`, `en-US` for American spellings only, `de` …), None where there is none, and then
    `locale_reason` says why. `answer` says how right and wrong is told: `marker` (GSM8K's `####`), `number`,
    `label`, `exact` or None. `grounded` is True where the prompts hold the source that answers must keep to.
    `target_language` is the language (ISO 639-1) that most references are in. `limits`: from where on something is an
    error. `own`: the person's own categories. `only`: the categories that make sense of the task's answers (all that
    there are, where it names none).
    """

    references: int = 0
    longest: float | None = None
    closing_share: float | None = None
    vocabulary: frozenset[str] = frozenset()
    special_tokens: tuple[str, ...] = ()
    contract: Contract | None = None
    max_new_tokens: int | None = None
    locale: str | None = "en"
    locale_reason: str = ""
    answer: str | None = None
    grounded: bool = False
    grounded_reason: str = ""
    classification: bool = False
    target_language: str | None = None
    limits: Limits = field(default_factory=Limits)
    own: tuple[OwnCategory, ...] = ()
    only: tuple[str, ...] = ()

    @property
    def dictionary_language(self) -> str:
        """The word list that `locale` names."""
        return (self.locale or "en").split("-")[0]

    @property
    def british(self) -> bool:
        """Whether British spellings are accepted."""
        return self.locale != "en-US"


def build(
    prompts: Sequence[str],
    references: Sequence[str | None],
    *,
    answers: Iterable[str] = (),
    special_tokens: Iterable[str] = (),
    contract: Contract | None = None,
    max_new_tokens: int | None = None,
    locale: str | None = None,
    limits: Limits | None = None,
    own: Sequence[OwnCategory] = (),
    only: Sequence[str] = (),
    answer: str | None = "auto",
    grounded: bool | None = None,
    classification: bool | None = None,
    infer_contract: bool = True,
) -> Context:
    """The context of the rows with these PROMPTS and REFERENCES (equally many, None for absent ones).

    ANSWERS are the training answers: they give vocabulary and usual length; without them the references do.
    SPECIAL_TOKENS are the tokenizer's. CONTRACT is the declared format; without one, a format that all references
    share is taken (unless INFER_CONTRACT is False). LOCALE None takes that of LIMITS, whose
    `auto` takes the language of the texts. ANSWER `auto` and GROUNDED None are likewise read off the references.
    """
    present = [reference for reference in references if reference is not None]
    targets = list(islice(answers, _MOST_ANSWERS)) or present
    if contract is None and infer_contract:
        contract = infer(present)
    if classification is None:
        classification = contract is not None and contract.kind == "labels"
    enough = len(present) >= FEWEST
    pairs = [(prompt, reference) for prompt, reference in zip(prompts, references, strict=True) if reference]
    limits = limits or Limits()
    chosen, reason = _locale(locale or limits.spelling, present or targets or list(prompts))
    found, why = (grounded, "") if grounded is not None else facts.grounded(pairs, FEWEST)
    return Context(
        references=len(present),
        longest=_percentile(sorted(words.length(text) for text in targets), 0.99) if len(targets) >= FEWEST else None,
        closing_share=sum(closed(text) for text in present) / len(present) if enough else None,
        vocabulary=_vocabulary(targets, chosen),
        special_tokens=tuple(token for token in special_tokens if _is_marker(token)),
        contract=contract,
        max_new_tokens=max_new_tokens,
        locale=chosen,
        locale_reason=reason,
        answer=_answer(present, contract) if answer == "auto" else answer,
        grounded=found,
        grounded_reason=why,
        classification=classification,
        target_language=language.usual(present),
        limits=limits,
        own=tuple(own),
        only=tuple(only),
    )


def of_predictions(predictions: Sequence[Prediction], **settings: object) -> Context:
    """The context of stored PREDICTIONS; SETTINGS as `build` takes them. Without `only` among them the categories are
    those of what the predictions are: tags, labels, vectors or written text."""
    settings.setdefault("only", kinds.categories_of(predictions))
    prompts = [prediction.prompt for prediction in predictions]
    references = [prediction.reference for prediction in predictions]
    return build(prompts, references, **settings)  # type: ignore[arg-type]


def closed(text: str) -> bool:
    """Whether TEXT ends like something finished."""
    return text.rstrip()[-1:] in CLOSING and bool(text.strip())


def _percentile(ordered: Sequence[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def _locale(locale: str, texts: Sequence[str]) -> tuple[str | None, str]:
    if not spelling.languages():
        return None, "no word list is installed (pyspellchecker)"
    if locale != "auto":
        if locale.split("-")[0] in spelling.languages():
            return locale, ""
        return None, f"there is no word list for {locale}"
    found = spelling.language_of(texts[:400])
    if found:
        return found, ""
    if sum(len(text.split()) for text in texts) >= FEWEST and any(len(text.split()) > 3 for text in texts):
        return None, "the texts are in no language with a word list"
    return "en", ""  # too little text to tell, and the commonest case


def _vocabulary(answers: Sequence[str], locale: str | None) -> frozenset[str]:
    code = (locale or "en").split("-")[0]
    counts: Counter[str] = Counter()
    for text in answers:
        counts.update(set(spelling.candidates(text[:20_000], code)))
    return frozenset(word for word, count in counts.items() if count >= 2)


def _is_marker(token: str) -> bool:
    """Whether a special token can be told from text: `<|im_end|>`, not a blank or a word."""
    return len(token.strip()) >= 3 and not token.strip().isalnum()


_NUMBER = re.compile(r"\s*[-+]?[$€£]?\d[\d,]*(?:\.\d+)?%?\.?\s*")


def _answer(references: Sequence[str], contract: Contract | None) -> str | None:
    if contract is not None and contract.kind == "labels":
        return "label"
    if len(references) < FEWEST:
        return None
    if all("####" in text for text in references):
        return "marker"
    if all(_NUMBER.fullmatch(text[:100]) for text in references):
        return "number"
    return None
