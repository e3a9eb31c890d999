"""Reading partitions from given offsets, and waiting for more."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import anyio
import msgspec

from contraflow.errors import OutOfRange
from contraflow.log.embedded.database import OFFSET_BITS
from contraflow.log.protocol import Partition, Record

if TYPE_CHECKING:
    from contraflow.log.embedded.log import EmbeddedLog

__all__ = ["EmbeddedReader"]

_MASK = (1 << OFFSET_BITS) - 1
# the records of a topic have few different headers: each is decoded once, and shared by those that have it
_decode: Callable[[bytes], Mapping[str, bytes]] = lru_cache(1024)(msgspec.msgpack.Decoder(dict[str, bytes]).decode)


class EmbeddedReader:
    """Reads fixed partitions; see ``contraflow.log.protocol.Reader``."""

    def __init__(self, log: EmbeddedLog, start: Mapping[Partition, int | None]) -> None:
        self._log = log
        self._next = dict(start)
        self._ids: dict[Partition, int] = {}
        self._turn = 0
        self._woken = 0
        self._heard: int | None = None
        self._more = anyio.Event()
        log.watch(self, self._next)

    def wake(self) -> None:
        """Something may have been written to one of the partitions."""
        self._woken += 1
        self._more.set()

    async def fetch(self, max_records: int = 500, wait: float = 0.5) -> list[Record]:
        """The next records, waiting up to ``wait`` seconds for the first."""
        deadline = anyio.current_time() + wait
        while True:
            if self._heard == self._woken:  # a look costs a thread's turn, and would find nothing
                self._more = anyio.Event()
                with anyio.move_on_at(deadline):
                    await self._more.wait()
            over, woken = anyio.current_time() >= deadline, self._woken
            records, positions, whole = await self._log.read(lambda c: self._read(c, max_records))
            # only now, after the last await: a cancelled fetch has moved nothing
            self._next.update(positions)
            self._heard = woken if whole else None
            if records or over:
                return records

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from ``offset``."""
        self._next[partition] = offset
        self._heard = None

    async def close(self) -> None:
        """Stop listening for records."""
        self._log.unwatch(self, self._next)

    def _read(self, connection: sqlite3.Connection, most: int) -> tuple[list[Record], dict[Partition, int], bool]:
        """Records, the positions after them, and whether they are all that there were."""
        order = list(self._next)
        self._turn = (self._turn + 1) % max(1, len(order))
        order = order[self._turn :] + order[: self._turn]
        connection.execute("BEGIN")
        try:
            ready = [p for p in order if self._has_more(connection, p)]
            records: list[Record] = []
            moved: dict[Partition, int] = {}
            whole = True
            for left, partition in zip(range(len(ready), 0, -1), ready, strict=True):
                share = max(1, (most - len(records)) // left)
                found = self._read_one(connection, partition, share)
                records += found
                whole = whole and len(found) < share
                if found:
                    moved[partition] = found[-1].offset + 1
                if len(records) >= most:
                    break
        finally:
            connection.execute("COMMIT")
        return records, moved, whole

    def _has_more(self, connection: sqlite3.Connection, partition: Partition) -> bool:
        number = self._ids.get(partition)
        if number is None:
            number = self._ids[partition] = self._log.partition_id(connection, partition)
        first, end, cleanup = connection.execute(
            "SELECT p.first, p.next, t.cleanup FROM partitions p JOIN topics t ON t.id = p.topic WHERE p.id = ?",
            (number,),
        ).fetchone()
        start = self._next[partition]
        if start is None:
            self._next[partition] = start = first
        if start < first and cleanup != "compact":
            raise OutOfRange(
                f"offset {start} of {partition.topic}/{partition.number} is out of range: records before {first} were "
                "dropped by retention. What was dropped cannot be read again; start from the beginning, or from another place."
            )
        return bool(start < end)

    def _read_one(self, connection: sqlite3.Connection, partition: Partition, most: int) -> list[Record]:
        number, start = self._ids[partition], self._next[partition]
        base = number << OFFSET_BITS
        rows = connection.execute(
            "SELECT id, key, value, headers, timestamp FROM records WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
            (base | (start or 0), base | _MASK, most),
        ).fetchall()
        topic, part = partition
        return [
            Record(topic, part, row & _MASK, key, value, _decode(headers) if headers else {}, timestamp)
            for row, key, value, headers, timestamp in rows
        ]
