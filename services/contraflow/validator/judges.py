"""The tiers of an experiment; the free ones judge the statement by its words or by its meaning."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from contraflow.configuration.tiers import KEYWORDS, LLMTier, read_tiers
from contraflow.errors import ConfigurationError
from contraflow.llm.client import Client
from contraflow.llm.opening import open_clients
from contraflow.validator.llm import LLMJudge
from contraflow.validator.types import Answer, Author, Judge, Statement
from contraflow.validator.writing import LLMAuthor, as_author
from contraflow.words import content_words

__all__ = ["Embed", "EmbeddingJudge", "KeywordJudge", "build", "open_judges"]

Embed = Callable[[Sequence[str]], Awaitable[NDArray[np.float32]]]

CLOSE = 0.02
"""Cosines that differ by less are alike."""


class KeywordJudge:
    """The larger weighted sum of the statement's terms in a text wins; equal is a tie."""

    name = "keywords"
    price = 0.0
    prompt_version = "terms-1"
    may_mind_the_order = False

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
    may_mind_the_order = False

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


def build(tiers: Sequence[object], embed: Embed, clients: Mapping[str, Client] = MappingProxyType({})) -> list[Judge]:
    """The judges of an experiment, in its order; ``clients`` are those of its language models, by the name of the tier.

    :raises ConfigurationError: if a tier is unknown, or cannot be used as it is written; a line for each.
    """
    free: dict[str, Callable[[], Judge]] = {"keywords": KeywordJudge, "embedding": lambda: EmbeddingJudge(embed)}
    return [free[tier]() if isinstance(tier, str) else LLMJudge(clients[tier.name]) for tier in _read(tiers)]


@asynccontextmanager
async def open_judges(
    tiers: Sequence[object],
    embed: Embed,
    run: str,
    dollars: float,
    base_dir: Path = Path(),
    folder: Path | None = None,
    author: str = KEYWORDS,
) -> AsyncIterator[tuple[list[Judge], Author | None]]:
    """The judges of an experiment and its author, None where the statements are made from keywords.

    The clients of its language models are open (see ``open_clients``).

    :raises ConfigurationError: as ``build`` does, and if a package or a key is missing.
    """
    models = [tier for tier in _read(tiers) if isinstance(tier, LLMTier)]
    writers = [as_author(tier) for tier in models if tier.name == author]
    async with open_clients([*models, *writers], run, dollars, base_dir, folder) as clients:
        free: list[Judge] = [KeywordJudge(), EmbeddingJudge(embed)]
        writer = LLMAuthor(clients[writers[0].name], free) if writers else None
        yield build(tiers, embed, clients), writer


def _read(tiers: Sequence[object]) -> list[str | LLMTier]:
    read, problems = read_tiers(tiers)
    if problems:
        raise ConfigurationError("\n".join(f"{'.'.join(keys)}: {what}" for keys, what in problems))
    return read
