"""Which claims are one finding seen from several sides: those that rest on the same discordant pairs.

A behaviour makes several claims: its texts leave one cluster and enter another, and each side may be spread over a few
clusters. A discordant pair is in two claims at most: that of the cluster which the arm's text is in, and that of the
cluster which the reference's is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np

__all__ = ["group_claims"]

MOST = 0.5


def group_claims(pairs: Sequence[AbstractSet[int]]) -> list[int]:
    """The group of each claim: groups are numbered from 0, in the order of their first claims.

    ``pairs`` holds, for each claim of one arm, the discordant pairs in the claimed direction. As long as some group
    shares more than half of its pairs with other groups, the one that shares the largest part joins the one that it
    shares most pairs with. So a behaviour that is spread over clusters on both sides comes together, although no two of
    its claims share half of their pairs; and claims that share none never do.

    A group is for reading. It has no evidence of its own, claims nothing, and changes no claim's statistics.
    """
    shared = np.array([[len(a & b) for b in pairs] for a in pairs], np.int64).reshape(len(pairs), len(pairs))
    size = shared.diagonal().copy()
    np.fill_diagonal(shared, 0)
    group = np.arange(len(pairs))
    while len(pairs):
        part = shared.sum(axis=1) / np.maximum(size, 1)
        joining = int(part.argmax())
        if part[joining] <= MOST:
            break
        joined = int(shared[joining].argmax())
        first, second = min(joining, joined), max(joining, joined)
        size[first] += size[second] - shared[first, second]
        size[second] = 0
        shared[first] += shared[second]
        shared[:, first] += shared[:, second]
        shared[second] = shared[:, second] = shared[first, first] = 0
        group[group == second] = first
    numbered: list[int] = np.unique(group, return_inverse=True)[1].tolist()
    return numbered
