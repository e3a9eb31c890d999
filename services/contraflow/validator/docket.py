"""Every statement that was ever put forward, and what the evidence of all of them together settles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from contraflow.events import Verdict, VerdictStatus
from contraflow.statistics.ebh import statement_weight, weighted_ebh
from contraflow.validator.case import REJECT, Case, Tally
from contraflow.validator.types import ValidatorConfig

__all__ = ["Docket", "until"]

Key = tuple[int, str]

LEFT = 1 / 5
"""The share of a statement's pairs that a tier leaves to each tier after it."""
ALIKE = 20
"""A tier that finds so many pairs alike, and no other before, hands the statement on."""


def until(tier: int, tiers: int, pairs: int) -> int:
    """How many of a statement's ``pairs`` may be judged by the time that ``tier`` (0, 1, ...) of so many ends."""
    return pairs - int(pairs * min(LEFT, 1 / tiers)) * (tiers - tier - 1)


class Docket:
    """Cases by cluster and arm, in the order in which they were put forward, which fixes their weights."""

    def __init__(self, config: ValidatorConfig, tiers: Sequence[str]) -> None:
        self._config = config
        self._tiers = tiers
        self._cases: dict[Key, Case] = {}
        self._parts: dict[Key, bytes] = {}
        self._accepted: dict[int, float] = {}
        """The evidence of accepted cases, by their order."""

    def __contains__(self, key: Key) -> bool:
        return key in self._cases

    def __len__(self) -> int:
        return len(self._cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self._cases.values())

    def get(self, key: Key) -> Case | None:
        """The case of a cluster and an arm."""
        return self._cases.get(key)

    def add(self, case: Case) -> None:
        """Put a case forward."""
        self._cases[case.key] = case

    def touch(self, case: Case) -> None:
        """Note that a case has changed."""
        self._parts.pop(case.key, None)

    # what follows from the evidence

    def passes(self, case: Case, log_e: float) -> bool:
        """Whether the case would be accepted with this evidence beside those that are.

        What is not accepted helps no other to be: the bound is on what is accepted, and no part of a larger set has it.
        """
        others = {order: held for order, held in self._accepted.items() if order != case.order}
        weights = [statement_weight(order) for order in (case.order, *others)]
        return bool(weighted_ebh([log_e, *others.values()], weights, self._config.alpha)[0])

    def effective(self, case: Case) -> float:
        """The smaller of both e-processes: under either null it is one. Frozen once a case is settled."""
        return min(case.log_e, case.placebo_log_e) if case.placebo_due else min(case.log_e, 0.0)

    def decide(self, case: Case) -> None:
        """Settle the case or hand it on to the next tier, if its evidence says so; else it stays as it is."""
        config = self._config
        last = case.tier == len(self._tiers) - 1
        low, high = config.borderline
        borderline = low <= case.score(config.min_accuracy) <= high and not last
        if self.passes(case, self.effective(case)):
            if not borderline:
                return self.settle(case, VerdictStatus.ACCEPTED, _why_accepted(case))
        elif case.log_e_reject(config.min_accuracy) >= REJECT:
            if not borderline:
                return self.settle(case, VerdictStatus.REJECTED, f"judges agree less than {config.min_accuracy:.0%}")
        elif not self._spent(case):
            return None
        if case.calls >= config.pairs:
            self.settle(case, VerdictStatus.UNDECIDED, self._why_undecided(case))
        elif not last:
            case.tallies.append(Tally(self._tiers[case.tier + 1]))
        return None

    def _spent(self, case: Case) -> bool:
        """Whether the tier that judges now has had its pairs, or sees nothing in them where another could."""
        tally, tiers = case.tallies[-1], len(self._tiers)
        blind = tally.n == 0 and tally.ties >= ALIKE and case.tier < tiers - 1
        return blind or case.calls >= until(case.tier, tiers, self._config.pairs)

    def _why_undecided(self, case: Case) -> str:
        if case.placebo_due and case.placebo is not None:
            answered, named = case.placebo_picks
            also = f"; it is found in the same arm {named} times of {answered}" if case.recognised else ""
            return f"not specific: a statement about another cluster is preferred about as often{also}"
        return f"all {self._config.pairs} pairs for it are judged, and the evidence settled nothing"

    def settle(self, case: Case, status: VerdictStatus, reason: str) -> None:
        """Nothing more is asked about the case."""
        case.status, case.reason = status, reason
        self._keep(case)
        self.touch(case)

    def _keep(self, case: Case) -> None:
        if case.status is VerdictStatus.ACCEPTED:
            self._accepted[case.order] = self.effective(case)

    def room(self, case: Case) -> int:
        """How many pairs may still be judged for the case, those that wait included."""
        return self._config.pairs - case.calls if case.tallies else 0

    def verdict(self, case: Case) -> Verdict:
        """The case as it stands, in a new version."""
        case.version += 1
        m = self._config.min_accuracy
        n, s = case.placebo_counts
        return Verdict(
            hypothesis_id=case.hypothesis.hypothesis_id,
            status=case.status,
            tiers=case.results(m),
            n=case.n,
            s=case.s,
            ties=sum(tally.ties for tally in case.tallies),
            log_e=case.log_e,
            log_e_reject=case.log_e_reject(m),
            score=case.score(m) if case.tallies else 0.5,
            version=case.version,
            cost=case.author_cost + sum(tally.cost for tally in case.tallies),
            specific=self.passes(case, case.placebo_log_e) if case.placebo_due else None,
            placebo_statement=case.placebo.property if case.placebo else None,
            placebo_n=n,
            placebo_s=s,
            placebo_ties=sum(x is None for x in case.placebo_x),
            placebo_answered=case.placebo_picks[0],
            placebo_named=case.placebo_picks[1],
            placebo_log_e=case.placebo_log_e,
            bag_of_words=case.words_alone,
            elsewhere_n=sum(x is not None for x in case.elsewhere_x),
            elsewhere_s=sum(x == 1 for x in case.elsewhere_x),
            reason=case.reason,
        )

    # the state

    def dump(self) -> dict[str, bytes]:
        """The cases; those that did not change are the same bytes."""
        for key, case in self._cases.items():
            if key not in self._parts:
                self._parts[key] = msgspec.msgpack.encode(case)
        return {f"case:{case.order}": self._parts[key] for key, case in self._cases.items()}

    def load(self, parts: Mapping[str, bytes]) -> None:
        """Go on from what ``dump`` gave."""
        names = sorted((name for name in parts if name.startswith("case:")), key=lambda name: int(name[5:]))
        for name in names:
            case = msgspec.msgpack.decode(parts[name], type=Case)
            self._cases[case.key], self._parts[case.key] = case, parts[name]
            self._keep(case)


def _why_accepted(case: Case) -> str:
    (answered, _), asked = case.placebo_picks, len(case.placebo_x)
    weak = f", which tested little: the placebo was seen on {answered} of {asked} pairs" if 2 * answered < asked else ""
    return f"statement and placebo control passed{weak}"
