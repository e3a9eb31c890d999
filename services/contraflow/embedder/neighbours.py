"""Which prompts are close to which: what a hit on one says about another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_PROMPTS", "nearest_prompts"]

MOST_PROMPTS = 32_768
"""Prompts beyond which neighbours are not worth their time, which grows with the square: half a minute for so many."""

_ROWS = 1024


def nearest_prompts(vectors: NDArray[np.float32], k: int = 30) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The ``k`` nearest others of each of n unit vectors: (n, k) indices and weights ``clip((cos - .3) / .3, 0, 1)``."""
    n = len(vectors)
    k = min(k, n - 1)
    indices = np.zeros((n, k), np.int32)
    weights = np.zeros((n, k), np.float32)
    for start in range(0, n, _ROWS):
        cosines = vectors[start : start + _ROWS] @ vectors.T
        here = np.arange(len(cosines))
        cosines[here, start + here] = -2.0
        nearest = np.sort(np.argpartition(-cosines, k - 1, axis=1)[:, :k], axis=1)
        # a stable sort: equal neighbours are taken in their order
        order = np.argsort(-np.take_along_axis(cosines, nearest, 1), axis=1, kind="stable")
        nearest = np.take_along_axis(nearest, order, 1)
        indices[start : start + _ROWS] = nearest
        weights[start : start + _ROWS] = np.clip((np.take_along_axis(cosines, nearest, 1) - 0.3) / 0.3, 0, 1)
    return indices, weights
