"""Puts a pair before a judge: two texts in coin-flipped order, and not a word of the arms."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from contraflow.events import Judgment
from contraflow.validator.case import Case
from contraflow.validator.types import Answer, Judge, Statement, TextPair

__all__ = ["BOTH_ORDERS", "Asked", "ask"]

BOTH_ORDERS = 1 / 8
"""The share of pairs that is asked in both orders."""


class Asked(NamedTuple):
    """``x`` is 1 if the judge picked the arm that the statement names, 0 if the other, None for a tie.

    ``judgments`` is the answer that counts, and the one in the other order where the pair is in the sample of those.
    """

    x: int | None
    judgments: tuple[Judgment, ...]

    @property
    def unparsable(self) -> bool:
        """Whether the judge answered in no way that can be read."""
        return self.judgments[0].answer == "unparsable"


async def ask(
    judge: Judge,
    case: Case,
    statement: Statement,
    pair: TextPair,
    *,
    reference: str,
    seed: int,
    placebo: bool = False,
    elsewhere: bool = False,
) -> Asked:
    """Ask which of the pair's two texts shows the statement's property more; some pairs once more in the other order.

    :raises JudgeAway: if the judge cannot answer now.
    """
    shows = case.hypothesis.shows
    order = (shows, reference if shows == case.hypothesis.arm else case.hypothesis.arm)
    drawn = _drawn(seed, case.hypothesis.hypothesis_id, pair.request_id)
    if drawn & 1:
        order = order[::-1]
    counted = not placebo and not elsewhere
    orders = (
        [order, order[::-1]] if judge.may_mind_the_order and counted and drawn >> 1 < 128 * BOTH_ORDERS else [order]
    )
    judgments = []
    for i, (first, second) in enumerate(orders):
        answer = await judge.judge(statement, pair.texts[first], pair.texts[second])
        judgments.append(
            Judgment(
                hypothesis_id=case.hypothesis.hypothesis_id,
                tier=judge.name,
                request_id=pair.request_id,
                seq=pair.seq,
                order=(first, second),
                answer=answer.choice,
                x=_x(answer, (first, second), shows),
                placebo=placebo,
                again=i > 0,
                elsewhere=elsewhere,
                price=answer.price,
                latency=answer.latency,
                cached=answer.cached,
                prompt_version=judge.prompt_version,
            )
        )
    return Asked(judgments[0].x, tuple(judgments))


def _x(answer: Answer, order: tuple[str, str], shows: str) -> int | None:
    if answer.choice not in ("first", "second"):
        return None
    return int(order[answer.choice == "second"] == shows)


def _drawn(seed: int, hypothesis: str, request: str) -> int:
    """A number below 256 for the pair: its last bit is the coin of the order, the others say whether it is asked twice."""
    return blake2b(f"{seed}:{hypothesis}:{request}".encode(), digest_size=1).digest()[0]
