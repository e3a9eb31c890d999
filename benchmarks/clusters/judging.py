"""What a clustering is worth, and how a figure stands to its bar."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

__all__ = ["Floats", "Judged", "Labels", "Row", "judged", "offline"]

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

LLOYD = 25


class Row(NamedTuple):
    """A figure, and what it must be: at least ``bar``, or at most with ``most``; None for no bar."""

    name: str
    what: str
    value: float
    bar: float | None = None
    most: bool = False

    @property
    def holds(self) -> bool:
        """Whether the bar is met."""
        return self.bar is None or (self.value <= self.bar if self.most else self.value >= self.bar)


class Judged(NamedTuple):
    """The share of the variance that centroids explain, and the nearest centroid of each text."""

    explained: float
    labels: Labels
    inertia: float


def judged(vectors: Floats, centroids: Floats) -> Judged:
    """What (k, dim) centroids make of (n, dim) unit vectors."""
    labels, best = np.zeros(len(vectors), np.int64), 0.0
    half_norms = (centroids**2).sum(axis=1) / 2
    for start in range(0, len(vectors), 8192):
        scores = vectors[start : start + 8192] @ centroids.T - half_norms
        labels[start : start + 8192] = scores.argmax(axis=1)
        best += float(scores.max(axis=1).sum())
    inertia = len(vectors) - 2 * best
    return Judged(1 - inertia / (len(vectors) * (1 - float((vectors.mean(axis=0) ** 2).sum()))), labels, inertia)


def offline(vectors: Floats, k: int, seed: int = 0) -> Floats:
    """The centroids of k-means over everything."""
    centroids: Floats = KMeans(k, n_init=1, max_iter=LLOYD, tol=0, random_state=seed).fit(vectors).cluster_centers_
    return centroids
