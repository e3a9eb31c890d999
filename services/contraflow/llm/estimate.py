"""What judging may cost, and which texts would leave this machine: said before the first call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from contraflow.configuration.tiers import LLMTier, read_tiers
from contraflow.experiment import Experiment
from contraflow.llm.prices import PICO

__all__ = ["Estimate", "estimates"]

STATEMENTS = 20
"""Statements that an estimate is for; nobody knows before how many there will be."""
_QUESTION = 360
"""Tokens of a question without its texts."""
_ANSWER = 12
_WORDS_OF = {
    "gemini": "generativelanguage.googleapis.com",
    "google-generativeai": "generativelanguage.googleapis.com",
    "openai": "api.openai.com",
}
_HERE = ("localhost", "127.0.0.1", "::1")


class Estimate(NamedTuple):
    """For one tier: where texts go, how many at most for one statement, and what one costs that is judged to the end.

    ``usual`` is with short answers, ``most`` with the longest that are allowed, thinking included.
    """

    tier: str
    host: str
    texts: int
    usual: float
    most: float

    @property
    def leaves(self) -> bool:
        """Whether texts leave this machine."""
        return self.host not in _HERE

    @property
    def asks(self) -> bool:
        """Whether somebody should be asked first."""
        return self.leaves or self.most > 0


def estimates(experiment: Experiment) -> Iterator[Estimate]:
    """What each language model may read and cost, with texts of the length that the experiment allows.

    Each pair may be judged twice, under the statement and under its placebo. Most statements are settled long before.
    """
    calls = 2 * experiment.validation.pairs
    for tier in read_tiers(experiment.validation.tiers)[0]:
        if isinstance(tier, LLMTier):
            read = _QUESTION + 2 * experiment.generator.max_tokens
            usual, most = (calls * tier.price.of(read, written) / PICO for written in (_ANSWER, tier.max_tokens))
            yield Estimate(tier.name, _host(tier), 2 * experiment.validation.pairs, usual, most)


def _host(tier: LLMTier) -> str:
    if tier.settings.base_url is not None:
        return urlsplit(tier.settings.base_url).hostname or tier.settings.base_url
    return _WORDS_OF.get(tier.provider, f"wherever {tier.provider} sends them")
