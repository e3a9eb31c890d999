"""What the clusterer is made from, what it gives to publish, and what it knows of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from contraflow.events import Assignment, Cluster, Evidence, Regions

__all__ = ["ClustererConfig", "Life", "Step"]


@dataclass(frozen=True, slots=True)
class ClustererConfig:
    """``warm_start`` and ``epoch`` count pairs, in multiples of 32; ``start`` clusters are made from the warm start.

    ``stop`` gives the targets of named stopping criteria. ``explore_population``, for replayed texts, is how many
    (prompt, draw)s there are to explore without replacement. ``confirm`` is how many discordant pairs after a claim are
    asked for, to judge its statement.
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
    confirm: int = 100


class Step(NamedTuple):
    """What a block gives to publish."""

    assignments: list[Assignment]
    clusters: list[Cluster]
    evidence: list[Evidence]
    regions: Regions | None


@dataclass(slots=True)
class Life:
    """What a cluster is besides its centroid and its evidence; ``by_arm`` counts texts assigned to it since its birth."""

    cluster_id: int
    born_at: int
    parents: tuple[int, ...]
    founders: tuple[int, ...]
    last_hit: int
    by_arm: list[int]
    merged: int = 0

    @property
    def size(self) -> int:
        """The texts assigned to it, and the sizes of clusters merged into it; not its founders."""
        return sum(self.by_arm) + self.merged
