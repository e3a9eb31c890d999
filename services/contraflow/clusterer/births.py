"""Where new clusters come from: texts far from every centroid, and unlike their partner, that resemble each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contraflow.clusterer.parts import pack, pack_array, unpack, unpack_array
from contraflow.clusterer.ring import TextRing

__all__ = ["FarRing", "Founders", "unlike_partners"]

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
        self.texts = TextRing("far", SIZE, dim)
        self._distances = np.zeros(DISTANCES, np.float32)
        self._seen = 0

    def threshold(self) -> float:
        """The squared distance above which a text is far."""
        kept = self._distances[: min(self._seen, DISTANCES)]
        return _quantile(kept, QUANTILE) if len(kept) else np.inf

    def observe(self, distances: Floats) -> None:
        """Add squared distances to the running quantile."""
        places = (self._seen + np.arange(len(distances))) % DISTANCES
        self._distances[places] = distances
        self._seen += len(distances)

    def founders(self, vector: Floats, arm: int, prompt: str, theta: float) -> Founders | None:
        """Those that found a cluster together with this far text; None if there are too few."""
        texts = self.texts
        near = texts.near(vector[None], theta)
        arms = np.bincount(np.append(texts.arm[near], arm), minlength=self._arms)
        needed = ONE_SIDED_FOUNDERS if (arms > 0).sum() == 1 else FOUNDERS
        if len(near) + 1 < needed:
            return None
        named = *((texts.prompts[row], int(texts.arm[row])) for row in near), (prompt, arm)
        return Founders(np.vstack([texts.vectors[near], vector[None]]), tuple(int(a) for a in arms), near, named)

    def dump(self) -> dict[str, bytes]:
        """The state."""
        return {"distances": pack([self._seen, pack_array(self._distances)]), **self.texts.dump()}

    def load(self, parts: Mapping[str, bytes]) -> None:
        """Go on from what ``dump`` gave."""
        self._seen, distances = unpack(parts["distances"])
        self._distances = unpack_array(distances)
        self.texts.load(parts)


def unlike_partners(vectors: Floats, theta: float) -> NDArray[np.bool_]:
    """(n, arms) of (n, arms, dim) unit vectors: which texts have no cosine of ``theta`` to another arm's of their pair."""
    alike = vectors @ vectors.transpose(0, 2, 1)
    itself = np.arange(vectors.shape[1])
    alike[:, itself, itself] = -np.inf
    unlike: NDArray[np.bool_] = alike.max(axis=2) < theta
    return unlike


def _quantile(values: Floats, q: float) -> float:
    """``np.quantile`` of (n,) values, bit for bit: numpy's own takes twelve times as long for so few."""
    place = q * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    ordered = np.partition(values, (low, high))
    below, above, share = ordered[low], ordered[high], place - low
    step = above - below
    return float(above - step * (1 - share) if share >= 0.5 else below + step * share)
