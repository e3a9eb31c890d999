"""Weighted e-BH with a fixed budget of weights, and claims that are frozen when they are made.

Each hypothesis gets, at birth, a weight decided from what happened before its first counted pair; the sum over all
hypotheses that will ever be is at most 1, surely. The largest set R with ``e_i >= 1 / (alpha gamma_i |R|)`` for each
member keeps the false discovery rate at alpha under any dependence, at any stopping time (Wang & Ramdas, arXiv
2009.02824; stopped: arXiv 2502.08539).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import zeta

__all__ = ["Claims", "birth_weight", "statement_weight", "warm_weights", "weighted_ebh"]

_WARM = 0.2
_ONE_SIDED = 0.8
_SHAPE, _SHIFT = 1.3, 4
_TOTAL = float(zeta(_SHAPE, _SHIFT))

K = TypeVar("K", bound=tuple[object, ...] | str)


def warm_weights(k: int) -> NDArray[np.float64]:
    """The weights of the ``k`` clusters of the warm start, which share .2."""
    return np.full(k, _WARM / max(1, k))


def statement_weight(t: int) -> float:
    """The weight of number ``t`` (0, 1, ...) in a sequence: proportional to (t + 4)^-1.3, summing to 1."""
    return float((t + _SHIFT) ** -_SHAPE / _TOTAL)


def birth_weight(index: int, one_sided: bool) -> float:
    """The weight of the ``index``-th birth of its kind (0, 1, ...).

    Births share .8: .8 of it for founders from one arm and split children, .2 for the rest.
    """
    share = _ONE_SIDED if one_sided else 1 - _ONE_SIDED
    return (1 - _WARM) * share * statement_weight(index)


def weighted_ebh(log_e: ArrayLike, weights: ArrayLike, alpha: float) -> NDArray[np.bool_]:
    """The members of the largest set R with ``e_i >= 1 / (alpha gamma_i |R|)`` for each of them."""
    log_e = np.asarray(log_e, np.float64)
    with np.errstate(divide="ignore"):
        strength = log_e + np.log(np.asarray(weights, np.float64)) + np.log(alpha)
    ordered = np.sort(strength)[::-1]
    holds = ordered >= -np.log(np.arange(1, len(ordered) + 1))
    if not holds.any():
        return np.zeros(len(strength), np.bool_)
    size = int(np.flatnonzero(holds)[-1]) + 1
    chosen: NDArray[np.bool_] = strength >= -np.log(size)
    return chosen


class Claims(Generic[K]):
    """The claims so far: each with its log E frozen when it was claimed. Claimed sets only grow.

    ``claimed`` maps a key (such as (cluster, arm)) to its frozen log E.
    """

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.claimed: dict[K, float] = {}

    def decide(self, keys: Sequence[K], log_e: ArrayLike, weights: ArrayLike) -> list[K]:
        """Look at every hypothesis there is (claimed ones too); returns the newly claimed, in the order of ``keys``."""
        current = np.array([self.claimed.get(k, e) for k, e in zip(keys, np.asarray(log_e, float), strict=True)])
        chosen = weighted_ebh(current, weights, self.alpha)
        new = [i for i in np.flatnonzero(chosen) if keys[int(i)] not in self.claimed]
        for i in new:
            self.claimed[keys[int(i)]] = float(current[i])
        return [keys[int(i)] for i in new]

    def log_threshold(self, weight: float) -> float:
        """What log E a hypothesis of this weight would need to be claimed beside those that are."""
        return -float(np.log(self.alpha * weight * (len(self.claimed) + 1)))
