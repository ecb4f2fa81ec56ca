"""Which task the rows of a dataset suit: labels, tags, pairs, translations, pictures; by names or by their values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ftstudio.data.columns import Look, key
from ftstudio.data.guess import guess_chat, guess_chosen, guess_examples, guess_pair, guess_text
from ftstudio.data.shape import Shape, Suggestion, shaped
from ftstudio.data.shape_rows import as_list

_TEXTS = (
    "text", "sentence", "review", "content", "message", "body", "tweet", "comment", "utterance", "query", "question",
    "title", "description", "seq.in", "headline", "post", "input",
)  # fmt: skip
_LABELS = (
    "label", "labels", "category", "class", "intent", "sentiment", "target", "topic", "label_text", "emotion",
    "coarse_label", "fine_label", "is_spam", "spam", "toxic", "rating", "stars",
)  # fmt: skip
_TOKENS, _TAGS = ("tokens", "words"), ("tags", "ner_tags", "ner", "labels", "pos_tags", "chunk_tags", "upos")
_TWO = (
    ("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("text1", "text2"), ("premise", "hypothesis"),
    ("question1", "question2"), ("anchor", "positive"), ("query", "positive"), ("query", "passage"), ("s1", "s2"),
)  # fmt: skip
_NEGATIVES = ("negative", "hard_negative", "neg", "negatives", "hard_negatives")
_SCORES = (
    "score",
    "similarity",
    "similarity_score",
    "relatedness_score",
    "label",
    "is_duplicate",
    "quality",
    "gold_label",
)
_CLASSES = ("label", "is_duplicate", "quality", "gold_label")  # of the names of scores those that classes have too
_MOST_CLASSES = 20
_TRANSLATED = (
    ("source", "target"), ("src", "tgt"), ("article", "summary"), ("article", "highlights"), ("document", "summary"),
    ("dialogue", "summary"), ("text", "summary"), ("input_text", "target_text"),
)  # fmt: skip
_LANGUAGES = frozenset(
    ("ar", "bg", "bn", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "ga", "he", "hi", "hr", "hu", "id",
     "is", "it", "ja", "ko", "lt", "lv", "mt", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sr", "sv", "sw", "ta",
     "th", "tr", "uk", "ur", "vi", "zh")
)  # fmt: skip
_CAPTIONS = ("caption", "text", "description", "productdisplayname", "title", "name", "label", "answer", "completion")
_WHOLE = re.compile(r"[-+]?\d+")


def suggestions(look: Look) -> list[Suggestion]:
    """The tasks that what LOOK has seen suits, the likeliest first."""
    found: list[Suggestion] = []

    def add(shape: Shape | None, *tasks: str) -> None:
        for task in tasks if shape is not None else ():
            if shape is not None and all(known.task != task for known in found):
                found.append(Suggestion(task, shape))

    add(_tagged(look), "token-classification")
    add(_pictured(look), "image-text-to-text")
    translated = _translated(look)
    named = any(pair(look) is not None for pair in (guess_chat, guess_chosen))
    if not named:
        add(translated, "seq2seq")
    asked = guess_examples(look)
    if asked is not None and asked.name != "text":
        add(asked, "sft")
        add(_as_translation(look), "seq2seq")
    two = _two(look)
    add(two, "embedding")
    if two is not None and {"label", "score"} & two.columns.keys():
        add(two, "text-classification")
    labelled = None if two is not None else _labelled(look)
    add(labelled, "text-classification", "few-shot-classification")
    add(guess_text(look), "causal-lm", "masked-lm", "sft")
    if not any(suggestion.task == "sft" for suggestion in found):
        for shape in (
            labelled,
            two if two is None or two.name != "triplet" else None,
            translated,
        ):  # these can be learnt as prompts with answers
            add(shape, "sft")
    return found


def _tagged(look: Look) -> Shape | None:
    tokens, tags = look.find(_TOKENS), look.find(_TAGS)
    if tokens is None or tags is None:
        return None
    rows = [(as_list(row.get(tokens)), as_list(row.get(tags))) for row in look.first]
    lists = [a is not None and b is not None and len(a) == len(b) for a, b in rows]
    if not lists or sum(lists) < 0.8 * len(lists):
        return None
    why = f"words in {tokens!r} with as many tags in {tags!r}"
    return shaped(look, "tokens-tags", {"tokens": tokens, "tags": tags}, why)


def why_not(look: Look, task: str) -> tuple[str, str]:
    """What keeps columns that are nearly TASK's from being so, in a sentence, and the form that is wanted; both empty
    where there are none."""
    if task == "token-classification":
        tokens, tags = look.find(_TOKENS), look.find(_TAGS)
        if tokens is not None and tags is not None:
            why = f"the cells of {tokens!r} and {tags!r} are not lists of the same length, a tag for each word"
            return why, 'Write lists, such as ["Ada", "lives"].'
        spans = next((name for name in look.columns if _are_spans(look.values(name))), None)
        if spans is not None:
            hint = 'Write two lists: tokens, such as ["Ada", "lives"], and tags, one a word, such as ["B-PER", "O"].'
            return f"{spans!r} holds places in the text (start and end), and tags of words are wanted", hint
    if task in ("text-classification", "few-shot-classification"):
        switches = _switches(look)
        if len(switches) > 1 and (look.find(_TEXTS) is not None or any(map(look.is_text, look.columns))):
            told = ", ".join(map(repr, switches[:6])) + (", …" if len(switches) > 6 else "")
            one = f"data.columns.label={switches[0]}"
            hint = f"Read them as one column: {_read_joined(switches)}; or learn one of them: {one}."
            return f"{told} hold 0 or 1, each for a label of its own", hint
    column = look.find(("text", "content"))
    if task in ("causal-lm", "masked-lm") and column is not None:
        return f"the cells of {column!r} are no texts", "Write them as texts (in quotes)."
    return "", ""


def _are_spans(values: Sequence[Any]) -> bool:
    """Whether VALUES, cells of a column, are lists of spans of characters: objects with a start and an end, or
    [start, end, label]."""
    parts = [part for value in values for part in (as_list(value) or ())]
    return bool(parts) and all(
        {"start", "end"} <= part.keys() if isinstance(part, Mapping) else _is_span(part) for part in parts
    )


def _is_span(part: Any) -> bool:
    return isinstance(part, (list, tuple)) and len(part) == 3 and sum(isinstance(one, int) for one in part) == 2


def _switches(look: Look) -> list[str]:
    return [name for name in look.columns if _is_switch(look, name)]


def _read_joined(switches: Sequence[str]) -> str:
    """The setting that reads the columns SWITCHES as one."""
    return f"data.reading.labels=[{', '.join(switches)}]"


def _is_switch(look: Look, name: str) -> bool:
    """Whether NAME holds nothing but 0 and 1, or false and true."""
    values = {str(value).strip().lower() for value in look.values(name)}
    return bool(values) and (values <= {"0", "1"} or values <= {"false", "true"} or values <= {"0.0", "1.0"})


def _pictured(look: Look) -> Shape | None:
    column = next((name for name in look.columns if look.is_picture(name)), None)
    if column is None:
        return None
    chat = guess_chat(look)
    if chat is not None:
        why = f"pictures in {column!r} beside {chat.why}"
        return shaped(look, "image-text", {**chat.columns, "image": column}, why)
    pair = guess_pair(look)
    if pair is not None:
        return shaped(look, "image-text", {**pair.columns, "image": column}, f"pictures in {column!r}, {pair.why}")
    text = look.find(_CAPTIONS, [column]) or next((name for name in look.columns if look.is_text(name)), None)
    if text is None:
        return None
    return shaped(look, "image-text", {"image": column, "text": text}, f"pictures in {column!r} with {text!r}")


def _translated(look: Look) -> Shape | None:
    for source, target in _TRANSLATED:
        if source in look.names and target in look.names:
            columns = {"source": look.names[source], "target": look.names[target]}
            what = "summed up as" if "summary" in target or target == "highlights" else "→"
            why = f"{columns['source']!r} {what} {columns['target']!r}"
            if _is_list(look, columns["target"]):
                why += "; of several references the first is learnt"
            return shaped(look, "source-target", columns, why)
    languages = [name for name in look.columns if re.split(r"[-_]", key(name))[0] in _LANGUAGES and len(name) <= 7]
    texts = [name for name in languages if all(isinstance(value, str) for value in look.values(name))]
    texts = [name for name in texts if key(name) != "id" or look.is_text(name)]  # Indonesian, or what numbers the rows
    if len(texts) == 2:
        why = f"{texts[0]!r} → {texts[1]!r}: columns called like languages"
        return shaped(look, "source-target", {"source": texts[0], "target": texts[1]}, why)
    column = look.names.get("translation")
    first = next((row[column] for row in look.first if column and isinstance(row.get(column), dict)), None)
    if column is not None and first is not None and len(first) == 2:
        source, target = first
        why = f"{source!r} → {target!r} in {column!r}"
        return shaped(look, "source-target", {"source": f"{column}.{source}", "target": f"{column}.{target}"}, why)
    return None


def _as_translation(look: Look) -> Shape | None:
    """A prompt and its completion as source and target; a question with its context stays as it is."""
    found = guess_pair(look)
    if found is None or "messages" in found.columns:
        return None
    if set(found.columns) != {"prompt", "completion"}:
        return found
    columns = {"source": found.columns["prompt"], "target": found.columns["completion"]}
    return shaped(look, "source-target", columns, found.why)


def _is_list(look: Look, name: str) -> bool:
    return any(isinstance(value, (list, tuple)) for value in look.values(name)[:20])


def _two(look: Look) -> Shape | None:
    for first, second in _TWO:
        if first in look.names and second in look.names:
            columns = {"sentence1": look.names[first], "sentence2": look.names[second]}
            negative = look.find(_NEGATIVES)
            if negative is not None and (look.is_text(negative) or _is_list(look, negative)):
                first, second = columns.values()
                why = f"{first!r} with {second!r}, which belongs to it, and {negative!r}, which doesn't"
                return shaped(look, "triplet", {**columns, "negative": negative}, why)
            score = look.find(_SCORES, list(columns.values()))
            return _pair_shape(look, columns, score, "called so")
    texts = [name for name in look.columns if look.is_text(name)]
    if len(texts) != 2 or not _alike(look, *texts):
        return None
    others = [name for name in look.columns if name not in texts]
    scores = [name for name in others if key(name) in _SCORES] or [name for name in others if _is_score(look, name)]
    if len(scores) != 1:
        return None
    return _pair_shape(look, {"sentence1": texts[0], "sentence2": texts[1]}, scores[0], "judged by what is in them")


def _pair_shape(look: Look, columns: dict[str, str], score: str | None, how: str) -> Shape:
    why = f"pairs of sentences in {columns['sentence1']!r} and {columns['sentence2']!r}"
    if score is not None:
        values = look.numbers(score)
        role = "score" if len(set(values)) > 3 and not _is_class(look, score) else "label"
        columns[role] = score
        spread = f" ({min(values):g} to {max(values):g})" if values else ""
        why += f" with a {role} in {score!r}{spread}"
    return shaped(look, "sentence-pair", columns, f"{why}, {how}")


def _is_class(look: Look, name: str) -> bool:
    """Whether NAME, called like a label, holds whole numbers (no 3.0), few of them: classes rather than scores."""
    values = {str(value).strip() for value in look.values(name)}
    return key(name) in _CLASSES and len(values) <= _MOST_CLASSES and all(map(_WHOLE.fullmatch, values))


def _alike(look: Look, first: str, second: str) -> bool:
    """Whether two columns hold texts of about the same length, as sentences that are compared do."""
    lengths = [sum(map(len, look.values(name))) / max(1, len(look.values(name))) for name in (first, second)]
    return max(lengths) <= 2 * min(lengths)


def _is_score(look: Look, name: str) -> bool:
    values = look.numbers(name)
    few = look.labels(name) > 0
    return bool(values) and (few or (min(values) >= 0 and max(values) <= 100 and any(v != int(v) for v in values)))


def _labelled(look: Look) -> Shape | None:
    label = next((name for name in map(look.names.get, _LABELS) if name is not None and _may_label(look, name)), None)
    text = look.find(_TEXTS, [label])
    if text is not None and not all(isinstance(value, str) for value in look.values(text)):
        text = None
    how = "called so"
    if label is None or text is None:
        texts = [name for name in look.columns if name != label and look.is_text(name)]
        text = text or (texts[0] if len(texts) == 1 else None)
        labels = [label] if label else [name for name in look.columns if name != text and look.labels(name)]
        if text is None or len(labels) != 1:
            return None
        label, how = labels[0], "judged by what is in them"
    count = len({str(value) for value in look.values(label)})
    why = f"text in {text!r} with a label in {label!r} ({count} seen in {len(look.across)} rows), {how}"
    switches = _switches(look)
    if label in switches and len(switches) > 1:
        why += f"; {', '.join(map(repr, switches))} hold 0 or 1 each: {_read_joined(switches)} learns all of them"
    return shaped(look, "text-label", {"text": text, "label": label}, why)


def _may_label(look: Look, name: str) -> bool:
    """Whether a column called like a label holds short values, or lists of some."""
    values = look.values(name)
    parts = [part for value in values for part in (value if isinstance(value, list) else [value])]
    return bool(values) and all(not isinstance(part, (list, dict)) and len(str(part)) <= 80 for part in parts)
