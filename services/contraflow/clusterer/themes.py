"""Themes: clusters that resemble each other together, so that hundreds can be read from the top."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["READABLE", "Branch", "themes_of"]

READABLE = 20
"""More clusters than these are parted once more."""


class Branch(NamedTuple):
    """Rows that belong together, ascending; ``parts`` are theirs, and empty where they are few enough to read."""

    members: NDArray[np.int64]
    parts: list[Branch]


def themes_of(centroids: NDArray[np.float32]) -> list[Branch]:
    """(k, dim) centroids cut into about sqrt(k) themes; a theme of more than 20 is cut once more.

    At sqrt(k) themes as many lines are read to choose a theme as within it. The hierarchy is Ward's over the directions
    of the centroids, each counting once: the mean of few texts is longer than that of many, and would stand apart for
    that alone. Every row is in exactly one theme.
    """
    norms = np.linalg.norm(centroids, axis=1, keepdims=True)
    directions = (centroids / np.where(norms == 0, 1, norms)).astype(np.float32)
    themes = _cut(directions, np.arange(len(centroids)))
    return [Branch(theme, _parts(directions, theme)) for theme in themes]


def _parts(directions: NDArray[np.float32], theme: NDArray[np.int64]) -> list[Branch]:
    parts = _cut(directions, theme) if len(theme) > READABLE else []
    return [Branch(part, []) for part in parts] if len(parts) > 1 else []


def _cut(directions: NDArray[np.float32], rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist

    if len(rows) < 2:
        return [rows] if len(rows) else []
    # distances, because as many clusters as dimensions can look like a table of distances to scipy
    labels = fcluster(linkage(pdist(directions[rows]), "ward"), round(len(rows) ** 0.5), "maxclust")
    return sorted((rows[labels == label] for label in np.unique(labels)), key=lambda part: int(part[0]))
