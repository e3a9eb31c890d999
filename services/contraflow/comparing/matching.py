"""Which finding of one run is which of another: an optimal one-to-one assignment over how alike they are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEW", "THRESHOLD", "WEIGHT", "Match", "Profile", "alike", "match"]

THRESHOLD = 0.5
"""Findings that are less alike are not the same."""
WEIGHT = 0.25
"""What shared places weigh beside the texts, where there are many."""
FEW = 2
"""So many places halve their weight: one of one says little."""


class Profile(NamedTuple):
    """What a finding is matched by.

    Only findings of equal ``kind`` (arm and direction) match. ``centre`` (d,) is where its texts lie, of unit length, or
    zero if there are none. ``places`` are where it shows (the prompts of its discordant pairs), of those that both runs
    asked.
    """

    kind: Hashable
    centre: NDArray[np.float64]
    places: frozenset[Hashable]


class Match(NamedTuple):
    """The finding number ``first`` of one run is number ``second`` of the other."""

    first: int
    second: int
    score: float


def alike(first: Profile, second: Profile) -> float:
    """How alike two profiles are, whatever their kinds: at most 1; 0 is two that have nothing in common.

    ``(1 - w) cosine + w shared / smaller``: the cosine of the centres, and the share of the smaller set of places that is
    in the other as well (the overlap coefficient), with ``w = WEIGHT smaller / (smaller + FEW)``.
    """
    smaller = min(len(first.places), len(second.places))
    cosine = float(first.centre @ second.centre)
    if not smaller:
        return cosine
    weight = WEIGHT * smaller / (smaller + FEW)
    return (1 - weight) * cosine + weight * len(first.places & second.places) / smaller


def match(first: Sequence[Profile], second: Sequence[Profile]) -> list[Match]:
    """The one-to-one matches above ``THRESHOLD`` whose scores exceed it by the largest sum, by ``first``.

    The excess is what counts, so that one good match is never given up for two that barely pass (Kuhn, 1955).
    """
    from scipy.optimize import linear_sum_assignment  # a quarter of a second, which nothing else here needs

    scores = np.array([[alike(a, b) for b in second] for a in first]).reshape(len(first), len(second))
    same = np.array([[a.kind == b.kind for b in second] for a in first], np.bool_).reshape(scores.shape)
    allowed = same & (scores > THRESHOLD)
    rows, columns = linear_sum_assignment(np.where(allowed, scores - THRESHOLD, 0.0), maximize=True)
    return [Match(int(i), int(j), float(scores[i, j])) for i, j in zip(rows, columns, strict=True) if allowed[i, j]]
