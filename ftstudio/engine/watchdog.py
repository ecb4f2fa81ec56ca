"""Notices what goes wrong while a run trains. Looks at numbers alone; what is done about it is the director's."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ftstudio.core.watch import Watch

RECENT = 64  # losses that a spike is judged by
ENOUGH = 20  # before so many there is nothing to judge by
# what a loss must rise by at least to be a spike: a share of what it was lately, one of what the run began with (its
# scale), and so many nats
SPIKE_OF_USUAL, SPIKE_OF_FIRST, SPIKE_NATS = 0.5, 0.1, 0.1
ZERO = 1e-7  # nats a token: below, the loss counts as zero
ZEROS = 5  # steps in a row, with a loss or a gradient of zero
FAR, LEAST_RISE = 1.5, 0.5  # a held-out loss so many times that before training, and so many nats above it
SKIPPED = 20  # steps in a row that fp16's scaler skips: it begins at 2^16 and halves, 16 are nothing to wonder at
LOWER = "Stop, and train again with a lower learning rate."
LEAST_STALL = 60.0  # seconds
FIRST_STALL = 1800.0  # the same before it is known what steps take: the first ones compile, choose kernels, fill caches
MAD = 1.4826  # median absolute deviation to standard deviation, of normally spread values
NINE_TENTHS = 1.2816  # standard deviations that nine in ten of them lie below


@dataclass(frozen=True)
class Fault:
    """`kind` is the key of `training.watch` that decides what is done; `text` tells a person."""

    kind: str
    text: str
    hint: str = ""


class Watchdog:
    """Fed with steps, evaluations and readings of the machine; gives back the faults it sees, each told once."""

    def __init__(self, watch: Watch, clock: Callable[[], float] = time.monotonic) -> None:
        self.watch, self._clock = watch, clock
        self.first_loss: float | None = None  # that of the run's first step, also where it goes on
        self._losses: deque[float] = deque(maxlen=RECENT)
        self._spans: deque[float] = deque(maxlen=RECENT)
        self._last: float | None = None  # when the step under way began; None while other things than steps are done
        self._straight = False  # right after another one, so that it tells what steps take
        self._told_stall = False
        self._quiet_until = 0
        self._zeros = self._still = self._skipped = 0
        self._first: tuple[int, float] | None = None  # step and loss of the first evaluation
        self._far = False
        self._best = math.inf
        self._least, self._least_step = math.inf, 0  # the best of those that patience counts, and
        self._worse = 0  # how many of them came since, and
        self._excused = 0  # how many of these a person knew of, and went on
        self._judged: int | None = None  # the last step of which one counted
        self._cards: dict[str, str] = {}

    def step(self, step: int, loss: float, norm: float | None, *, scaled: bool = False) -> list[Fault]:
        """STEP was taken with LOSS and gradient NORM; SCALED: a scaler skips steps with infinite gradients itself."""
        self._time()
        found = []
        if not math.isfinite(loss):
            found.append(Fault("not_finite", f"The loss is not a finite number ({loss}) at step {step}."))
        elif norm is not None and not math.isfinite(norm) and not scaled:
            found.append(Fault("not_finite", f"The gradient is not a finite number ({norm}) at step {step}."))
        skipped = scaled and norm is not None and not math.isfinite(norm)
        self._skipped = self._skipped + 1 if skipped else 0
        if self._skipped == SKIPPED:
            text = f"The gradient is no finite number in {SKIPPED} steps in a row, up to step {step}: all were skipped."
            found.append(Fault("not_finite", text, "Use training.precision bf16 or fp32, or look at the rows."))
        if found:
            return found
        self._zeros = self._zeros + 1 if abs(loss) < ZERO else 0
        if self._zeros == ZEROS:
            text = f"The loss is zero since step {step - ZEROS + 1}: there is nothing left to learn, or no label."
            found.append(Fault("zero_loss", text, "Look at the rows, and stop."))
        self._still = self._still + 1 if norm == 0 and abs(loss) >= ZERO else 0
        if self._still == ZEROS:
            text = f"The gradient is exactly zero since step {step - ZEROS + 1}, and the loss is not ({loss:.4g}): "
            found.append(Fault("collapsed", f"{text}the model has collapsed and learns nothing any more.", LOWER))
        if self.first_loss is None:
            self.first_loss = loss
        score, usual = self._score(loss)
        if score > self.watch.spike_score and step >= self._quiet_until:
            text = f"The loss jumped to {loss:.3g} at step {step}; lately it was about {usual:.3g}."
            found.append(Fault("spike", text, "Lower the learning rate, or look at the rows of that step."))
            self._quiet_until = step + ENOUGH
        self._losses.append(loss)
        return found

    def recall(self, losses: Iterable[float]) -> None:
        """LOSSES of the last steps of a run that goes on: what its losses were lately."""
        self._losses.extend(losses)

    def _score(self, loss: float) -> tuple[float, float]:
        """(robust z-score of LOSS among the recent ones, their median), 0 for what is no spike by itself.

        The spread is the median absolute deviation (Iglewicz and Hoaglin 1993), or that of the upper tail where it is
        wider: batches of memorised rows lose next to nothing, and one or the other ten times as much. Nor is a rise a
        spike, however calm the losses were, under half of the median, a tenth of the run's first loss (its scale) or
        0.1 nats.
        """
        if len(self._losses) < ENOUGH:
            return 0.0, loss
        usual = statistics.median(self._losses)
        if loss - usual < max(SPIKE_OF_USUAL * abs(usual), SPIKE_OF_FIRST * abs(self.first_loss or 0.0), SPIKE_NATS):
            return 0.0, usual
        middle = MAD * statistics.median(abs(value - usual) for value in self._losses)
        tail = (statistics.quantiles(self._losses, n=10)[-1] - usual) / NINE_TENTHS
        return (loss - usual) / max(middle, tail, 1e-3 * abs(usual), 1e-9), usual

    @property
    def best(self) -> float:
        """The lowest held-out loss so far; infinite before the first."""
        return self._best

    @property
    def collapsed(self) -> bool:
        """Whether the model is worth less now than before training: what was saved of it lately is, too."""
        return self._far or self._still >= ZEROS

    def far(self, loss: float) -> bool:
        """Whether a held-out LOSS is so far above that before training that the model is worth less than then."""
        start = self._first[1] if self._first is not None else math.inf
        return loss >= FAR * start and loss - start >= LEAST_RISE

    def evaluated(self, step: int, loss: float, *, counts: bool = True) -> list[Fault]:
        """The held-out LOSS at STEP. Patience COUNTS those that are due, of each step one: to look ends no run."""
        if not math.isfinite(loss):
            return [Fault("not_finite", f"The held-out loss is not a finite number ({loss}) at step {step}.")]
        if self._first is None:
            self._first = step, loss
        self._best = min(self._best, loss)
        found = self._patient(step, loss) if counts and step != self._judged else []
        before, start = self._first
        far = self.far(loss)
        if far and not self._far:
            text = f"The held-out loss is {loss:.4g} at step {step}, far above the {start:.4g} of step {before}: "
            found.append(Fault("collapsed", f"{text}the model is worse than it was before.", LOWER))
        self._far = far
        return found

    def excuse(self) -> None:
        """The run stopped early here, and was gone on with: patience counts anew, against the same best."""
        self._excused = self._worse

    @property
    def least(self) -> tuple[int, float]:
        """Step and held-out loss of the best evaluation that patience counts; infinite before the first."""
        return self._least_step, self._least

    def _patient(self, step: int, loss: float) -> list[Fault]:
        self._judged = step
        if loss < self._least:
            self._least, self._least_step, self._worse, self._excused = loss, step, 0, 0
            return []
        self._worse += 1
        if (self._worse - self._excused) % self.watch.patience:
            return []
        text = (
            f"The held-out loss got no better since step {self._least_step} ({self._least:.4g}, now {loss:.4g}): "
            f"{self._worse} evaluation{'s' if self._worse > 1 else ''}."
        )
        return [Fault("eval_rising", text, f"Stop, and use the checkpoint nearest to step {self._least_step}.")]

    # -- time: asked by another thread -----------------------------------------------------------------------------
    def away(self) -> None:
        """What is done now isn't a step: evaluating, saving, pausing."""
        self._last = None

    def back(self) -> None:
        """The next step is under way, after something else or as the first."""
        if self._last is None:
            self._last, self._straight, self._told_stall = self._clock(), False, False

    def _time(self) -> None:
        now = self._clock()
        if self._last is not None and self._straight:
            self._spans.append(now - self._last)
        self._last, self._straight, self._told_stall = now, True, False

    def stalled(self) -> list[Fault]:
        """Whether no step came for far longer than steps take, and for `FIRST_STALL` at least where hardly any is
        known. Monotonic: a clock that jumps changes nothing."""
        last, spans = self._last, list(self._spans)
        if last is None or self._told_stall:
            return []
        usual, waited = statistics.median(spans) if spans else 0.0, self._clock() - last
        if waited < max(LEAST_STALL if len(spans) >= 3 else FIRST_STALL, self.watch.stall * usual):
            return []
        self._told_stall = True
        text = f"No step for {waited:.0f} s" + (f"; a step took {usual:.2g} s." if spans else ", and none before.")
        return [Fault("stalled", text, "A slow disk, another process on the GPU, or a lost peer.")]

    def machine(self, reading: Mapping[str, Any]) -> list[Fault]:
        """A telemetry READING: throttled and lost GPUs, each told when it begins."""
        found = []
        for place, gpu in enumerate(reading.get("gpus") or ()):
            name = f"GPU {place if gpu.get('index') is None else gpu['index']}"
            now = "lost" if gpu.get("lost") else ", ".join(gpu.get("throttled") or ())
            if now and now != self._cards.get(name):
                at = f" at {gpu['temperature']:.0f} °C" if gpu.get("temperature") is not None else ""
                text = f"{name} is lost to the driver." if now == "lost" else f"{name} is slowed down by {now}{at}."
                hint = "Ask who runs the machine; resume the run after a restart." if now == "lost" else ""
                found.append(Fault("gpu", text, hint))
            self._cards[name] = now
        return found
