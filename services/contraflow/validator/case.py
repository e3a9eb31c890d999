"""One statement before its judges: what was judged, what the evidence is, and what is settled."""

from __future__ import annotations

import math

import msgspec

from contraflow.events import Hypothesis, TierResult, VerdictStatus
from contraflow.statistics.statement import log_e_accept, log_e_reject, score
from contraflow.validator.types import Statement

__all__ = ["RECOGNISED", "REJECT", "Case", "Tally"]

REJECT = math.log(20)
RECOGNISED = 0.75
"""How probable it must be that judges pick the named arm under the placebo more often than the other, to be feared."""


class Tally(msgspec.Struct):
    """What one tier answered: ``n`` answers that were no ties, ``s`` of them for the arm that the statement names."""

    tier: str
    n: int = 0
    s: int = 0
    ties: int = 0
    unparsable: int = 0
    cost: float = 0.0

    @property
    def calls(self) -> int:
        """Pairs judged."""
        return self.n + self.ties

    def count(self, x: int | None) -> None:
        """Add an answer: 1, 0, or None for a tie."""
        if x is None:
            self.ties += 1
        else:
            self.n += 1
            self.s += x


class Case(msgspec.Struct):
    """A hypothesis with its statement and its placebo. ``order`` fixes its weight.

    ``judged`` holds (seq, tier, x) of every judged pair: x is 1 if the judge picked the named arm, None for a tie.
    ``placebo_x`` holds the placebo's answers on the same pairs, as far as they were asked for. ``pending`` are the fresh
    pairs that wait for the judge, by ``seq``. A ``draft`` has yet to be written by the author.
    ``elsewhere`` are pairs of other clusters, and ``elsewhere_x`` what was answered on them once it was accepted.
    """

    hypothesis: Hypothesis
    statement: Statement
    placebo: Statement | None
    author_pairs: list[int]
    pending: list[int]
    tallies: list[Tally]
    order: int
    status: VerdictStatus = VerdictStatus.OPEN
    reason: str = ""
    version: int = 0
    judged: list[tuple[int, int, int | None]] = []
    placebo_x: list[int | None] = []
    placebo_due: bool = False
    words_alone: float | None = None
    draft: bool = False
    elsewhere: list[int] = []
    elsewhere_x: list[int | None] = []
    author_cost: float = 0.0

    @property
    def key(self) -> tuple[int, str]:
        """Its cluster and arm."""
        return self.hypothesis.cluster_id, self.hypothesis.arm

    @property
    def behind(self) -> bool:
        """Whether the placebo has yet to be asked about pairs that the statement was judged on."""
        return self.placebo_due and self.placebo is not None and len(self.placebo_x) < len(self.judged)

    @property
    def waits(self) -> bool:
        """Whether there is something to ask a judge."""
        asks = bool(self.tallies) and (self.behind or bool(self.pending))
        return self.status is VerdictStatus.OPEN and (self.draft or asks)

    @property
    def turn(self) -> tuple[int, int]:
        """Where it stands in the order in which answers are counted: by the pair's ``seq``, then by age."""
        if self.draft:
            return self.hypothesis.claimed_at, self.order
        return (self.judged[-1][0] if self.behind else self.pending[0]), self.order

    @property
    def held(self) -> list[int]:
        """The pairs that it keeps while it is open, each as often as it holds it."""
        return [*self.author_pairs, *self.pending, *self.elsewhere, *(seq for seq, _, _ in self.judged)]

    @property
    def tier(self) -> int:
        """The tier that judges now."""
        return len(self.tallies) - 1

    @property
    def main_tier(self) -> int:
        """The tier that gave most of the answers that were no ties; the cheaper of two."""
        return max(range(len(self.tallies)), key=lambda tier: (self.tallies[tier].n, -tier))

    @property
    def calls(self) -> int:
        """Pairs judged, over all tiers."""
        return sum(tally.calls for tally in self.tallies)

    @property
    def n(self) -> int:
        """Answers that were no ties, over all tiers."""
        return sum(tally.n for tally in self.tallies)

    @property
    def s(self) -> int:
        """Those for the arm that the statement names."""
        return sum(tally.s for tally in self.tallies)

    @property
    def log_e(self) -> float:
        """Evidence for the statement; the e-values of the tiers multiply."""
        return sum(log_e_accept(tally.n, tally.s) for tally in self.tallies)

    def log_e_reject(self, min_accuracy: float) -> float:
        """Evidence against an accuracy of at least ``min_accuracy``."""
        return sum(log_e_reject(tally.n, tally.s, min_accuracy) for tally in self.tallies)

    def score(self, min_accuracy: float) -> float:
        """P(accuracy >= min_accuracy) by the current tier's answers."""
        return score(self.tallies[-1].n, self.tallies[-1].s, min_accuracy)

    @property
    def placebo_picks(self) -> tuple[int, int]:
        """The placebo's answers that were no ties, and how many of them picked the named arm."""
        picks = [x for x in self.placebo_x if x is not None]
        return len(picks), sum(picks)

    @property
    def recognised(self) -> bool:
        """Whether judges seem to pick the named arm under the placebo too: then no tie of theirs counts for anybody."""
        return score(*self.placebo_picks, 0.5) > RECOGNISED

    @property
    def placebo_counts(self) -> tuple[int, int]:
        """Pairs on which exactly one of statement and placebo picked the named arm, and how many were the statement's."""
        both = [(mine, other) for (_, _, mine), other in zip(self.judged, self.placebo_x, strict=False)]
        if self.recognised:
            both = [answers for answers in both if None not in answers]
        unequal = [mine == 1 for mine, other in both if (mine == 1) != (other == 1)]
        return len(unequal), sum(unequal)

    @property
    def placebo_log_e(self) -> float:
        """Evidence that the statement says more than the placebo does."""
        return log_e_accept(*self.placebo_counts)

    def results(self, min_accuracy: float) -> tuple[TierResult, ...]:
        """What each tier found."""
        return tuple(
            TierResult(
                tier=tally.tier,
                n=tally.n,
                s=tally.s,
                ties=tally.ties,
                unparsable=tally.unparsable,
                cost=tally.cost,
                log_e=log_e_accept(tally.n, tally.s),
                score=score(tally.n, tally.s, min_accuracy),
            )
            for tally in self.tallies
        )
