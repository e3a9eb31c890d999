"""What the next draw of each prompt is worth, and how an epoch's draws are spread over the prompts.

The rule chases a lead, then decides: a prompt is worth the posterior mean of "the next pair of it is a useful hit".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contraflow.events import Region

__all__ = ["FLOOR", "Neighbours", "water_fill"]

FLOOR = 0.03
"""Draws worth less are better spent on scanning (v0)."""

KAPPA = 0.25
"""How much a neighbour's hit counts."""

SLACK = 1.3
"""A region's expected hits are capped at this many times what it still needs, plus one."""


class Neighbours:
    """The k nearest prompts of each prompt, and how much each counts: two (prompts, k) arrays."""

    def __init__(self, indices: NDArray[np.int32], weights: NDArray[np.float32]) -> None:
        self._indices = indices
        self._weights = weights.astype(np.float64)

    @classmethod
    def none(cls, prompts: int) -> Neighbours:
        """Prompts that know nothing of each other."""
        return cls(np.zeros((prompts, 0), np.int32), np.zeros((prompts, 0), np.float32))

    def smooth(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """``values`` and ``KAPPA`` times the weighted sum over the neighbours of each prompt."""
        near: NDArray[np.float64] = np.einsum("ik,ik->i", self._weights, values[self._indices])
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
    hits = _hits(regions, index, len(asked))
    expected = np.zeros(len(regions))
    caps = np.array([SLACK * region.needed + 1 for region in regions])
    denominator = 1 + neighbours.smooth(asked.astype(np.float64))
    open_regions = np.ones(len(regions), np.bool_)
    numerator = _numerator(hits, open_regions, neighbours, steerable)
    chosen: list[tuple[int, str]] = []
    while len(chosen) < draws and open_regions.any():
        value = numerator / denominator
        prompt = int(np.argmax(value))
        if value[prompt] < FLOOR:
            break
        chosen.append((prompt, _leading(regions, hits, open_regions, prompt)))
        expected += hits[:, prompt] / denominator[prompt]
        denominator[prompt] += 1
        closed = open_regions & (expected >= caps)
        if closed.any():
            open_regions &= ~closed
            numerator = _numerator(hits, open_regions, neighbours, steerable)
    return chosen


def _hits(regions: Sequence[Region], index: dict[str, int], prompts: int) -> NDArray[np.float64]:
    hits = np.zeros((len(regions), prompts))
    for row, region in enumerate(regions):
        for prompt_id, value in region.hits.items():
            hits[row, index[prompt_id]] += value
    return hits


def _numerator(
    hits: NDArray[np.float64],
    open_regions: NDArray[np.bool_],
    neighbours: Neighbours,
    steerable: NDArray[np.bool_],
) -> NDArray[np.float64]:
    return np.where(steerable, neighbours.smooth(hits[open_regions].sum(axis=0)), 0.0)


def _leading(regions: Sequence[Region], hits: NDArray[np.float64], open_regions: NDArray[np.bool_], prompt: int) -> str:
    """The region that a draw of this prompt serves most; the first open one if only its neighbours hit."""
    return regions[int(np.argmax(np.where(open_regions, hits[:, prompt], -1.0)))].region_id
