"""The free tiers: they judge the statement, by its words or by its meaning."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from contraflow.errors import ConfigurationError
from contraflow.validator.types import Answer, Judge, Statement
from contraflow.words import content_words

__all__ = ["Embed", "EmbeddingJudge", "KeywordJudge", "build"]

Embed = Callable[[Sequence[str]], Awaitable[NDArray[np.float32]]]

CLOSE = 0.02
"""Cosines that differ by less are alike."""


class KeywordJudge:
    """The larger weighted sum of the statement's terms in a text wins; equal is a tie."""

    name = "keywords"
    price = 0.0
    prompt_version = "terms-1"

    async def judge(self, statement: Statement, first: str, second: str) -> Answer:
        """Compare the hits of both texts."""
        a, b = (self._hits(statement, text) for text in (first, second))
        if a == b:
            return Answer("both" if a else "neither")
        return Answer("first" if a > b else "second")

    def _hits(self, statement: Statement, text: str) -> float:
        present = content_words(text)
        return round(sum(weight for word, weight in statement.terms.items() if word in present), 6)


class EmbeddingJudge:
    """The text whose vector is closer to the statement's exemplars wins; about equally close is a tie."""

    name = "embedding"
    price = 0.0
    prompt_version = "exemplars-1"

    def __init__(self, embed: Embed) -> None:
        self._embed = embed

    async def judge(self, statement: Statement, first: str, second: str) -> Answer:
        """Compare the cosines of both texts."""
        vectors = await self._embed([first, second, *(statement.exemplars or (statement.property,))])
        centre = vectors[2:].mean(axis=0)
        a, b = vectors[:2] @ (centre / max(float(np.linalg.norm(centre)), 1e-9))
        if abs(float(a - b)) < CLOSE:
            return Answer("both")
        return Answer("first" if a > b else "second")


def build(tiers: Sequence[object], embed: Embed) -> list[Judge]:
    """The judges of an experiment, in its order.

    :raises ConfigurationError: if a tier is unknown.
    """
    known: dict[str, Callable[[], Judge]] = {"keywords": KeywordJudge, "embedding": lambda: EmbeddingJudge(embed)}
    for tier in tiers:
        if tier not in known:
            raise ConfigurationError(f"validation.tiers: unknown tier {tier!r}; there are {', '.join(known)}")
    return [known[str(tier)]() for tier in tiers]
