"""What the next draw of each prompt is worth, and how an epoch's draws are spread over the prompts.

The rule chases a lead, then decides: a prompt is worth the posterior mean of "the next pair of it is a useful hit", from
its own hits and draws or from those of its neighbours as well, whichever is more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from contraflow.events import Region

__all__ = ["FLOOR", "Neighbours", "water_fill"]

FLOOR = 0.04
"""Draws worth less are better spent on scanning (v0)."""

KAPPA = 0.25
"""How much a neighbour's hit counts."""

SLACK = 1.3
"""A region's expected hits are capped at this many times what it still needs, plus one."""


class Neighbours:
    """The k nearest prompts of each prompt, and how much each counts: two (prompts, k) arrays."""

    def __init__(self, indices: NDArray[np.int32], weights: NDArray[np.float32]) -> None:
        n, k = indices.shape
        # sparse: a fifth of the time, and summed in one order on every machine
        self._weights = csr_array(
            (weights.astype(np.float64).ravel(), indices.ravel(), k * np.arange(n + 1)), shape=(n, n)
        )

    @classmethod
    def none(cls, prompts: int) -> Neighbours:
        """Prompts that know nothing of each other."""
        return cls(np.zeros((prompts, 0), np.int32), np.zeros((prompts, 0), np.float32))

    def smooth(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """``values`` and ``KAPPA`` times the weighted sum over the neighbours of each prompt."""
        near: NDArray[np.float64] = self._weights @ values
        return values + KAPPA * near


def water_fill(
    regions: Sequence[Region],
    index: dict[str, int],
    asked: NDArray[np.int32],
    steerable: NDArray[np.bool_],
    neighbours: Neighbours,
    draws: int,
) -> list[tuple[int, str]]:
    """Spread up to ``draws`` draws so that numerator / (denominator + k_i) falls to a common level, at least FLOOR.

    Returns (prompt, region_id) in the order of falling value; fewer than ``draws`` where nothing more is worth it.
    ``steerable`` prompts may be chosen several times; the caller's pool has the last word.
    """
    hits = [{index[prompt_id]: value for prompt_id, value in region.hits.items()} for region in regions]
    serves = _by_prompt(hits)
    expected = np.zeros(len(regions))
    caps = np.array([SLACK * region.needed + 1 for region in regions])
    own_asked = 1 + asked.astype(np.float64)
    near_asked = 1 + neighbours.smooth(asked.astype(np.float64))
    open_regions = np.ones(len(regions), np.bool_)
    own_hits, near_hits = _numerators(hits, open_regions, neighbours, steerable)
    chosen: list[tuple[int, str]] = []
    while len(chosen) < draws and open_regions.any():
        # a prompt's own record decides where it has one: neighbours that show nothing say little of what is scattered
        value = np.maximum(own_hits / own_asked, near_hits / near_asked)
        prompt = int(np.argmax(value))
        if value[prompt] < FLOOR:
            break
        served = serves.get(prompt, {})
        chosen.append((prompt, _leading(regions, served, open_regions)))
        for row, hit in served.items():
            expected[row] += hit / own_asked[prompt]
        own_asked[prompt] += 1
        near_asked[prompt] += 1
        closed = open_regions & (expected >= caps)
        if closed.any():
            open_regions &= ~closed
            own_hits, near_hits = _numerators(hits, open_regions, neighbours, steerable)
    return chosen


def _by_prompt(hits: Sequence[Mapping[int, float]]) -> dict[int, dict[int, float]]:
    """For each prompt, what it gives to each region."""
    serves: dict[int, dict[int, float]] = {}
    for row, prompts in enumerate(hits):
        for prompt, value in prompts.items():
            serves.setdefault(prompt, {})[row] = value
    return serves


def _numerators(
    hits: Sequence[Mapping[int, float]],
    open_regions: NDArray[np.bool_],
    neighbours: Neighbours,
    steerable: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    total = np.zeros(len(steerable))
    for row in np.flatnonzero(open_regions).tolist():
        for prompt, value in hits[row].items():
            total[prompt] += value
    return np.where(steerable, total, 0.0), np.where(steerable, neighbours.smooth(total), 0.0)


def _leading(regions: Sequence[Region], served: Mapping[int, float], open_regions: NDArray[np.bool_]) -> str:
    """The region that a draw of this prompt serves most; the first open one if only its neighbours hit."""
    row = max((row for row in served if open_regions[row]), key=lambda row: (served[row], -row), default=None)
    return regions[int(np.argmax(open_regions)) if row is None else row].region_id
