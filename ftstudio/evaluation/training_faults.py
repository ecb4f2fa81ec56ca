"""The training answers under the same detectors: what the model may have learnt its errors from."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ftstudio.evaluation.categories import Categorised, Categoriser
from ftstudio.evaluation.context import Context
from ftstudio.evaluation.predictions import Prediction

LOOK = 200  # rows between two looks at `should_stop`


def in_training(
    rows: Iterable[tuple[int, str, str]],
    context: Context,
    *,
    should_stop: Callable[[], bool] | None = None,
    tell: Callable[[int], None] | None = None,
) -> Categorised | None:
    """What the detectors find in the training answers ROWS (number, prompt, answer), judged in CONTEXT as the model's
    answers are; None where SHOULD_STOP said so. TELL is told rows done.

    The answers have no reference but themselves, so categories that compare with one can't be judged; an answer in the
    data has come to its end.
    """
    work = Categoriser(context, references=False)
    for done, (number, prompt, answer) in enumerate(rows, 1):
        work.add(Prediction(number, prompt, None, answer, ended=True))
        if done % LOOK == 0:
            if tell is not None:
                tell(done)
            if should_stop is not None and should_stop():
                return None
    return work.result()
