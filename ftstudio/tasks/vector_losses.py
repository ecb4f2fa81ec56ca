"""sentence-transformers' losses, called on vectors that were made already."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from ftstudio.core.errors import StudioError

if TYPE_CHECKING:
    import torch

Loss = Literal["mnrl", "cosent", "cosine", "contrastive", "triplet"]
TITLES: dict[str, str] = {
    "mnrl": "MultipleNegativesRankingLoss: each text finds its own partner among those of the batch",
    "cosent": "CoSENTLoss: pairs in the order of their scores",
    "cosine": "CosineSimilarityLoss: the cosine is the score",
    "contrastive": "ContrastiveLoss: alike pairs close, unlike ones a margin apart",
    "triplet": "TripletLoss: nearer to the positive than to the negative, by a margin",
}
FORMS: dict[str, tuple[str, ...]] = {
    "mnrl": ("pairs", "triplets"), "cosent": ("scores", "labels"), "cosine": ("scores", "labels"),
    "contrastive": ("labels",), "triplet": ("triplets",),
}  # fmt: skip
"""Which rows each can learn from."""
DEFAULT = {"pairs": "mnrl", "triplets": "mnrl", "scores": "cosine", "labels": "cosent"}
TOGETHER = ("mnrl", "cosent")
"""Losses that hold the rows of a batch against each other: half a batch is another loss."""


def value(
    name: str, vectors: Sequence[torch.Tensor], labels: torch.Tensor, *, scale: float, margin: float,
    dimensions: Sequence[int] = (),
) -> torch.Tensor:  # fmt: skip
    """The mean loss NAME of the rows whose texts have VECTORS (a [rows, width] each) and LABELS [rows], in 32 bits;
    with DIMENSIONS (Matryoshka) the sum over vectors cut to each."""
    loss, given = _loss(name, scale, margin, tuple(dimensions), vectors[0].shape[1])
    given.vectors = list(vectors)
    try:
        found: torch.Tensor = loss([{"place": place} for place in range(len(vectors))], labels)
    finally:
        given.vectors = []
    return found.float()


@lru_cache(maxsize=16)
def _loss(name: str, scale: float, margin: float, dimensions: tuple[int, ...], width: int) -> tuple[Any, Any]:
    from sentence_transformers.sentence_transformer import losses
    from torch import nn

    class Given(nn.Module):
        """Stands for the model: its vectors are those of the batch."""

        def __init__(self) -> None:
            super().__init__()
            self.vectors: list[torch.Tensor] = []

        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            return {"sentence_embedding": self.vectors[features["place"]]}

        def get_embedding_dimension(self) -> int:
            return width

    given: Any = Given()
    made: Any = {
        "mnrl": lambda: losses.MultipleNegativesRankingLoss(given, scale=scale),
        "cosent": lambda: losses.CoSENTLoss(given, scale=scale),
        "cosine": lambda: losses.CosineSimilarityLoss(given),
        "contrastive": lambda: losses.ContrastiveLoss(given, margin=margin),
        "triplet": lambda: losses.TripletLoss(
            given, distance_metric=losses.TripletDistanceMetric.COSINE, triplet_margin=margin
        ),
    }[name]()
    if dimensions and max(dimensions) > width:
        raise StudioError(
            f"options.matryoshka: a length of {max(dimensions)} is more than the {width} numbers of a vector.",
            f"Name lengths up to {width}, itself among them.",
        )
    if dimensions:
        made = losses.MatryoshkaLoss(given, made, list(dimensions))
    return made, given
