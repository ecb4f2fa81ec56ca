"""The category table: per category the count, the rate with its interval, the references' rate and the lift."""

from __future__ import annotations

from typing import Any

from ftstudio.evaluation.categories import Categorised
from ftstudio.evaluation.statistics import wilson


def category_table(categorised: Categorised, references: bool = True) -> list[dict[str, Any]]:
    """One entry per category, in the order of the detectors, as `errors --json` gives them.

    `rate` is count / judged (None where nothing could be judged, and then `reason` says why), `low` and `high` its
    95 % Wilson interval, `reference_rate` the same detector's rate on the references, `lift` how many times as often
    it fires on outputs (None where it never fires on references: then all of it is the model's). REFERENCES False
    leaves the last two None.
    """
    table = []
    for name, rows in categorised.rows.items():
        judged = categorised.judged[name]
        rate = categorised.rate(name)
        low, high = wilson(len(rows), judged) if judged else (None, None)
        reference_rate = categorised.reference_rate(name) if references else None
        lift = rate / reference_rate if rate is not None and reference_rate else None
        category = categorised.categories.get(name)
        table.append(
            {
                "name": name,
                "title": category.title if category else name,
                "count": len(rows),
                "rate": rate,
                "low": low,
                "high": high,
                "reference_rate": reference_rate,
                "lift": lift,
                "judged": judged,
                "reason": categorised.reasons.get(name, ""),
                "hint": bool(category and category.hint),
                "rows": list(rows),
            }
        )
    return table
