"""Did an arm or a cluster change while the run went on? river's ADWIN over a bounded history."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from contraflow.clusterer.parts import Rows, pack_array, unpack_array

__all__ = ["History"]

BLOCKS = 512


class History:
    """By block: how many texts each slot got, in all and by arm. Bounded to the last 512 blocks.

    The detectors run over the history when asked, so that no state of theirs has to survive a restart.
    """

    def __init__(self) -> None:
        self._counts: dict[int, NDArray[np.int64]] = {}
        self._rows = Rows("history")

    def add(self, block: int, slots: NDArray[np.int64], capacity: int) -> None:
        """Keep a block: (pairs, arms) slots."""
        row = block % BLOCKS
        by_arm = [np.bincount(slots[:, arm], minlength=capacity) for arm in range(slots.shape[1])]
        self._counts[row] = np.array([[block] * capacity, *by_arm]).astype(np.uint32).astype(np.int64)
        self._rows.touch(row)

    def changes(self, since: Mapping[int, int]) -> dict[int, tuple[int, ...]]:
        """The blocks at which the share of a slot changed, by ADWIN (Bifet & Gavaldà, 2007).

        ``since`` has the slots to look at, each with the block of its birth: only what came after it counts.
        """
        if not self._counts:
            return dict.fromkeys(since, ())
        counts = np.array(sorted(self._counts.values(), key=lambda rows: int(rows[0, 0])))
        texts = counts[:, 1:].sum(axis=1)
        shares = texts / np.maximum(1, texts.sum(axis=1, keepdims=True))
        blocks = counts[:, 0, 0]
        return {slot: _changes(blocks[blocks > born], shares[blocks > born, slot]) for slot, born in since.items()}

    def dump(self) -> dict[str, bytes]:
        """The state."""
        return self._rows.dump(lambda row: pack_array(self._counts[row].astype(np.uint32)))

    def load(self, parts: Mapping[str, bytes]) -> None:
        """Go on from what ``dump`` gave."""
        for row, counts in self._rows.load(dict(parts)).items():
            self._counts[row] = unpack_array(counts).astype(np.int64)


def _changes(blocks: NDArray[np.int64], shares: NDArray[np.float64]) -> tuple[int, ...]:
    from river.drift import ADWIN  # with it come sklearn and pandas: two thirds of the start of every command

    detector = ADWIN()
    found = []
    for block, share in zip(blocks.tolist(), shares.tolist(), strict=True):
        detector.update(share)
        if detector.drift_detected:
            found.append(block)
    return tuple(found)
