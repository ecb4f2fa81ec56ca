"""Outputs far from their reference in words and in meaning: a hint, never a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftstudio.evaluation.categories import Category, Detector, Finding
from ftstudio.evaluation.context import FEWEST, Context
from ftstudio.evaluation.rows import Row


def _off_topic(rows: Sequence[Row], context: Context, embedder: Any) -> Mapping[int, Finding | None] | str:
    """Rows with a low ROUGE-L whose cosine is among the lowest of all rows'."""
    if embedder is None:
        return "no embedding model is loaded"
    judged = [row for row in rows if row.prediction.reference and row.words]
    if len(judged) < FEWEST:
        return f"fewer than {FEWEST} rows have a reference and an output"
    import numpy as np

    from ftstudio.evaluation.overlap import rouge
    from ftstudio.evaluation.similarity import similarities

    outputs = [row.text for row in judged]
    references = [row.prediction.reference or "" for row in judged]
    cosines = similarities(embedder, outputs, references)
    low = float(np.percentile(cosines, context.limits.off_topic_percent))
    found: dict[int, Finding | None] = {}
    for row, reference, cosine in zip(judged, references, cosines, strict=True):
        far = cosine < low and rouge(row.text, reference).rougeL < context.limits.off_topic_rouge
        why = f"cosine {cosine:.2f} to the reference, and hardly a word in common"
        found[row.row] = Finding("off_topic", why) if far else None
    return found


OFF_TOPIC = Detector(
    Category(
        "off_topic",
        "d",
        "↯",
        "bright_green",
        "Off topic",
        "Far from the reference in words (ROUGE-L < 0.10) and meaning (lowest 5 %): a hint to look, no verdict.",
        hint=True,
    ),
    collect=_off_topic,
)
