"""The training rows behind the answers: what is near a failing row, which of them share its fault. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

from ftstudio.core.errors import Stopped, StudioError
from ftstudio.core.recipe import Recipe
from ftstudio.data.example import BadRow
from ftstudio.evaluation import doubtful
from ftstudio.evaluation.doubtful import Doubts
from ftstudio.evaluation.neighbours import Neighbour, Neighbours
from ftstudio.evaluation.predictions import Prediction

if TYPE_CHECKING:
    from ftstudio.engine.materials import Materials
    from ftstudio.evaluation.categories import Categorised
    from ftstudio.evaluation.context import Context

LOOK = 256  # rows read between two looks at whether anybody still wants them
MOST = 30  # near rows that are listed
MOST_ASKED = 200  # failing rows whose neighbours are looked for, where a whole category is asked about
LEARNT = 0.01  # share of the training answers from which a fault may have been learnt from them


class Work(Protocol):
    """Who waits for it: is told what is being done and how far, and may not want it any more."""

    phase: str

    def progress(self, done: int, total: int) -> None:
        """DONE of TOTAL."""

    def cancel(self) -> bool:
        """Whether nobody wants the result any more."""


class Quietly:
    """Nobody is told, and nobody stops it."""

    phase = ""

    def progress(self, done: int, total: int) -> None:
        """Nothing."""

    def cancel(self) -> bool:
        """Never."""
        return False


@dataclass
class Training:
    """The rows a recipe trains on: `texts` by row number of the file (prompt, answer), and the index of them.

    `faults` is what the detectors find in the answers; None until `find_faults` is through, as is `doubts`, which
    labels are likely wrong (where the answers are labels).
    """

    recipe: Recipe
    materials: Materials
    texts: dict[int, tuple[str, str]]
    index: Neighbours
    faults: Categorised | None = None
    doubts: Doubts | None = None

    def nearest(self, prediction: Prediction) -> list[Neighbour]:
        """The training rows nearest to PREDICTION's prompt and reference, nearest first."""
        return self.index.nearest(prediction.prompt, prediction.reference or None, MOST)

    def nearest_to_all(self, predictions: Sequence[Prediction], work: Work) -> list[Neighbour]:
        """The training rows near to most of PREDICTIONS (of `MOST_ASKED`, evenly drawn), with their mean cosines to
        those. Not for the screen's thread. Raises Stopped where WORK was stopped."""
        near: dict[int, list[Neighbour]] = {}
        asked = predictions[:: max(1, -(-len(predictions) // MOST_ASKED))]
        for done, prediction in enumerate(asked):
            _go_on(work)
            work.progress(done, len(asked))
            for found in self.nearest(prediction):
                near.setdefault(found.row, []).append(found)
        means = [
            Neighbour(
                row,
                fmean(one.cosine for one in found),
                fmean(one.prompt or 0.0 for one in found),
                fmean(one.answer or 0.0 for one in found),
            )
            for row, found in near.items()
        ]
        return sorted(means, key=lambda one: (-len(near[one.row]), -one.cosine, one.row))[:MOST]

    def missing(self, predictions: Sequence[Prediction]) -> list[int]:
        """The rows of PREDICTIONS whose prompts no training prompt is near."""
        return [predictions[place].row for place in self.index.alone([one.prompt for one in predictions])]

    def alone(self, prediction: Prediction) -> bool:
        """Whether no training prompt is near PREDICTION's."""
        return bool(self.index.alone([prediction.prompt]))

    def with_fault(self, category: str) -> list[int]:
        """The rows whose answers are in CATEGORY."""
        return list(self.faults.rows.get(category, ())) if self.faults is not None else []

    def about_fault(self, category: str, title: str) -> tuple[str, str]:
        """(what is to be said of CATEGORY, called TITLE, in the training answers; the ink it is said in)."""
        faults = self.faults
        if faults is None:
            return "", ""
        judged, count = faults.judged.get(category, 0), len(faults.rows.get(category, ()))
        if not judged:
            reason = faults.reasons.get(category) or "it compares an answer with its reference"
            return f"{title}: can't be judged on training answers: {reason}.", "dim"
        if category == doubtful.NAME and self.doubts is not None:
            return self._about_doubts(self.doubts, title, count, judged)
        told = f"{title}: {_percent(count / judged)} of the training answers have it too ({count:,} of {judged:,})"
        if not count:
            return f"{title}: none of {judged:,} training answers has it; it was not learnt from them.", "good"
        if count / judged < LEARNT:
            return f"{told}: hardly enough to learn it from.", ""
        return f"{told}: the model may have learnt it.", "warn"

    def _about_doubts(self, doubts: Doubts, title: str, count: int, judged: int) -> tuple[str, str]:
        who = f"a quick classifier, right in {_percent(doubts.right)} of the rows"
        if not count:
            return f"{title}: none of {judged:,} training labels, says {who}.", "good"
        hint = ": a hint at best" if doubts.weak else ""
        share = f"{_percent(count / judged)} of the training labels ({count:,} of {judged:,})"
        return f"{title}: {share}, says {who}{hint}. h takes the likelier label.", "" if hint else "warn"

    def likelier(self, row: int) -> str | None:
        """The label that training row ROW more likely has; None where the one it has is not in doubt."""
        return self.doubts.likelier.get(row) if self.doubts is not None else None


def open_training(recipe: Recipe, workspace: Path, work: Work) -> Training:
    """The rows that the resolved RECIPE trains on, with their index, kept in WORKSPACE. Not for the screen's thread.

    Raises StudioError where they can't be read or none has an answer, Stopped where WORK was stopped.
    """
    from ftstudio.engine.prepare import open_materials
    from ftstudio.evaluation.similarity import load_embedder

    work.phase = "opening the training data"
    materials = open_materials(recipe, progress=work.progress, cancel=work.cancel)
    work.phase = "reading the training rows"
    texts: dict[int, tuple[str, str]] = {}
    for place in range(len(materials.train)):
        if place % LOOK == 0:
            _go_on(work)
            work.progress(place, len(materials.train))
        pair = _texts(materials, place)
        if pair is not None:
            texts[materials.train.origin_of(place)] = pair
    if not texts:
        raise StudioError("No training row has a prompt and an answer.", "Look at them: 1 opens the data.")
    embedder = load_embedder("static", allow_torch=False)
    key = _key(recipe, materials)
    path = workspace / "cache" / f"neighbours-{key[:16]}.npz"
    index = Neighbours.load(path, key, embedder)
    if index is None or set(index.rows) != set(texts):
        work.phase = f"embedding {len(texts):,} training rows"
        rows = ((number, prompt, answer) for number, (prompt, answer) in texts.items())
        index = Neighbours.build(
            embedder, rows, should_stop=work.cancel, tell=lambda done: work.progress(done, len(texts))
        )
        if index is None:
            raise Stopped("Stopped while embedding the training rows.")
        index.save(path, key)
    return Training(recipe, materials, texts, index)


def find_faults(training: Training, context: Context, work: Work) -> Categorised:
    """What the detectors find in the training answers, judged in CONTEXT. Not for the screen's thread."""
    from ftstudio.evaluation.training_faults import in_training

    rows = ((number, prompt, answer) for number, (prompt, answer) in training.texts.items())
    found = in_training(
        rows, context, should_stop=work.cancel, tell=lambda done: work.progress(done, len(training.texts))
    )
    if found is None:
        raise Stopped("Stopped while judging the training answers.")
    if doubtful.NAME in context.only:
        labels = {number: answer for number, (_, answer) in training.texts.items()}
        training.doubts = doubtful.in_doubt(training.index, labels, context, work.cancel)
        if training.doubts is not None:
            return doubtful.joined(found, training.doubts.found)
    return found


def _texts(materials: Materials, place: int) -> tuple[str, str] | None:
    """Prompt and answer of training row PLACE as the model is asked and should answer; None where it has none."""
    try:
        example = materials.shape.example(materials.train[place])
        if not example.is_text:
            return (example.prompt, example.reference) if example.reference else None
        prompt = materials.prompt(example)
    except BadRow:
        return None
    return (prompt.text, prompt.reference) if prompt.reference else None


def _key(recipe: Recipe, materials: Materials) -> str:
    """What tells these training rows from all others."""
    told: list[Any] = [recipe.task, recipe.model, recipe.data.model_dump(mode="json"), recipe.training.seed]
    told += [materials.whole.hash, len(materials.train)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _go_on(work: Work) -> None:
    if work.cancel():
        raise Stopped("Stopped while reading the training rows.")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.00995 else f"{100 * share:.1f} %"
