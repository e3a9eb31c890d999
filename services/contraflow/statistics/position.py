"""Does a judge prefer a text for where it stands? From pairs that were asked in both orders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from contraflow.statistics.bounds import EmpiricalBernstein

__all__ = ["PositionBias", "position_bias"]

_FIRST = {"first": 1.0, "second": 0.0, "both": 0.5, "neither": 0.5, "unparsable": 0.5}
"""What an answer says for the first position; a tie says nothing for either."""


class PositionBias(NamedTuple):
    """How often the first position wins, ties by half; .5 is a judge who does not care.

    ``low`` and ``high`` hold at every moment somebody looks. ``contradicted`` counts the pairs on which the two orders
    picked different texts, which is the same position twice.
    """

    pairs: int
    share: float
    low: float
    high: float
    contradicted: int

    @property
    def shown(self) -> bool:
        """Whether the bounds exclude a judge who does not care."""
        return not self.low <= 0.5 <= self.high


def position_bias(answers: Sequence[tuple[str, str]], alpha: float = 0.05) -> PositionBias:
    """The bias by pairs in the order in which they were asked, each with its answers to both orders of its texts.

    Whichever text a judge prefers, and however surely, it stands first in one of the two orders. So a judge who goes by
    the texts alone picks the first position half of the time on every pair, and the mean over the two orders has the
    expectation 1/2. Bounds are an empirical-Bernstein confidence sequence at level ``alpha``, as wide as (0, 1) without
    pairs.

    :raises KeyError: if an answer is none of first, second, both, neither and unparsable.
    """
    sequence = EmpiricalBernstein(1, alpha)
    if answers:
        first = np.array([(_FIRST[a] + _FIRST[b]) / 2 for a, b in answers])
        sequence.update(first[:, None])
    low, high = sequence.intervals()[0]
    contradicted = sum(a == b and a in ("first", "second") for a, b in answers)
    return PositionBias(len(answers), float(sequence.means()[0]), float(low), float(high), contradicted)
