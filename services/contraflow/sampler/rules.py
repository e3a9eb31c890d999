"""The rules by which prompts are chosen: the one that finds differences soonest, and its rivals, to compare with.

Whatever the rule, a share of each epoch is asked uniformly and claims get their fresh pairs (but by ``uniform``, which
asks for nothing else).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from contraflow.events import Reason

__all__ = ["LATER", "RULES", "Rule", "RuleName"]

RuleName = Literal["leads", "uniform", "margin", "balance", "schedule"]


LATER = 6
"""Warm starts after which what shows often has been found, and what is rare is found by scanning."""


class Rule(NamedTuple):
    """The ``reasons`` of the regions that it steers to, once the ``first`` pairs have been asked uniformly.

    At most a share ``focus`` of an epoch is steered or confirms a claim, and at most ``later`` once ``LATER`` times the pairs
    of the warm start have been asked.
    """

    reasons: tuple[Reason, ...]
    first: int = 0
    focus: float = 1.0
    later: float = 1.0


RULES: Mapping[RuleName, Rule] = {
    # chase what surprised, then decide what is promising; there is always some lead, and the scan must go on beside it
    "leads": Rule((Reason.LEAD, Reason.DIVERGENCE), focus=0.5, later=0.15),
    "uniform": Rule(()),
    # texts close to a boundary between clusters, as active learning would
    "margin": Rule((Reason.BOUNDARY,)),
    # clusters of few texts
    "balance": Rule((Reason.THIN,)),
    # the batch world's own plan: 5,000 texts of two arms first, then rounds at the boundaries
    "schedule": Rule((Reason.BOUNDARY,), first=2500),
}
