"""Statements of which it is known whether they are true, pairs to judge them on, and judges right with a known probability.

Each statement is about a cluster of its own: the tuned arm's text holds the cluster's word, the reference's does not. A
judge reads from the word which statement is meant, and its answer is a coin of its own for each statement and pair.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from contraflow.events import Claim, Origin, Regions
from contraflow.statistics.ebh import statement_weight, weighted_ebh
from contraflow.validator.case import Case
from contraflow.validator.core import Step, Validator, ValidatorConfig
from contraflow.validator.types import Answer, Judge, Statement, TextPair

__all__ = ["ARMS", "FALSE", "Quick", "Statements", "StubJudge", "WithoutPlacebo", "judged", "pair", "word"]

ARMS = ("base", "tuned")
WRITTEN_FROM = 2
"""Pairs of each cluster before its claim."""
FALSE = 0.5
"""How often a judge is right of a statement that is false: both texts show it alike."""
_PLAIN = "plain"


def word(number: int) -> str:
    """A number in letters, as words have no digits."""
    return "".join(chr(ord("a") + int(digit)) for digit in f"{number:06d}")


class StubJudge:
    """Picks the tuned arm's text with a known probability: ``accuracy`` of the statement's word, else ``otherwise``.

    A statement on a pair is answered the same whenever it is asked, in whichever order.
    """

    prompt_version = "stub-1"

    def __init__(
        self, name: str, price: float, accuracy: Mapping[str, float], *, otherwise: float = FALSE, seed: int = 0
    ) -> None:
        self.name = name
        self.price = price
        self._accuracy = accuracy
        self._otherwise = otherwise
        self._seed = seed

    async def judge(self, statement: Statement, first: str, second: str) -> Answer:
        """A coin for this statement and this pair."""
        (about,) = statement.terms
        tuned = second if first.startswith(_PLAIN) else first
        return Answer("first" if self.right(about, tuned) == (tuned is first) else "second", price=self.price)

    def right(self, about: str, tuned: str) -> bool:
        """Whether the tuned arm's text is picked under the statement about this word."""
        accuracy = self._accuracy[about] if about in tuned.split() else self._otherwise
        digest = blake2b(f"{self._seed}:{self.name}:{about}:{tuned}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < accuracy * 2**64


@dataclass(frozen=True)
class Statements:
    """``count`` statements, a share ``false`` of them false, in an order of chance.

    ``together`` of them are written at one time, the next ones when those have had all their pairs.
    """

    count: int
    false: float
    seed: int = 0
    together: int = 10_000

    @property
    def true(self) -> frozenset[int]:
        """The clusters whose statement is true; clusters count from 1."""
        k = self.count - round(self.false * self.count)
        return frozenset(random.Random(self.seed).sample(range(1, self.count + 1), k))

    def judge(
        self, name: str, price: float, right: float, *, false: float = FALSE, otherwise: float = FALSE
    ) -> StubJudge:
        """A judge that is ``right`` of true statements, ``false`` of false ones, ``otherwise`` of the placebo."""
        accuracy = {word(c): right if c in self.true else false for c in range(1, self.count + 1)}
        return StubJudge(name, price, accuracy, otherwise=otherwise, seed=self.seed)

    def waves(self) -> list[range]:
        """The clusters claimed together."""
        every = range(1, self.count + 1)
        return [every[i : i + self.together] for i in range(0, self.count, self.together)]


def pair(seq: int, cluster: int) -> TextPair:
    """A pair with the tuned arm's text in the cluster, the reference's elsewhere."""
    unique = word(seq)
    return TextPair(
        seq=seq,
        request_id=f"r:{seq}",
        prompt_id=f"p{seq}",
        origin=Origin.EXPLORE,
        texts={"base": f"{_PLAIN} {unique}", "tuned": f"{word(cluster)} {unique}"},
        clusters={"base": 0, "tuned": cluster},
    )


class Quick(Validator):
    """The validator, with every statement's evidence kept: the core adds all of it up at every look, for hundreds slowly."""

    def __init__(self, config: ValidatorConfig, judges: Sequence[Judge]) -> None:
        super().__init__(config, judges)
        self._strength: NDArray[np.float64] = np.zeros(0)
        self._weights: NDArray[np.float64] = np.zeros(0)

    def _passes(self, case: Case, log_e: float) -> bool:
        """As in the core; only the evidence of the case that is judged can have changed."""
        new = range(len(self._weights), len(self._cases))
        self._weights = np.append(self._weights, [statement_weight(t) for t in new])
        self._strength = np.append(self._strength, np.zeros(len(new)))
        self._strength[case.order] = self._effective(case)
        strength = self._strength.copy()
        strength[case.order] = log_e
        return bool(weighted_ebh(strength, self._weights, self.config.alpha)[case.order])


class WithoutPlacebo(Quick):
    """The placebo switched off: nothing is asked of it, and the statement's own evidence is enough."""

    def _effective(self, case: Case) -> float:
        return case.log_e

    async def _judge_placebo(self, case: Case, step: Step) -> None:
        pass


def claim(cluster: int, claimed_at: int) -> Claim:
    """The claim that a statement is written for."""
    return Claim(cluster_id=cluster, arm="tuned", claimed_at=claimed_at, n=20, s=20, log_e=9.0, direction=1)


def regions(after: int, claims: Sequence[Claim]) -> Regions:
    """What the clusterer says when these clusters are claimed."""
    return Regions(
        epoch=0,
        after_seq=after,
        pairs=after,
        arms={},
        warm=False,
        clusters=0,
        births=0,
        criteria={},
        claims=tuple(claims),
    )


async def judged(
    of: Statements, judges: Sequence[Judge], config: ValidatorConfig, kind: type[Validator] = Quick
) -> Step:
    """Everything that a validator says of the statements, each given as many fresh pairs as its tiers may judge."""
    validator, claims, steps, seq = kind(config, judges), [], [], 0
    for wave in of.waves():
        claims += [claim(cluster, seq + WRITTEN_FROM * len(wave)) for cluster in wave]
        rounds = WRITTEN_FROM + config.pairs * len(judges)
        pairs = [pair(seq + i + 1, wave[i % len(wave)]) for i in range(rounds * len(wave))]
        seq += len(pairs)
        steps.append(await validator.advance(pairs, regions(seq, claims)))
    steps.append(await validator.finish())
    hypotheses, judgments, verdicts = ([each for part in parts for each in part] for parts in zip(*steps, strict=True))
    return Step(hypotheses, judgments, verdicts)
