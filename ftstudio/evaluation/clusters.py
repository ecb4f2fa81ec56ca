"""Groups of rows that mean alike, with the words that set each apart: to find the category nobody named."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftstudio.data import words
from ftstudio.evaluation.similarity import Embedder

if TYPE_CHECKING:
    import numpy as np

MOST = 12  # groups
FEWEST = 12  # rows that can be grouped at all
SAMPLE = 1_000  # rows on which the number of groups is tried
WORDS = 6  # that set a group apart
SURE = 1.96  # z from which a word does so


@dataclass(frozen=True)
class Cluster:
    """A group: the places of its texts, the nearest to its centre first; the words that set it apart; its tightness.

    `cosine` is the mean cosine to the group's centre.
    """

    places: tuple[int, ...]
    words: tuple[str, ...]
    cosine: float


def clusters(texts: Sequence[str], embedder: Embedder, seed: int = 0) -> list[Cluster]:
    """TEXTS in groups by k-means over their embeddings, the largest first; none where there are too few.

    The number of groups is the one with the best silhouette (Rousseeuw 1987); texts that are no better grouped than
    not at all are one group.
    """
    if len(texts) < FEWEST:
        return []
    import numpy as np

    vectors = embedder.encode(texts)
    labels = _labels(vectors, seed)
    tokens = [words.split(text) for text in texts]
    found = []
    for label in range(int(labels.max()) + 1):
        inside = np.flatnonzero(labels == label)
        centre = vectors[inside].mean(axis=0)
        norm = float(np.linalg.norm(centre))
        cosines = vectors[inside] @ (centre / norm if norm else centre)
        order = inside[np.argsort(-cosines, kind="stable")]
        members = set(inside.tolist())
        apart = distinctive(
            [tokens[place] for place in inside], [tokens[place] for place in range(len(texts)) if place not in members]
        )
        found.append(Cluster(tuple(int(place) for place in order), apart, float(cosines.mean())))
    return sorted(found, key=lambda cluster: (-len(cluster.places), cluster.places))


def _labels(vectors: np.ndarray, seed: int) -> np.ndarray:
    """The group of each of VECTORS (rows, dimensions), from 0."""
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    random = np.random.default_rng(seed)
    sample = vectors if len(vectors) <= SAMPLE else vectors[random.choice(len(vectors), SAMPLE, replace=False)]
    different = len(np.unique(sample.round(5), axis=0))
    best, best_score = 1, 0.0
    for count in range(2, min(MOST, different - 1, len(sample) // 3) + 1):
        labels = KMeans(count, n_init=4, random_state=seed).fit_predict(sample)
        score = float(silhouette_score(sample, labels)) if len(set(labels.tolist())) > 1 else 0.0
        if score > best_score + 0.01:  # more groups must be clearly better
            best, best_score = count, score
    if best == 1:
        return np.zeros(len(vectors), dtype=int)
    found: np.ndarray = KMeans(best, n_init=4, random_state=seed).fit_predict(vectors)
    return found


def distinctive(
    inside: Sequence[Sequence[str]], outside: Sequence[Sequence[str]], most: int = WORDS
) -> tuple[str, ...]:
    """The MOST words that stand in more of the texts INSIDE than OUTSIDE, the most telling first.

    Log-odds ratio with an informative Dirichlet prior, as a z-score (Monroe, Colaresi and Quinn 2008, "Fightin'
    Words"), over the number of texts that hold a word; words of one text alone and of one letter say nothing.
    """
    a, b = (Counter(word for text in texts for word in set(text)) for texts in (inside, outside))
    prior = a + b
    total_a, total_b, total = a.total(), b.total(), prior.total()
    scored = []
    for word, both in prior.items():
        if a[word] < 2 or len(word) < 2 or word.isdigit():
            continue
        left = (a[word] + both) / max(1e-9, total_a + total - a[word] - both)
        right = (b[word] + both) / max(1e-9, total_b + total - b[word] - both)
        z = (math.log(left) - math.log(right)) / math.sqrt(1 / (a[word] + both) + 1 / (b[word] + both))
        if z >= SURE or not outside:
            scored.append((-z, word))
    return tuple(word for _, word in sorted(scored)[:most])
