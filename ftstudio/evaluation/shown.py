"""Figures of a comparison in their usual digits, the same on screen, in the terminal and in reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftstudio.evaluation.metrics import OF_HUNDRED


def figure(metric: str, value: float | None, signed: bool = False) -> str:
    """A VALUE of METRIC, or a difference of it: of a perplexity of hundreds the thousandths say nothing."""
    if value is None:
        return "–"
    digits = 1 if metric in (*OF_HUNDRED, "length") or abs(value) >= 100 else 2 if abs(value) >= 10 else 3
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def chance(p: float | None) -> str:
    """A p value."""
    return "–" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def chance_of(entry: Mapping[str, Any]) -> str:
    """The p value that the verdict on the difference ENTRY stands on: Holm's where it was corrected."""
    corrected = entry.get("p_holm")
    return chance(entry["p"] if corrected is None else corrected)
