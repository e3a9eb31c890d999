"""A log that counts what a service reads and writes through it, and how long the service waits and commits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from contraflow.log.protocol import (
    Appended,
    Log,
    Membership,
    Outgoing,
    Overview,
    Partition,
    PartitionInfo,
    Position,
    Producer,
    Reader,
    Record,
)

if TYPE_CHECKING:
    from contraflow.runtime.meter import Meter

__all__ = ["MeteredLog"]


class MeteredLog:
    """The same log, seen by one service: see ``contraflow.log.protocol.Log`` for what it promises.

    Reads and commits are counted by the service's meter; from one to the next the service is processing.
    """

    def __init__(self, log: Log, meter: Meter) -> None:
        self._log = log
        self._meter = meter

    async def producer(self, transactional_id: str) -> Producer:
        """A producer whose commits are counted."""
        producer = await self._log.producer(transactional_id)
        self._meter.answered()
        return _Producer(producer, self._meter)

    async def reader(self, start: Mapping[Partition, int | None]) -> Reader:
        """A reader whose records are counted."""
        return _Reader(await self._log.reader(start), self._meter)

    async def join(self, group: str, topic: str) -> Membership:
        """A membership; one that never gets a partition waits, and is well."""
        membership = await self._log.join(group, topic)
        self._meter.answered()
        return membership

    async def create_topics(self, topics: Iterable[tuple[str, int, Literal["delete", "compact"]]]) -> None:
        """As the log does."""
        await self._log.create_topics(topics)

    async def partitions(self, topic: str) -> int:
        """As the log does."""
        return await self._log.partitions(topic)

    async def append(self, records: Sequence[Outgoing]) -> list[int]:
        """As the log does; services commit, so this counts nothing."""
        return await self._log.append(records)

    async def ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """As the log does."""
        return await self._log.ends(partitions)

    async def positions(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, Position]:
        """As the log does."""
        return await self._log.positions(group, partitions)

    async def describe(self, prefix: str = "") -> dict[Partition, PartitionInfo]:
        """As the log does."""
        return await self._log.describe(prefix)

    async def groups(self, prefix: str = "") -> dict[str, dict[Partition, Position]]:
        """As the log does."""
        return await self._log.groups(prefix)

    async def overview(self, prefix: str = "") -> Overview:
        """As the log does."""
        return await self._log.overview(prefix)

    async def timestamps(self, at: Iterable[tuple[Partition, int]]) -> dict[tuple[Partition, int], int]:
        """As the log does."""
        return await self._log.timestamps(at)

    async def since(self, partitions: Iterable[Partition], timestamp: int) -> dict[Partition, int]:
        """As the log does."""
        return await self._log.since(partitions, timestamp)

    async def clean(self, retain: Mapping[str, tuple[float | None, int | None]], groups: Iterable[str]) -> int:
        """As the log does."""
        return await self._log.clean(retain, groups)

    async def close(self) -> None:
        """Close the log."""
        await self._log.close()


class _Reader:
    def __init__(self, reader: Reader, meter: Meter) -> None:
        self._reader = reader
        self._meter = meter
        self._holds = False

    async def fetch(self, max_records: int = 500, wait: float = 0.5) -> list[Record]:
        self._release()  # whoever asks for more is done with what it had
        records = await self._reader.fetch(max_records, wait)
        self._meter.answered()
        if records:
            self._holds = True
            self._meter.holds(records)
        return records

    def seek(self, partition: Partition, offset: int) -> None:
        self._reader.seek(partition, offset)

    async def close(self) -> None:
        self._release()
        await self._reader.close()

    def _release(self) -> None:
        if self._holds:
            self._holds = False
            self._meter.releases()


class _Producer:
    def __init__(self, producer: Producer, meter: Meter) -> None:
        self._producer = producer
        self._meter = meter

    async def commit(
        self,
        outputs: Sequence[Outgoing],
        *,
        group: str | None = None,
        positions: Mapping[Partition, Position] | None = None,
    ) -> Mapping[Partition, Appended]:
        with self._meter.committing():
            appended = await self._producer.commit(outputs, group=group, positions=positions)
        self._meter.committed(appended)
        return appended

    async def close(self) -> None:
        await self._producer.close()
