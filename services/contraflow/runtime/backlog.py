"""What a consumer that works strictly by ``seq`` has read and not yet processed, and so where it may commit."""

from __future__ import annotations

from collections import deque

from contraflow.log.protocol import Partition, Position
from contraflow.runtime.progress import grown

__all__ = ["Backlog"]


class Backlog:
    """Remembers the ``seq`` of each record read; a partition's position is its first record not yet processed."""

    def __init__(self, positions: dict[Partition, Position]) -> None:
        self._next = {partition: position.offset for partition, position in positions.items()}
        self._records = {partition: position.records for partition, position in positions.items()}
        self._unprocessed: dict[Partition, deque[tuple[int, int]]] = {}

    def read(self, partition: Partition, offset: int, seq: int) -> None:
        """Note a record, in offset order within its partition."""
        self._next[partition] = offset + 1
        self._unprocessed.setdefault(partition, deque()).append((offset, seq))

    def positions(self, processed: int) -> dict[Partition, Position]:
        """Where to commit when everything up to ``processed`` has been processed."""
        for partition, records in self._unprocessed.items():
            while records and records[0][1] <= processed:
                records.popleft()
                self._records[partition] = grown(self._records.get(partition, 0), 1)
        return {
            partition: Position(self._first(partition, offset), records=self._records.get(partition, 0))
            for partition, offset in self._next.items()
        }

    def _first(self, partition: Partition, end: int) -> int:
        records = self._unprocessed.get(partition)
        return records[0][0] if records else end
