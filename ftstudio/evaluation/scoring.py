"""Scores row by row, as outputs come in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ftstudio.evaluation import metrics, ranking, textual
from ftstudio.evaluation.answer import right
from ftstudio.evaluation.classification import number_in
from ftstudio.evaluation.overlap import rouges
from ftstudio.evaluation.predictions import Prediction
from ftstudio.evaluation.similarity import Embedder, similarities

Scores = dict[str, float]


class RowScorer:
    """Scores predictions of any arms one after another; what was scored before is remembered.

    METRICS are row metrics (`rouge1`, `similarity`, `length` …); similarity needs EMBEDDER. ANSWER says how right and
    wrong is told (see Context.answer). A row without a reference has its length only.
    """

    def __init__(
        self, names: Sequence[str] = metrics.ROW_METRICS, embedder: Embedder | None = None, answer: str | None = None
    ) -> None:
        self.names = [name for name in names if name in metrics.BY_ROW]
        if embedder is None:
            self.names = [name for name in self.names if name != "similarity"]
        self.embedder = embedder
        self.answer = answer or "exact"
        self._known: dict[tuple[str, str | None], Scores] = {}

    def score(self, predictions: Iterable[Prediction]) -> list[Scores]:
        """The scores of PREDICTIONS in their order: metric to value, without those that need a missing reference."""
        rows = list(predictions)
        new = {(row.output, row.reference): None for row in rows if (row.output, row.reference) not in self._known}
        if new:
            self._known.update(zip(new, self._scores(list(new)), strict=True))
        return [self._known[row.output, row.reference] | self._ranked(row) for row in rows]

    def _ranked(self, row: Prediction) -> Scores:
        """What the rank is worth at which a search found the reference, where the prediction tells one."""
        rank = row.extra.get("rank")
        if not isinstance(rank, int) or rank < 1:
            return {}
        return {name: score(rank) for name, score in ranking.METRICS.items() if name in self.names}

    def _scores(self, pairs: Sequence[tuple[str, str | None]]) -> list[Scores]:
        found: list[Scores] = [{} for _ in pairs]
        with_reference = [index for index, (_, reference) in enumerate(pairs) if reference is not None]
        wanted = [name for name in self.names if name.startswith("rouge")]
        if wanted:
            all_rouges = rouges([(pairs[index][0], pairs[index][1] or "") for index in with_reference])
            for index, one in zip(with_reference, all_rouges, strict=True):
                found[index] = {name: getattr(one, name) for name in wanted}
        for scores, pair in zip(found, pairs, strict=True):
            scores |= self._single(*pair)
        if self.embedder is not None and "similarity" in self.names and with_reference:
            outputs = [pairs[index][0] for index in with_reference]
            references = [pairs[index][1] or "" for index in with_reference]
            cosines = similarities(self.embedder, outputs, references)
            for index, cosine in zip(with_reference, cosines, strict=True):
                found[index]["similarity"] = float(cosine)
        return found

    def _single(self, output: str, reference: str | None) -> Scores:
        scores: Scores = {}
        if reference is not None:
            if "exact_match" in self.names:
                scores["exact_match"] = float(right(output, reference, self.answer))
            if "numeric_match" in self.names:
                number = textual.numeric_match(output, reference)
                scores |= {} if number is None else {"numeric_match": number}
            if "token_f1" in self.names:
                scores["token_f1"] = textual.token_f1(output, reference)
            if "edit" in self.names:
                scores["edit"] = textual.edit_similarity(output, reference)
            if "accuracy" in self.names:
                scores["accuracy"] = float(output.strip() == reference.strip())
            for name in ("tag_accuracy", "masked_accuracy"):
                if name in self.names and (words := reference.split()):
                    scores[name] = sum(map(str.__eq__, output.split(), words)) / len(words)
            if "absolute_error" in self.names:
                given, wanted = number_in(output), number_in(reference)
                if given is not None and wanted is not None:
                    scores["absolute_error"] = abs(given - wanted)
        if "length" in self.names:
            scores["length"] = float(metrics.length(output))
        return scores
