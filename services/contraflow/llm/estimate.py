"""What judging may cost, and which texts would leave this machine: said before the first call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from contraflow.configuration.tiers import LLMTier, judged_pairs, read_tiers
from contraflow.experiment import Experiment
from contraflow.llm import gemini, server
from contraflow.llm.prices import PICO
from contraflow.validator.asking import BOTH_ORDERS
from contraflow.validator.core import ELSEWHERE
from contraflow.validator.docket import until
from contraflow.validator.writing import NEAR, TEXTS, as_author

__all__ = ["Estimate", "estimates", "hosts_of_arms"]

STATEMENTS = 20
"""Statements that an estimate is for; nobody knows before how many there will be."""
_QUESTION = 360
"""Tokens of a question without its texts."""
_ANSWER = 12
_VENDORS = {"gemini": gemini.URL, "google-generativeai": gemini.URL, "openai": server.URL}
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

    Each pair may be judged under the statement and under its placebo, some in both orders; then there are the pairs of other
    clusters, and what the author is shown. Most statements are settled long before.
    """
    most_pairs, tiers = judged_pairs(experiment.validation), read_tiers(experiment.validation.tiers)[0]
    for i, tier in enumerate(tiers):
        if isinstance(tier, LLMTier):
            pairs = until(i, len(tiers), most_pairs)
            shown = 2 * TEXTS + NEAR if tier.name == experiment.validation.author else 0
            texts = 2 * (pairs + ELSEWHERE) + shown
            usual = _dollars(experiment, tier, 2 * pairs + round(BOTH_ORDERS * pairs) + ELSEWHERE, _ANSWER, shown)
            # at worst every pair is asked in both orders, and every answer cannot be read and is asked for once more
            most = _dollars(experiment, tier, 2 * (3 * pairs + ELSEWHERE), tier.max_tokens, shown)
            yield Estimate(tier.name, _host(tier), texts, usual, most)


def hosts_of_arms(experiment: Experiment) -> dict[str, list[str]]:
    """Where the prompts of arms go to, away from this machine: the hosts, each with its arms."""
    hosts: dict[str, list[str]] = {}
    for name, arm in experiment.arms.items() if experiment.generator.backend == "openai" else ():
        host = urlsplit(arm.base_url or server.URL).hostname or ""
        if host not in _HERE:
            hosts.setdefault(host, []).append(name)
    return hosts


def _dollars(experiment: Experiment, tier: LLMTier, calls: int, written: int, shown: int) -> float:
    length = experiment.generator.max_tokens
    judging = calls * tier.price.of(_QUESTION + 2 * length, written)
    writing = tier.price.of(_QUESTION + shown * length, as_author(tier).max_tokens) if shown else 0
    return (judging + writing) / PICO


def _host(tier: LLMTier) -> str:
    address = tier.settings.base_url or _VENDORS.get(tier.provider)
    if address is None:
        return f"wherever {tier.provider} sends them"
    return urlsplit(address).hostname or address
