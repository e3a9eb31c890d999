"""What a batch job concludes from its clusters: Fisher's exact test in each, and Benjamini-Hochberg over all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, fisher_exact

__all__ = ["Tested", "count", "fisher_bh"]


class Tested(NamedTuple):
    """By cluster: the p-value, whether it is claimed, and +1 where the second arm has the larger share, else -1."""

    p: NDArray[np.float64]
    claimed: NDArray[np.bool_]
    direction: NDArray[np.int64]


def count(labels: NDArray[np.int64], clusters: int) -> NDArray[np.int64]:
    """(clusters, 2) texts of each arm; ``labels`` (pairs, 2) hold the cluster of each text."""
    return np.stack([np.bincount(arm, minlength=clusters) for arm in labels.T], axis=1)


def fisher_bh(counts: NDArray[np.int64], alpha: float = 0.05) -> Tested:
    """Compare the two counts of each cluster, (clusters, 2), with what is outside of it, two-sided; FDR ``alpha``."""
    total = counts.sum(axis=0)
    p = np.array([fisher_exact(np.stack([row, total - row])).pvalue for row in counts])
    share = counts / np.maximum(total, 1)
    direction = np.where(share[:, 1] >= share[:, 0], 1, -1)
    return Tested(p, false_discovery_control(p) <= alpha, direction)
