"""Puts a pair before a judge: two texts in coin-flipped order, and not a word of the arms."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from contraflow.events import Judgment
from contraflow.validator.case import Case
from contraflow.validator.types import Answer, Judge, Statement, TextPair

__all__ = ["Asked", "ask"]


class Asked(NamedTuple):
    """``x`` is 1 if the judge picked the arm that the statement names, 0 if the other, None for a tie."""

    x: int | None
    judgment: Judgment

    @property
    def unparsable(self) -> bool:
        """Whether the judge answered in no way that can be read."""
        return self.judgment.answer == "unparsable"


async def ask(
    judge: Judge, case: Case, statement: Statement, pair: TextPair, *, reference: str, seed: int, placebo: bool = False
) -> Asked:
    """Ask which of the pair's two texts shows the statement's property more.

    :raises JudgeAway: if the judge cannot answer now.
    """
    shows = case.hypothesis.shows
    order = (shows, reference if shows == case.hypothesis.arm else case.hypothesis.arm)
    if _coin(seed, case.hypothesis.hypothesis_id, pair.request_id):
        order = order[::-1]
    answer = await judge.judge(statement, pair.texts[order[0]], pair.texts[order[1]])
    x = _x(answer, order, shows)
    judgment = Judgment(
        hypothesis_id=case.hypothesis.hypothesis_id,
        tier=judge.name,
        request_id=pair.request_id,
        seq=pair.seq,
        order=order,
        answer=answer.choice,
        x=x,
        placebo=placebo,
        price=answer.price,
        latency=answer.latency,
        cached=answer.cached,
        prompt_version=judge.prompt_version,
    )
    return Asked(x, judgment)


def _x(answer: Answer, order: tuple[str, str], shows: str) -> int | None:
    if answer.choice not in ("first", "second"):
        return None
    return int(order[answer.choice == "second"] == shows)


def _coin(seed: int, hypothesis: str, request: str) -> bool:
    return bool(blake2b(f"{seed}:{hypothesis}:{request}".encode(), digest_size=1).digest()[0] & 1)
