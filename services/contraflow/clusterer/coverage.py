"""The stopping criteria (statistics, section 4), over the uniformly asked texts alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from contraflow.clusterer.parts import Rows, pack, pack_array, unpack, unpack_array
from contraflow.events import Criterion
from contraflow.statistics.stopping import adjusted_rand, completeness, unseen_mass

__all__ = ["Coverage"]

Floats = NDArray[np.float32]

RADIUS = 0.6
LEADERS = 1024
PROBES = 512
_CHUNK = 32


class Coverage:
    """Micro-clusters of a fixed radius, a fixed probe set, and the clustering's agreement with itself over time.

    A text joins the nearest leader within cosine ``RADIUS``, or leads a new micro-cluster. Past ``LEADERS`` a text that
    is near none counts as seen once, and leads nothing.
    """

    def __init__(self, dim: int) -> None:
        self._leaders = np.zeros((LEADERS, dim), np.float32)
        self._counts = np.zeros(LEADERS, np.int64)
        self._used = 0
        self._strangers = 0
        self._rows = Rows("micro")
        self._probes = np.zeros((0, dim), np.float32)
        self._probe_part = pack(pack_array(self._probes))
        self._labels = np.zeros(0, np.int64)
        self._look_at = 0
        self.seen = 0
        self.stability: float | None = None

    def add(self, vectors: Floats) -> None:
        """Count (n, dim) uniformly asked texts."""
        self.seen += len(vectors)
        known = self._used
        similarity = vectors @ self._leaders[:known].T
        for vector, old in zip(vectors, similarity, strict=True):
            new = self._leaders[known : self._used] @ vector  # those that lead since this call
            every = np.concatenate([old, new]) if len(new) else old
            nearest = int(every.argmax()) if len(every) else -1
            if nearest >= 0 and every[nearest] >= RADIUS:
                self._counts[nearest] += 1
            elif self._used < LEADERS:
                self._leaders[self._used] = vector
                self._counts[self._used] = 1
                self._rows.touch(self._used // _CHUNK)
                self._used += 1
            else:
                self._strangers += 1

    def probe(self, vectors: Floats) -> None:
        """Fix the probe set."""
        self._probes = vectors[:PROBES].copy()
        self._probe_part = pack(pack_array(self._probes))

    def look(self, labels: NDArray[np.int64]) -> None:
        """Compare the clusters of the probes with those at the last look; looks are at each doubling."""
        if len(self._labels):
            self.stability = adjusted_rand(self._labels, labels)
        self._labels = labels
        self._look_at = 2 * max(1, self.seen)

    @property
    def probes(self) -> Floats | None:
        """The probe set when it is time to look again, else None."""
        return self._probes if len(self._probes) and self.seen >= self._look_at else None

    def criteria(self, undecided: int, targets: Mapping[str, float]) -> dict[str, Criterion]:
        """Every criterion; ``undecided`` hypotheses are left."""
        counts = np.concatenate([self._counts[: self._used], np.ones(self._strangers, np.int64)])
        values: dict[str, float | None] = {
            "unseen": unseen_mass(counts) if len(counts) else None,
            "completeness": completeness(counts) if len(counts) else None,
            "stability": self.stability,
            "decided": 1.0 if undecided == 0 else 1.0 / (1 + undecided),
        }
        return {name: _criterion(name, value, targets.get(name)) for name, value in values.items()}

    def dump(self) -> dict[str, bytes]:
        """The state."""
        core = [self._used, self._strangers, self._look_at, self.seen, self.stability]
        arrays = [pack_array(self._counts[: self._used]), pack_array(self._labels)]
        return {"coverage": pack([core, arrays]), "probes": self._probe_part, **self._rows.dump(self._chunk)}

    def _chunk(self, row: int) -> list[object]:
        return pack_array(self._leaders[row * _CHUNK : (row + 1) * _CHUNK])

    def load(self, parts: Mapping[str, bytes]) -> None:
        """Go on from what ``dump`` gave."""
        core, (counts, labels) = unpack(parts["coverage"])
        self._used, self._strangers, self._look_at, self.seen, self.stability = core
        self._counts[: self._used] = unpack_array(counts)
        self._labels = unpack_array(labels)
        self._probe_part = parts["probes"]
        self._probes = unpack_array(unpack(self._probe_part))
        for row, chunk in self._rows.load(dict(parts)).items():
            self._leaders[row * _CHUNK : (row + 1) * _CHUNK] = unpack_array(chunk)


def _criterion(name: str, value: float | None, target: float | None) -> Criterion:
    holds = value is not None and target is not None and (value <= target if name == "unseen" else value >= target)
    return Criterion(value=None if value is None else round(value, 6), target=target, holds=holds)
