"""Confidence sequences for means of bounded observations, valid at every moment.

The predictable plug-in empirical-Bernstein sequence (Waudby-Smith & Ramdas, arXiv 2010.09686, theorem 2), and its form
for sampling without replacement (Waudby-Smith & Ramdas, arXiv 2006.04347, theorem 3.2). Bounds are not intersected
over time: they must cover the running mean while a cluster moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["EmpiricalBernstein"]

_TRUNCATION = 0.5
_FIELDS = 7  # n, sum x, sum (x - mean)^2, sum lambda, sum lambda x, sum v psi, sum lambda (correction)
_N, _SUM, _SQUARES, _LAMBDA, _LAMBDA_X, _V_PSI, _CORRECTION = range(_FIELDS)


class EmpiricalBernstein:
    """``size`` sequences side by side, each fed one observation in [0, 1] a step; level ``alpha`` each, two-sided.

    With ``population`` observations come without replacement from that many values in all.
    ``state`` is (size, 7) float64 and can be kept and given back.
    """

    def __init__(self, size: int, alpha: float, population: int | None = None) -> None:
        self._alpha = alpha
        self._population = population
        self.state = np.zeros((size, _FIELDS))

    def grow(self, size: int) -> None:
        """Add sequences that have seen nothing."""
        self.state = np.vstack([self.state, np.zeros((size - len(self.state), _FIELDS))])

    def update(self, x: ArrayLike, rows: Sequence[int] | NDArray[np.intp] | slice = slice(None)) -> None:
        """One observation for each of ``rows``."""
        state = self.state[rows]
        x = np.asarray(x, np.float64)
        t = state[:, _N] + 1
        # predictable: everything here is from before x
        mean_before = (0.5 + state[:, _SUM]) / t
        variance_before = (0.25 + state[:, _SQUARES]) / t
        weight = np.minimum(np.sqrt(2 * np.log(2 / self._alpha) / (variance_before * t * np.log(1 + t))), _TRUNCATION)
        self._shift(state, t, x, weight)
        state[:, _V_PSI] += 4 * (x - mean_before) ** 2 * (-np.log1p(-weight) - weight) / 4
        state[:, _N] = t
        state[:, _SUM] += x
        state[:, _SQUARES] += (x - (0.5 + state[:, _SUM]) / (t + 1)) ** 2
        self.state[rows] = state

    def _shift(
        self, state: NDArray[np.float64], t: NDArray[np.float64], x: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> None:
        """Add the weighted observation and weight; without replacement, corrected for what was drawn already."""
        if self._population is None:
            state[:, _LAMBDA_X] += weight * x
            state[:, _LAMBDA] += weight
            return
        left = np.maximum(self._population - t + 1, 1)
        state[:, _LAMBDA_X] += weight * (x + state[:, _SUM] / left)
        state[:, _LAMBDA] += weight * (1 + (t - 1) / left)

    @property
    def means(self) -> NDArray[np.float64]:
        """(size,) running means; .5 where nothing was seen."""
        n = self.state[:, _N]
        means: NDArray[np.float64] = np.where(n > 0, self.state[:, _SUM] / np.maximum(n, 1), 0.5)
        return means

    def intervals(self) -> NDArray[np.float64]:
        """(size, 2) bounds within [0, 1]; (0, 1) where nothing was seen."""
        total = np.maximum(self.state[:, _LAMBDA], 1e-300)
        centre = self.state[:, _LAMBDA_X] / total
        half = (np.log(2 / self._alpha) + self.state[:, _V_PSI]) / total
        bounds = np.stack([centre - half, centre + half], axis=1)
        bounds[self.state[:, _N] == 0] = 0.0, 1.0
        if self._population:  # of an empty one nothing can be drawn
            self._exhaust(bounds)
        clipped: NDArray[np.float64] = np.clip(bounds, 0.0, 1.0)
        return clipped

    def _exhaust(self, bounds: NDArray[np.float64]) -> None:
        """What was drawn is known: the mean lies between all the rest being 0 and all the rest being 1."""
        assert self._population
        rest = np.maximum(self._population - self.state[:, _N], 0)
        low = self.state[:, _SUM] / self._population
        high = (self.state[:, _SUM] + rest) / self._population
        bounds[:, 0] = np.clip(bounds[:, 0], low, high)
        bounds[:, 1] = np.clip(bounds[:, 1], low, high)
