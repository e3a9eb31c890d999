"""Statements of which it is known whether they are true, pairs to judge them on, and judges right with a known probability.

Each statement is about a cluster of its own: the tuned arm's text holds the cluster's word, the reference's does not. A
judge reads from the word which statement is meant, and its answer is a coin of its own for each statement and pair.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from contraflow.events import Claim, Origin, Regions
from contraflow.validator.case import Case
from contraflow.validator.core import Step, Validator, ValidatorConfig
from contraflow.validator.docket import Docket
from contraflow.validator.types import Answer, Judge, Statement, TextPair

__all__ = ["ARMS", "FALSE", "Statements", "StubJudge", "WithoutPlacebo", "judged", "pair", "word"]

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

    A share ``neither`` of the pairs shows nothing of a statement that is not about them, the placebo. A statement on a
    pair is answered the same whenever it is asked, in whichever order.
    """

    prompt_version = "stub-1"
    may_mind_the_order = False

    def __init__(
        self,
        name: str,
        price: float,
        accuracy: Mapping[str, float],
        *,
        otherwise: float = FALSE,
        neither: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.price = price
        self._accuracy = accuracy
        self._otherwise = otherwise
        self._neither = neither
        self._seed = seed

    async def judge(self, statement: Statement, first: str, second: str) -> Answer:
        """A coin for this statement and this pair."""
        (about,) = statement.terms
        tuned = second if first.startswith(_PLAIN) else first
        picks = self.picks(about, tuned)
        if picks is None:
            return Answer("neither", price=self.price)
        return Answer("first" if picks == (tuned is first) else "second", price=self.price)

    def picks(self, about: str, tuned: str) -> bool | None:
        """Whether the tuned arm's text is picked under the statement about this word; None for neither."""
        if about in tuned.split():
            return self._coin(about, tuned) < self._accuracy[about]
        if self._coin("neither", about, tuned) < self._neither:
            return None
        return self._coin(about, tuned) < self._otherwise

    def _coin(self, *of: str) -> float:
        digest = blake2b(f"{self._seed}:{self.name}:{of}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


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
        self, name: str, price: float, right: float, *, recognised: float = FALSE, neither: float = 0.0
    ) -> StubJudge:
        """A judge that is ``right`` of true statements, and recognises the arm so often under false ones and the placebo.

        Of a share ``neither`` of the pairs it says that neither text shows the placebo.
        """
        accuracy = {word(c): right if c in self.true else recognised for c in range(1, self.count + 1)}
        return StubJudge(name, price, accuracy, otherwise=recognised, neither=neither, seed=self.seed)

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


class _Unguarded(Docket):
    def effective(self, case: Case) -> float:
        return case.log_e


class WithoutPlacebo(Validator):
    """The placebo switched off: nothing is asked of it, and the statement's own evidence is enough."""

    docket = _Unguarded

    def _placebo(self, key: tuple[int, str], statement: Statement) -> None:
        return None


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
    of: Statements, judges: Sequence[Judge], config: ValidatorConfig, kind: type[Validator] = Validator
) -> Step:
    """Everything that a validator says of the statements, each given as many fresh pairs as may be judged for it."""
    validator, claims, steps, seq = kind(config, judges), [], [], 0
    for wave in of.waves():
        claims += [claim(cluster, seq + WRITTEN_FROM * len(wave)) for cluster in wave]
        rounds = WRITTEN_FROM + config.pairs
        pairs = [pair(seq + i + 1, wave[i % len(wave)]) for i in range(rounds * len(wave))]
        seq += len(pairs)
        steps.append(await validator.advance(pairs, regions(seq, claims)))
    steps.append(await validator.finish())
    hypotheses, judgments, verdicts = (
        [each for part in parts for each in part] for parts in zip(*(step[:3] for step in steps), strict=True)
    )
    return Step(hypotheses, judgments, verdicts)
