"""Outputs far from their reference in words and in meaning: a hint, never a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftstudio.evaluation.categories import Category, Detector, Finding
from ftstudio.evaluation.context import FEWEST, Context
from ftstudio.evaluation.rows import Row

_MOST = 1_000  # rows whose prompt is held against the reference


def _off_topic(rows: Sequence[Row], context: Context, embedder: Any) -> Mapping[int, Finding | None] | str:
    """Rows with a low ROUGE-L that mean less of what their reference means than the prompts of the data do.

    The bound follows from prompts and references alone: it is the same for every model that answers these rows, and any
    share of the answers can be beyond it.
    """
    if embedder is None:
        return "no embedding model is loaded"
    judged = [row for row in rows if row.prediction.reference and row.words]
    if len(judged) < FEWEST:
        return f"fewer than {FEWEST} rows have a reference and an output"
    asked = sorted(
        (row.row, row.prediction.prompt, row.prediction.reference)
        for row in rows
        if row.prediction.reference and row.prediction.prompt.strip()
    )
    if len(asked) < FEWEST:
        return f"fewer than {FEWEST} rows have a prompt and a reference"
    import numpy as np

    from ftstudio.evaluation.overlap import rouge
    from ftstudio.evaluation.similarity import similarities

    outputs = [row.text for row in judged]
    references = [row.prediction.reference or "" for row in judged]
    cosines = similarities(embedder, outputs, references)
    some = asked[:: -(-len(asked) // _MOST)]
    usual = similarities(embedder, [prompt for _, prompt, _ in some], [reference for _, _, reference in some])
    low = float(np.percentile(usual, context.limits.off_topic_percent))
    found: dict[int, Finding | None] = {}
    for row, reference, cosine in zip(judged, references, cosines, strict=True):
        far = cosine < low and rouge(row.text, reference).rougeL < context.limits.off_topic_rouge
        why = f"cosine {cosine:.2f} to the reference (prompts: {low:.2f}), and hardly a word in common"
        found[row.row] = Finding("off_topic", why) if far else None
    return found


OFF_TOPIC = Detector(
    Category(
        "off_topic",
        "d",
        "↯",
        "bright_green",
        "Off topic",
        "Hardly a word of the reference (ROUGE-L < 0.10), and less like it in meaning than 95 % of the prompts are: a "
        "hint to look, no verdict.",
        hint=True,
    ),
    collect=_off_topic,
)
