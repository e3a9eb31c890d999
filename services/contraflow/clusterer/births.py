"""Where new clusters come from: texts far from every centroid, and unlike their partner, that resemble each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contraflow.clusterer.parts import Rows, pack, pack_array, unpack, unpack_array

__all__ = ["FarRing", "Founders"]

Floats = NDArray[np.float32]

SIZE = 512
DISTANCES = 2048
QUANTILE = 0.8
SIMILAR = 0.8
"""Times the mean |c|^2: the cosine above which two far texts belong together. .6 to 1.0 all work."""
FOUNDERS = 4
ONE_SIDED_FOUNDERS = 3


class Founders(NamedTuple):
    """The texts that found a cluster: vectors, how many came from each arm, the rows that those from the ring hold.

    ``texts`` are the prompt and the arm of each.
    """

    vectors: Floats
    arms: tuple[int, ...]
    rows: NDArray[np.int64]
    texts: tuple[tuple[str, int], ...]

    @property
    def one_sided(self) -> bool:
        """Whether all came from one arm."""
        return sum(count > 0 for count in self.arms) == 1


class FarRing:
    """The last 512 far texts and the running 80 % quantile of the distance that makes a text far."""

    def __init__(self, dim: int, arms: int) -> None:
        self._arms = arms
        self.vectors = np.zeros((SIZE, dim), np.float32)
        self.arm = np.full(SIZE, -1, np.int64)
        self.prompts = [""] * SIZE
        self._place = 0
        self._distances = np.zeros(DISTANCES, np.float32)
        self._seen = 0
        self._rows = Rows("far")

    @property
    def used(self) -> NDArray[np.int64]:
        """The rows that hold a text."""
        return np.flatnonzero(self.arm >= 0)

    def threshold(self) -> float:
        """The squared distance above which a text is far."""
        kept = self._distances[: min(self._seen, DISTANCES)]
        return _quantile(kept, QUANTILE) if len(kept) else np.inf

    def observe(self, distances: Floats) -> None:
        """Add squared distances to the running quantile."""
        places = (self._seen + np.arange(len(distances))) % DISTANCES
        self._distances[places] = distances
        self._seen += len(distances)

    def add(self, vector: Floats, arm: int, prompt: str) -> None:
        """Keep a far text; the oldest makes room."""
        self.vectors[self._place] = vector
        self.arm[self._place] = arm
        self.prompts[self._place] = prompt
        self._rows.touch(self._place)
        self._place = (self._place + 1) % SIZE

    def founders(self, vector: Floats, arm: int, prompt: str, theta: float) -> Founders | None:
        """Those that found a cluster together with this far text; None if there are too few."""
        near = np.flatnonzero((self.arm >= 0) & (self.vectors @ vector >= theta))
        arms = np.bincount(np.append(self.arm[near], arm), minlength=self._arms)
        needed = ONE_SIDED_FOUNDERS if (arms > 0).sum() == 1 else FOUNDERS
        if len(near) + 1 < needed:
            return None
        texts = *((self.prompts[row], int(self.arm[row])) for row in near), (prompt, arm)
        return Founders(np.vstack([self.vectors[near], vector[None]]), tuple(int(a) for a in arms), near, texts)

    def leave(self, founders: Founders) -> None:
        """Take out those that have founded a cluster."""
        self.arm[founders.rows] = -1
        for row in founders.rows:
            self._rows.touch(int(row))

    def dump(self) -> dict[str, bytes]:
        """The state."""
        core = [self._place, self._seen, pack_array(self._distances)]
        return {"ring": pack(core), **self._rows.dump(self._row)}

    def _row(self, row: int) -> list[Any]:
        return [int(self.arm[row]), self.prompts[row], pack_array(self.vectors[row])]

    def load(self, parts: Mapping[str, bytes]) -> None:
        """Go on from what ``dump`` gave."""
        self._place, self._seen, distances = unpack(parts["ring"])
        self._distances = unpack_array(distances)
        for row, (arm, prompt, vector) in self._rows.load(dict(parts)).items():
            self.arm[row], self.prompts[row], self.vectors[row] = arm, prompt, unpack_array(vector)


def _quantile(values: Floats, q: float) -> float:
    """``np.quantile`` of (n,) values, bit for bit: numpy's own takes twelve times as long for so few."""
    place = q * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    ordered = np.partition(values, (low, high))
    below, above, share = ordered[low], ordered[high], place - low
    step = above - below
    return float(above - step * (1 - share) if share >= 0.5 else below + step * share)
