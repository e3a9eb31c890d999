"""Reads single records for their timestamps, and as little around them as a broker will send."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import anyio
from aiokafka.structs import TopicPartition

from contraflow.log.kafka.connection import LIMIT, KafkaConnection, in_words
from contraflow.log.kafka.reader import consumer, stop
from contraflow.log.protocol import Partition

__all__ = ["Timestamps"]

Place = tuple[Partition, int]

_BYTES = 16 << 10
"""What a broker sends of a partition at once; a first record that is larger comes all the same."""


class Timestamps:
    """A consumer that is sent from place to place."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._consumer = consumer(connection, max_partition_fetch_bytes=_BYTES)

    async def start(self) -> None:
        """Connect."""
        with in_words(self._connection, "starting to look"), anyio.fail_after(LIMIT):
            await self._consumer.start()

    async def look(self, at: Iterable[Place]) -> dict[Place, int]:
        """The timestamp of the first committed record at or after each offset; left out where there is none."""
        found: dict[Place, int] = {}
        left = set(at)
        with in_words(self._connection, "looking at records"), anyio.fail_after(LIMIT):
            while left:
                places = dict(left)  # one of each partition: a consumer is at one place of it at a time
                found.update(await self._look(places))
                left -= set(places.items())
            self._consumer.assign([])  # else it would go on to read what comes
        return found

    async def _look(self, places: Mapping[Partition, int]) -> dict[Place, int]:
        prefix = self._connection.prefix
        tps = {TopicPartition(prefix + p.topic, p.number): (p, offset) for p, offset in places.items()}
        self._consumer.assign(list(tps))
        for tp, (_, offset) in tps.items():
            self._consumer.seek(tp, offset)
        ends = await self._consumer.end_offsets(list(tps))
        found, left = {}, set(tps)
        while left := {tp for tp in left if await self._consumer.position(tp) < ends[tp]}:
            taken = await self._consumer.getmany(*left, timeout_ms=200, max_records=1)
            found.update({tps[tp]: records[0].timestamp for tp, records in taken.items()})
            left -= taken.keys()
        return found

    async def close(self) -> None:
        """Give the connections back."""
        await stop(self._consumer)
