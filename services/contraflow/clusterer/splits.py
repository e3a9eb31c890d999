"""Splits a cluster in which the arms' texts lie apart, although both fall into it.

Without this a cluster that held both normal and changed texts stayed silent for 25,000 pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Divergence", "halves"]

Floats = NDArray[np.float32]

FIRST_LOOK = 6
APART = 3.0
"""|D|^2 / Q is 1 on average when the arms agree."""
SMALLEST = 3


class Divergence:
    """By slot: D, the sum of (arm - reference) over concordant pairs; Q, the sum of its squared norms; m, the count."""

    def __init__(self, capacity: int, dim: int) -> None:
        self.direction = np.zeros((capacity, dim), np.float32)
        self.squares = np.zeros(capacity, np.float64)
        self.count = np.zeros(capacity, np.int64)
        self.next_look = np.full(capacity, FIRST_LOOK, np.int64)

    def reset(self, slot: int) -> None:
        """Start anew for a cluster that was just born."""
        self.direction[slot] = 0
        self.squares[slot] = 0
        self.count[slot] = 0
        self.next_look[slot] = FIRST_LOOK

    def add(self, slot: int, arm: Floats, reference: Floats) -> None:
        """Count a pair of which both texts fell into the cluster."""
        difference = arm - reference
        self.direction[slot] += difference
        self.squares[slot] += float(difference @ difference)
        self.count[slot] += 1

    def due(self, slot: int) -> bool:
        """Whether to look at the cluster now; looks are at 6, 12, 24, ... pairs."""
        if self.count[slot] < self.next_look[slot]:
            return False
        self.next_look[slot] = 2 * self.count[slot]
        return float(self.direction[slot] @ self.direction[slot]) > APART * float(self.squares[slot])


def halves(texts: Floats, direction: Floats, rounds: int = 5) -> tuple[Floats, Floats, float] | None:
    """2-means over (m, dim) texts, started from the halves along ``direction``.

    Returns both means and the first's share of the texts; None if a half has fewer than three texts.
    """
    if len(texts) < 2 * SMALLEST:
        return None
    along = texts @ direction
    first = along > np.median(along)
    for _ in range(rounds):
        if not SMALLEST <= first.sum() <= len(texts) - SMALLEST:
            return None
        a, b = texts[first].mean(axis=0), texts[~first].mean(axis=0)
        first = texts @ (a - b) > (a @ a - b @ b) / 2
    if not SMALLEST <= first.sum() <= len(texts) - SMALLEST:
        return None
    return texts[first].mean(axis=0), texts[~first].mean(axis=0), float(first.mean())
