"""How well a model expects running text: perplexity of its tokens, and bits a byte, which any two tokenizers share.

A row's prediction carries `nats` (the negative log-likelihood of its learnt tokens), `text_tokens` and `text_bytes`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from ftstudio.evaluation.predictions import Prediction

KEYS = ("nats", "text_tokens", "text_bytes")


class LikelihoodMetric:
    """`perplexity` (e to the nats a token) or `bits_per_byte` of a corpus, from what its rows add up to."""

    def __init__(self, name: str) -> None:
        self.name = name

    def of_rows(self, rows: Sequence[Prediction]) -> np.ndarray | None:
        """[rows, 2]: nats, and tokens or bytes, of each of ROWS; None where any of them doesn't tell."""
        import numpy as np

        divisor = "text_tokens" if self.name == "perplexity" else "text_bytes"
        pairs = [(row.extra.get("nats"), row.extra.get(divisor)) for row in rows]
        if not pairs or any(not isinstance(value, (int, float)) for pair in pairs for value in pair):
            return None
        return np.array(pairs, dtype=np.float64)

    def statistics(self, systems: Sequence[Sequence[str]], references: Sequence[str]) -> list[np.ndarray]:
        """Texts alone tell nothing of it; see `of_rows`."""
        raise TypeError(f"{self.name} is measured by a model, not on texts")

    def score(self, totals: np.ndarray) -> np.ndarray:
        """The metric of corpora whose sums are the rows of TOTALS."""
        import numpy as np

        nats = totals[:, 0] / np.maximum(totals[:, 1], 1e-12)
        return np.exp(np.minimum(nats, 700)) if self.name == "perplexity" else nats / math.log(2)

    @property
    def signature(self) -> str:
        """What the number depends on."""
        return "of learnt tokens" if self.name == "perplexity" else "UTF-8, of learnt tokens"


METRICS: dict[str, Any] = {"bits_per_byte": LikelihoodMetric, "perplexity": LikelihoodMetric}
