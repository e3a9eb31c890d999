"""The last texts of a kind, with the arm, the prompt and the clusters of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contraflow.clusterer.parts import Rows, pack, pack_array, unpack, unpack_array

__all__ = ["TextRing"]

Floats = NDArray[np.float32]

NOBODY = -1


class TextRing:
    """The last ``size`` texts that were added; the oldest makes room.

    ``vectors`` (size, dim) float32; ``arm`` (size,), -1 where a row holds none; by row ``prompts``, and in ``clusters`` the
    ids of those that the text and its partner were in.
    """

    def __init__(self, name: str, size: int, dim: int) -> None:
        self._name = name
        self.vectors = np.zeros((size, dim), np.float32)
        self.arm = np.full(size, NOBODY, np.int64)
        self.prompts = [""] * size
        self.clusters: list[tuple[int, ...]] = [()] * size
        self._place = 0
        self._rows = Rows(f"{name}-text")

    @property
    def used(self) -> NDArray[np.int64]:
        """The rows that hold a text."""
        return np.flatnonzero(self.arm != NOBODY)

    def add(self, vector: Floats, arm: int, prompt: str, clusters: tuple[int, ...] = ()) -> None:
        """Keep a text."""
        row = self._place
        self.vectors[row], self.arm[row], self.prompts[row], self.clusters[row] = vector, arm, prompt, clusters
        self._rows.touch(row)
        self._place = (row + 1) % len(self.arm)

    def near(self, vectors: Floats, theta: float) -> NDArray[np.int64]:
        """The rows of texts that have a cosine of at least ``theta`` to one of (n, dim) vectors."""
        return np.flatnonzero((self.arm != NOBODY) & (self.vectors @ vectors.T >= theta).any(axis=1))

    def leave(self, rows: NDArray[np.int64]) -> None:
        """Take texts out."""
        self.arm[rows] = NOBODY
        for row in rows.tolist():
            self._rows.touch(row)

    def dump(self) -> dict[str, bytes]:
        """The state."""
        return {self._name: pack(self._place), **self._rows.dump(self._row)}

    def _row(self, row: int) -> list[Any]:
        return [int(self.arm[row]), self.prompts[row], self.clusters[row], pack_array(self.vectors[row])]

    def load(self, parts: Mapping[str, bytes]) -> None:
        """Go on from what ``dump`` gave."""
        self._place = unpack(parts[self._name])
        for row, (arm, prompt, clusters, vector) in self._rows.load(dict(parts)).items():
            self.arm[row], self.prompts[row], self.clusters[row] = arm, prompt, tuple(clusters)
            self.vectors[row] = unpack_array(vector)
