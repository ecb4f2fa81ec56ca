"""What the detectors found, with a person's word above theirs."""

from __future__ import annotations

from dataclasses import replace

from ftstudio.evaluation.categories import Categorised
from ftstudio.evaluation.tags import Tags


def corrected(categorised: Categorised, tags: Tags) -> Categorised:
    """CATEGORISED with the decisions in TAGS: they win, and a row that a person judged counts as judged."""
    decided = {row: decisions for row in tags.decided if (decisions := tags.of(row))}
    known = {prediction.row for prediction in categorised.predictions}
    rows: dict[str, list[int]] = {}
    judged = dict(categorised.judged)
    for name, found in categorised.rows.items():
        by_person = {row: says[name] for row, says in decided.items() if name in says and row in known}
        if not by_person:
            rows[name] = found
            continue
        inside = (set(found) | {row for row, says in by_person.items() if says == "add"}) - {
            row for row, says in by_person.items() if says == "remove"
        }
        rows[name] = [prediction.row for prediction in categorised.predictions if prediction.row in inside]
        missing = known if name in categorised.reasons else categorised.unjudged.get(name, frozenset())
        judged[name] = judged.get(name, 0) + sum(row in missing for row in by_person)
    return replace(categorised, rows=rows, judged=judged)
