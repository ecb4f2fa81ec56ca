"""The detectors of error categories, one file per family; here is the order in which they are shown."""

from __future__ import annotations

from ftstudio.evaluation.categories import Detector
from ftstudio.evaluation.detectors import (
    answers,
    encoding,
    labels,
    length,
    masked,
    prompt,
    repetition,
    spelling,
    tagging,
    topic,
    vectors,
)

ALL: tuple[Detector, ...] = (
    length.EMPTY,
    length.TOO_LONG,
    length.TOO_SHORT,
    length.TRUNCATED,
    repetition.REPETITIVE,
    spelling.MISSPELLING,
    prompt.COPYING,
    prompt.TEMPLATE_LEAK,
    answers.FORMAT,
    repetition.MODE_COLLAPSE,
    answers.WRONG_ANSWER,
    answers.UNSUPPORTED_FACT,
    prompt.REFUSAL,
    encoding.WRONG_LANGUAGE,
    encoding.ENCODING,
    topic.OFF_TOPIC,
)
# for tasks that don't write text: see Task.error_categories
OTHERS: tuple[Detector, ...] = (*labels.ALL, *tagging.ALL, *masked.ALL, *vectors.ALL)
