"""How people call the metrics, on every screen and in every report. Light: charts need it, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftstudio.core.text import one_line

TITLES = {
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "similarity": "Similarity",
    "exact_match": "Exact match",
    "length": "Words",
    "bleu": "BLEU",
    "chrf": "chrF",
    "ter": "TER",
    "numeric_match": "Number right",
    "token_f1": "Token F1",
    "edit": "Edit sim.",
    "accuracy": "Accuracy",
    "absolute_error": "Abs. error",
    "mrr@10": "MRR@10",
    "recall@10": "Recall@10",
    "f1": "F1 (macro)",
    "f1_micro": "F1 (micro)",
    "mcc": "MCC",
    "brier": "Brier score",
    "ece": "Calib. error",
    "spearman": "Spearman",
    "pearson": "Pearson",
    "perplexity": "Perplexity",
    "bits_per_byte": "Bits a byte",
    "entity_f1": "Entity F1",
    "entity_precision": "Precision",
    "entity_recall": "Recall",
    "entity_f1_macro": "F1 (by type)",
    "tag_accuracy": "Tag accuracy",
    "masked_accuracy": "Found",
}


def title(name: str, own: Any = None, width: int = 40) -> str:
    """How people call the metric NAME; OWN are the titles of the person's own metrics, as a report has them."""
    told = own.get(name, name) if isinstance(own, Mapping) else name
    return TITLES.get(name) or one_line(told, width)
