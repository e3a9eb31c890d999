"""When is it enough? Criteria over the uniformly asked texts alone; steered texts never enter them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["adjusted_rand", "completeness", "unseen_mass"]


def unseen_mass(counts: NDArray[np.int64]) -> float:
    """Good-Turing: the probability that the next text falls into a micro-cluster not seen before, ``f1 / n``."""
    n = int(counts.sum())
    return float((counts == 1).sum() / n) if n else 1.0


def completeness(counts: NDArray[np.int64]) -> float:
    """Chao1, bias-corrected: the share of micro-clusters seen, ``S / (S + f1 (f1 - 1) / (2 (f2 + 1)))``."""
    seen = int((counts > 0).sum())
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return float(seen / (seen + once * (once - 1) / (2 * (twice + 1)))) if seen else 0.0


def adjusted_rand(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """How far two clusterings of the same texts agree: 1 the same, 0 as by chance (Hubert & Arabie, 1985)."""
    _, rows = np.unique(a, return_inverse=True)
    _, columns = np.unique(b, return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    both, left, right = (_pairs(x) for x in (table.ravel(), table.sum(axis=1), table.sum(axis=0)))
    expected = left * right / max(_pairs(np.array([len(a)])), 1)
    most = (left + right) / 2
    return 1.0 if most == expected else float((both - expected) / (most - expected))


def _pairs(counts: NDArray[np.float64] | NDArray[np.int64]) -> float:
    return float((counts * (counts - 1) / 2).sum())
