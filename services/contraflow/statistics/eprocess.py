"""The e-process for "does a cluster's share differ between two arms": a sequential McNemar test.

After n discordant pairs, s of them the intervened arm's, under the sharp null each is a fair coin given the past. The
process is an even mixture of the beta-binomial (Robbins; Howard et al., arXiv 1810.08240) and of two points:
``log E = betaln(a+s, b+n-s) - betaln(a, b) + n log 2`` with a = b = 1, and ``LR(t) = (2t)^s (2(1-t))^(n-s)`` at t = .95
and .05. By Ville's inequality P(sup E >= 1/alpha) <= alpha, whenever somebody looks.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln

__all__ = ["log_e", "log_e_scalar", "needed"]

_HIGH, _LOW = np.log(2 * 0.95), np.log(2 * 0.05)


def log_e(n: ArrayLike, s: ArrayLike) -> NDArray[np.float64]:
    """Log E after ``n`` discordant pairs with ``s`` of the arm; broadcasts. 0 at n = 0, symmetric in s and n - s."""
    n = np.asarray(n, np.float64)
    s = np.asarray(s, np.float64)
    beta_binomial = betaln(1 + s, 1 + n - s) + n * np.log(2)
    # logaddexp is symmetric only if its arguments are in the same order for s and for n - s
    more, fewer = np.maximum(s, n - s), np.minimum(s, n - s)
    points = np.logaddexp(more * _HIGH + fewer * _LOW, more * _LOW + fewer * _HIGH) - np.log(2)
    mixed: NDArray[np.float64] = np.logaddexp(beta_binomial, points) - np.log(2)
    return np.where(n == 0, 0.0, mixed)


@lru_cache(maxsize=1 << 13)
def log_e_scalar(n: int, s: int) -> float:
    """The same for one pair of numbers, remembered."""
    return float(log_e(n, s))


def needed(n: int, s: int, log_threshold: float, most: int = 10_000) -> int:
    """How many more discordant pairs, all in the leading direction, until log E reaches the threshold."""
    more, fewer = max(s, n - s), min(s, n - s)
    if log_e_scalar(n, more) >= log_threshold:
        return 0
    low, high = 0, 1
    while high < most and log_e_scalar(more + fewer + high, more + high) < log_threshold:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if log_e_scalar(more + fewer + middle, more + middle) < log_threshold:
            low = middle
        else:
            high = middle
    return min(high, most)
