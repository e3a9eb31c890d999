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

Rows = Sequence[int] | NDArray[np.intp] | slice

_ALL = slice(None)
_TRUNCATION = 0.5
_FIELDS = 6
_N, _SUM, _SQUARES, _LAMBDA, _LAMBDA_X, _V_PSI = range(_FIELDS)
"""Of the observations so far: n, sum x, sum (x - mean)^2, sum lambda, sum lambda x, sum v psi."""


class EmpiricalBernstein:
    """``size`` sequences side by side, each fed observations in [0, 1]; level ``alpha`` each, two-sided.

    With ``population`` observations come without replacement from that many values in all.
    ``state`` is (size, 6) float64 and can be kept and given back.
    """

    def __init__(self, size: int, alpha: float, population: int | None = None) -> None:
        self._alpha = alpha
        self._population = population
        self.state = np.zeros((size, _FIELDS))

    def update(self, x: ArrayLike, rows: Rows = _ALL) -> None:
        """One observation for each of ``rows``; or (t, rows) observations, as ``t`` calls would take them."""
        before = self.state[rows]
        x = np.atleast_2d(np.asarray(x, np.float64))
        t = before[:, _N] + np.arange(1, len(x) + 1)[:, None]
        sums = _running(before[:, _SUM], x)
        squares = _running(before[:, _SQUARES], (x - (0.5 + sums[1:]) / (t + 1)) ** 2)
        # predictable: everything here is from before x
        mean = (0.5 + sums[:-1]) / t
        variance = (0.25 + squares[:-1]) / t
        weight = np.minimum(np.sqrt(2 * np.log(2 / self._alpha) / (variance * t * np.log(1 + t))), _TRUNCATION)
        psi = -np.log1p(-weight) - weight
        observed, weighed = self._corrected(t, x, sums[:-1])
        state = np.empty_like(before)
        state[:, _N], state[:, _SUM], state[:, _SQUARES] = t[-1], sums[-1], squares[-1]
        state[:, _LAMBDA] = _running(before[:, _LAMBDA], weight * weighed)[-1]
        state[:, _LAMBDA_X] = _running(before[:, _LAMBDA_X], weight * observed)[-1]
        state[:, _V_PSI] = _running(before[:, _V_PSI], (x - mean) ** 2 * psi)[-1]
        self.state[rows] = state

    def _corrected(
        self, t: NDArray[np.float64], x: NDArray[np.float64], before: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | float]:
        """What each observation adds, and its weight; without replacement, corrected for what was drawn already."""
        if self._population is None:
            return x, 1.0
        left = np.maximum(self._population - t + 1, 1)
        return x + before / left, 1 + (t - 1) / left

    def means(self, rows: Rows = _ALL) -> NDArray[np.float64]:
        """(rows,) running means; .5 where nothing was seen."""
        state = self.state[rows]
        n = state[:, _N]
        means: NDArray[np.float64] = np.where(n > 0, state[:, _SUM] / np.maximum(n, 1), 0.5)
        return means

    def intervals(self, rows: Rows = _ALL) -> NDArray[np.float64]:
        """(rows, 2) bounds within [0, 1]; (0, 1) where nothing was seen."""
        state = self.state[rows]
        total = np.maximum(state[:, _LAMBDA], 1e-300)
        centre = state[:, _LAMBDA_X] / total
        half = (np.log(2 / self._alpha) + state[:, _V_PSI]) / total
        bounds = np.stack([centre - half, centre + half], axis=1)
        bounds[state[:, _N] == 0] = 0.0, 1.0
        if self._population:  # of an empty one nothing can be drawn
            self._exhaust(state, bounds)
        clipped: NDArray[np.float64] = np.clip(bounds, 0.0, 1.0)
        return clipped

    def _exhaust(self, state: NDArray[np.float64], bounds: NDArray[np.float64]) -> None:
        """What was drawn is known: the mean lies between all the rest being 0 and all the rest being 1."""
        assert self._population
        rest = np.maximum(self._population - state[:, _N], 0)
        low = state[:, _SUM] / self._population
        high = (state[:, _SUM] + rest) / self._population
        bounds[:, 0] = np.clip(bounds[:, 0], low, high)
        bounds[:, 1] = np.clip(bounds[:, 1], low, high)


def _running(start: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """(t + 1, n) sums: the start, and after each step. In the order of the steps, so that blocks change no bit."""
    sums: NDArray[np.float64] = np.cumsum(np.concatenate([start[None], steps]), axis=0)
    return sums
