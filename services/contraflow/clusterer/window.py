"""The last few thousand pairs: what a split looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contraflow.clusterer.parts import Rows, pack_array, unpack_array

__all__ = ["RecentWindow"]


class RecentWindow:
    """The texts of the last ``blocks`` blocks with the cluster each fell into.

    Vectors are rounded to float16 as they enter, so that what is kept and what is restored are the same.
    """

    def __init__(self, blocks: int = 64) -> None:
        self._blocks = blocks
        self._vectors: dict[int, NDArray[np.float16]] = {}
        self._clusters: dict[int, NDArray[np.int64]] = {}
        self._prompts: dict[int, list[str]] = {}
        self._rows = Rows("recent")

    def add(
        self, block: int, vectors: NDArray[np.float32], clusters: NDArray[np.int64], prompts: Sequence[str]
    ) -> None:
        """Keep a block: (n, dim) vectors, the cluster ids and prompts of its texts."""
        row = block % self._blocks
        self._vectors[row] = vectors.astype(np.float16)
        self._clusters[row] = clusters.copy()
        self._prompts[row] = list(prompts)
        self._rows.touch(row)

    def members(self, cluster: int) -> NDArray[np.float32]:
        """(m, dim) vectors of the recent texts of a cluster, in a fixed order."""
        parts = [self._vectors[row][self._clusters[row] == cluster] for row in sorted(self._vectors)]
        return np.concatenate(parts).astype(np.float32) if parts else np.zeros((0, 0), np.float32)

    def prompts(self, cluster: int) -> list[str]:
        """The prompts of the recent texts of a cluster."""
        rows = sorted(self._clusters)
        if not rows:
            return []
        clusters = np.concatenate([self._clusters[row] for row in rows])
        prompts = [prompt for row in rows for prompt in self._prompts[row]]
        return [prompts[i] for i in np.flatnonzero(clusters == cluster).tolist()]

    def dump(self) -> dict[str, bytes]:
        """The state."""
        return self._rows.dump(self._row)

    def _row(self, row: int) -> list[Any]:
        return [pack_array(self._vectors[row]), pack_array(self._clusters[row]), self._prompts[row]]

    def load(self, parts: Mapping[str, bytes]) -> None:
        """Go on from what ``dump`` gave."""
        for row, (vectors, clusters, prompts) in self._rows.load(dict(parts)).items():
            self._vectors[row], self._clusters[row] = unpack_array(vectors), unpack_array(clusters)
            self._prompts[row] = prompts
