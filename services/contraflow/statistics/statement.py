"""Is a statement true? Sequential evidence from a judge who picks, of two texts, the one that shows it more.

``s`` of ``n`` judgments picked the arm that the statement names; ties multiply by one and are not counted.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import betainc, betaincc, betaln, xlog1py, xlogy

__all__ = ["accuracy_bounds", "log_e_accept", "log_e_reject", "score"]


@lru_cache(maxsize=1 << 14)
def log_e_accept(n: int, s: int) -> float:
    """Log E against theta <= 1/2, theta uniform on (1/2, 1].

    ``E = 2^n * 2 * B(s+1, n-s+1) * P(Beta(s+1, n-s+1) > 1/2)``: a mixture of likelihood ratios against 1/2, each a
    supermartingale under every theta <= 1/2.
    """
    return float(n * np.log(2) + np.log(2) + betaln(s + 1, n - s + 1) + _log(betaincc(s + 1, n - s + 1, 0.5)))


@lru_cache(maxsize=1 << 14)
def log_e_reject(n: int, s: int, min_accuracy: float) -> float:
    """Log E against theta >= ``min_accuracy``, theta uniform on [0, min_accuracy): the mirror of ``log_e_accept``.

    ``E = B(s+1, n-s+1) P(Beta(s+1, n-s+1) < m) / (m * m^s (1-m)^(n-s))``. Each likelihood ratio of theta' < m against m
    has, given the past, the expectation ``theta theta'/m + (1-theta)(1-theta')/(1-m)``, which is 1 at theta = m and falls
    in theta; so their mixture is a supermartingale under every theta >= m.
    """
    m = min_accuracy
    mixture = betaln(s + 1, n - s + 1) + _log(betainc(s + 1, n - s + 1, m)) - np.log(m)
    return float(mixture - s * np.log(m) - (n - s) * np.log1p(-m))


def score(n: int, s: int, min_accuracy: float) -> float:
    """P(theta >= min_accuracy | judgments) under a uniform prior: 0 is refuted, 1 is confirmed."""
    return float(betaincc(s + 1, n - s + 1, min_accuracy))


def accuracy_bounds(n: int, s: int, alpha: float = 0.05) -> tuple[float, float]:
    """How often a judge picks the named arm where it picks one: bounds at 1 - ``alpha`` that hold at every moment.

    Every theta whose mixture of likelihood ratios, ``E = B(s+1, n-s+1) / (theta^s (1-theta)^(n-s))``, has not reached
    1 / alpha (Robbins' confidence sequence, uniform mixture). E is a martingale at the true theta, also of a statement
    whose judging stopped because of what was answered.
    """
    from scipy.optimize import brentq  # a quarter of a second, which nothing else here needs

    if n == 0:
        return 0.0, 1.0
    mixture = float(betaln(s + 1, n - s + 1)) + float(np.log(alpha))

    def short(theta: float) -> float:
        return mixture - float(xlogy(s, theta) + xlog1py(n - s, -theta))

    low = brentq(short, 1e-12, s / n) if s else 0.0
    high = brentq(short, s / n, 1 - 1e-12) if s < n else 1.0
    return low, high


def _log(probability: float | np.floating) -> float:
    return float(np.log(probability)) if probability > 0 else -np.inf
