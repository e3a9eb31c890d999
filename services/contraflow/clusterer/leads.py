"""Leads: texts unlike their partner that nothing claimed explains. Each may be the first sight of a difference.

Steering only. A text need not be far from every centroid: on real sentences most first sights are not (docs/decisions.md).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from contraflow.clusterer.regions import PRIOR_BIRTH, probability, region, urgent
from contraflow.clusterer.ring import TextRing
from contraflow.events import Reason, Region

__all__ = ["Leads"]

Floats = NDArray[np.float32]

SIZE = 1024
"""Up to a third of real texts are unlike their partner: with 512, what is rare and shows seldom was forgotten too soon."""


class Leads:
    """The last 1,024 texts unlike their partner; ``reference`` is the column of the reference arm."""

    def __init__(self, dim: int, reference: int) -> None:
        self._reference = reference
        self.texts = TextRing("lead", SIZE, dim)

    def add(
        self, vectors: Floats, unlike: NDArray[np.bool_], clusters: NDArray[np.int64], prompts: Sequence[str]
    ) -> None:
        """Keep the ``unlike`` (n, arms) of (n, arms, dim) texts, with the ids of the (n, arms) clusters they are in."""
        for i, arm in np.argwhere(unlike).tolist():
            row: list[int] = clusters[i].tolist()
            # an arm is compared with the reference, and the reference with all
            pair = row if arm == self._reference else [row[arm], row[self._reference]]
            self.texts.add(vectors[i, arm], arm, prompts[i], tuple(pair))

    def followed(self, founders: Floats, theta: float) -> None:
        """(n, dim) texts founded a cluster: what resembles them leads there from now on."""
        self.texts.leave(self.texts.near(founders, theta))

    def region(self, theta: float, claimed: set[int]) -> Region | None:
        """Each text leads to its prompt, the more the more of those near it are one arm's; not if a claim explains it.

        ``claimed`` are the ids of clusters with a claim, which get fresh pairs of their own.
        """
        texts, reference = self.texts, self._reference
        rows = np.array([row for row in texts.used.tolist() if claimed.isdisjoint(texts.clusters[row])], np.int64)
        if not len(rows):
            return None
        arms = texts.arm[rows]
        near = (texts.vectors[rows] @ texts.vectors[rows].T >= theta).astype(np.float32)
        by_arm = (near @ (arms[:, None] == np.arange(arms.max(initial=reference) + 1))).astype(np.int64)
        others = by_arm.copy()
        others[:, reference] = 0
        # a text of the reference is compared with the last arm near it; of one arm's texts alone, with none
        last = others.shape[1] - 1 - (others[:, ::-1] > 0).argmax(axis=1)
        mine = np.where(arms == reference, last, arms)
        s = others[np.arange(len(rows)), mine]
        n = by_arm[:, reference] + s
        leading = np.flatnonzero(2 * np.where(arms == reference, n - s, s) > n)
        p = probability(n[leading], s[leading], PRIOR_BIRTH)
        hits: defaultdict[str, float] = defaultdict(float)
        for row, value in zip(rows[leading].tolist(), urgent(p).tolist(), strict=True):
            hits[texts.prompts[row]] += value
        return region("leads", Reason.LEAD, float(p.max(initial=0.0)), 3 * len(rows), hits) if hits else None

    def dump(self) -> dict[str, bytes]:
        """The state."""
        return self.texts.dump()

    def load(self, parts: Mapping[str, bytes]) -> None:
        """Go on from what ``dump`` gave."""
        self.texts.load(parts)
