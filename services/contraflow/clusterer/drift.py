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

    def changes(self, slot: int, since: int) -> tuple[int, ...]:
        """The blocks at which the share of a slot changed, by ADWIN (Bifet & Gavaldà, 2007), after block ``since``."""
        from river.drift import ADWIN  # with it come sklearn and pandas: two thirds of the start of every command

        detector = ADWIN()
        found = []
        for counts in sorted(self._counts.values(), key=lambda rows: int(rows[0, 0])):
            block = int(counts[0, 0])
            if block <= since:
                continue
            detector.update(float(counts[1:, slot].sum()) / max(1, float(counts[1:].sum())))
            if detector.drift_detected:
                found.append(block)
        return tuple(found)

    def dump(self) -> dict[str, bytes]:
        """The state."""
        return self._rows.dump(lambda row: pack_array(self._counts[row].astype(np.uint32)))

    def load(self, parts: Mapping[str, bytes]) -> None:
        """Go on from what ``dump`` gave."""
        for row, counts in self._rows.load(dict(parts)).items():
            self._counts[row] = unpack_array(counts).astype(np.int64)
