"""How a clusterer is set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from contraflow.errors import ConfigurationError
from contraflow.pairs import BLOCK

__all__ = ["ClustererConfig"]


@dataclass(frozen=True, slots=True)
class ClustererConfig:
    """``warm_start`` and ``epoch`` count pairs, in multiples of 32; ``start`` clusters are made from the warm start.

    ``max_clusters`` bounds the clusters that live at one time. ``stop`` gives the targets of named stopping criteria.
    ``explore_population``, for replayed texts, is how many (prompt, draw)s there are to explore without replacement.

    :raises ConfigurationError: if a value cannot be used.
    """

    arms: tuple[str, ...]
    reference: str
    dim: int
    warm_start: int
    start: int
    max_clusters: int
    epoch: int
    alpha: float = 0.05
    seed: int = 0
    stop: Mapping[str, float] = field(default_factory=dict)
    explore_population: int | None = None

    def __post_init__(self) -> None:
        problems = {
            "arms: name two or more, each once": len(set(self.arms)) == len(self.arms) >= 2,
            f"reference: {self.reference!r} is not among the arms {self.arms}": self.reference in self.arms,
            f"warm_start: {self.warm_start} is not a positive multiple of {BLOCK}": _blocks(self.warm_start),
            f"epoch: {self.epoch} is not a positive multiple of {BLOCK}": _blocks(self.epoch),
            f"start: {self.start} clusters is not between 1 and max_clusters": 1 <= self.start <= self.max_clusters,
            f"alpha: {self.alpha} is not between 0 and 1": 0 < self.alpha < 1,
        }
        wrong = [problem for problem, fine in problems.items() if not fine]
        if wrong:
            raise ConfigurationError("the clusterer cannot be set up: " + "; ".join(wrong))


def _blocks(pairs: int) -> bool:
    return pairs > 0 and pairs % BLOCK == 0
