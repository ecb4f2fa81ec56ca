"""What a step holds with all layers, drawn from steps of a few of them: each phase grows with the layers of a kind in a
straight line, by what one more of that kind adds.

Two layers at least are followed: with one there is no overlap of two, which is there once, however many follow.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ftstudio.core.text import one_line
from ftstudio.engine.memory_fake import Followed
from ftstudio.engine.memory_layers import Few, whole

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawn:
    """Steps of `few` layers: of its `base`, and of each that has one `more`."""

    few: Few
    base: Followed
    more: tuple[Followed, ...]

    @property
    def learning(self) -> int:
        """Weights that learn in the layers that weren't followed."""
        return sum(
            more.times * (one.learning - self.base.learning) for one, more in zip(self.more, self.few.more, strict=True)
        )

    def greatest(self, kept: int | None) -> tuple[int, int]:
        """(most bytes that a step of all layers holds at once, gradients among them).

        KEPT: bytes of all gradients where they lie there all the time, from the micro-batches before.
        """
        others = list(self._phases("others"))
        if kept is not None:
            return max(others) + kept, kept
        peaks = self._phases("peaks")
        return max((peak, max(0, peak - other)) for peak, other in zip(peaks, others, strict=True))

    def _phases(self, values: str) -> Iterator[int]:
        """The VALUES (`peaks` or `others`) of the phases of a step of all layers."""
        base: dict[str, int] = getattr(self.base, values)
        if not self.few.more:
            yield from base.values()
            return
        more: list[dict[str, int]] = [getattr(one, values) for one in self.more]
        for phase in ("forward", "head"):
            yield base[phase] + sum(
                one.times * (found[phase] - base[phase]) for one, found in zip(self.few.more, more, strict=True)
            )
        kinds, seen = self.few.kinds, Counter[int]()
        there = [kinds[place] for place in self.few.base]
        for place, kind in enumerate(kinds):
            at = len(there) - 1 - there[::-1].index(kind) if place else 0
            total = base[f"layer {at}"]
            for one, found in zip(self.few.more, more, strict=True):
                sooner = seen[one.kind] - there[:at].count(one.kind)
                later = one.times - sooner  # on the way back these come before: their gradients are there
                total += sooner * (found[f"layer {at + 1}"] - base[f"layer {at}"])
                total += later * (found["layer 0"] - base["layer 0"])
            yield total
            seen[kind] += 1


def drawn(count: Few, step: Callable[[tuple[int, ...], bool], Followed]) -> Drawn:
    """What STEP tells of the layers at the places that COUNT names (and whether they are its base).

    Of all layers where these few can't be run by themselves, or the first of them learns nothing, so that it depends on
    its place whether a layer keeps anything.
    """
    try:
        base = step(count.base, True)
        if not count.more or "layer 0" in base.peaks:
            return Drawn(count, base, tuple(step(one.places, False) for one in count.more))
    except Exception as error:
        if not count.more:
            raise
        log.info("followed again with all layers: %s", one_line(error, 200))
    return drawn(whole(count.kinds), step)
