"""What the validator works with: pairs of texts, statements, and judges."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import msgspec

from contraflow.events import Origin

__all__ = ["Answer", "Choice", "Judge", "Statement", "TextPair"]

Choice = Literal["first", "second", "both", "neither", "unparsable"]


class TextPair(msgspec.Struct, frozen=True):
    """A request answered by every arm, with the cluster that each answer fell into."""

    seq: int
    request_id: str
    prompt_id: str
    origin: Origin
    texts: dict[str, str]
    clusters: dict[str, int]

    def discordant(self, cluster_id: int, arm: str, reference: str) -> bool:
        """Whether exactly one of the two texts is in the cluster: a choice that is symmetric in the arms."""
        return (self.clusters[arm] == cluster_id) != (self.clusters[reference] == cluster_id)


class Statement(msgspec.Struct, frozen=True):
    """A property that one text can show or not. Judges never learn that there are two models.

    ``terms`` are characteristic words and their weights, ``exemplars`` a few texts that show it.
    """

    property: str
    terms: dict[str, float]
    exemplars: tuple[str, ...]


class Answer(NamedTuple):
    """Which of two texts shows the property more, and what the answer cost."""

    choice: Choice
    price: float = 0.0
    latency: float = 0.0
    cached: bool = False


class Judge(Protocol):
    """A tier. ``price`` is dollars a call."""

    name: str
    price: float
    prompt_version: str

    async def judge(self, statement: Statement, first: str, second: str) -> Answer:
        """Which of the two texts shows the statement's property more."""
        ...
