"""Reads single records for their timestamps, and as little around them as a broker will send."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
from aiokafka.structs import TopicPartition

from contraflow.log.kafka.connection import LIMIT, KafkaConnection, in_words
from contraflow.log.kafka.reader import consumer
from contraflow.log.protocol import Partition

__all__ = ["Timestamps"]

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

    async def look(self, at: Mapping[Partition, int]) -> dict[Partition, int]:
        """The timestamp of the first committed record at or after each offset; left out where there is none."""
        prefix = self._connection.prefix
        tps = {TopicPartition(prefix + p.topic, p.number): p for p in at}
        found: dict[Partition, int] = {}
        with in_words(self._connection, "looking at records"), anyio.fail_after(LIMIT):
            self._consumer.assign(list(tps))
            for tp, partition in tps.items():
                self._consumer.seek(tp, at[partition])
            ends = await self._consumer.end_offsets(list(tps))
            left = set(tps)
            while left := {tp for tp in left if await self._consumer.position(tp) < ends[tp]}:
                taken = await self._consumer.getmany(*left, timeout_ms=200, max_records=1)
                for tp, records in taken.items():
                    found[tps[tp]] = records[0].timestamp
                left -= taken.keys()
        return found

    async def close(self) -> None:
        """Give the connections back."""
        with anyio.move_on_after(2.0, shield=True):
            await self._consumer.stop()
