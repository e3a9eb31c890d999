"""Reads fixed partitions of a Kafka cluster, committed records only."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import anyio.lowlevel
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import TopicPartition

from contraflow.errors import OutOfRange
from contraflow.log.kafka.connection import LIMIT, KafkaConnection, in_words
from contraflow.log.protocol import Partition, Record

__all__ = ["KafkaReader", "consumer", "stop"]


def consumer(connection: KafkaConnection, **options: object) -> AIOKafkaConsumer:
    """A consumer that sees committed records only, and goes nowhere on its own."""
    ours = {
        "isolation_level": "read_committed",
        "auto_offset_reset": "none",
        "enable_auto_commit": False,
        "retry_backoff_ms": 50,
        "max_partition_fetch_bytes": connection.max_request,
    }
    return AIOKafkaConsumer(**{**connection.options, **ours, **options})


async def stop(consumer: AIOKafkaConsumer, limit: float = 2.0) -> None:
    """Stop a consumer, also one that has only just started."""
    with anyio.move_on_after(limit, shield=True):
        # a task of its own that has not begun yet would end its stop with a cancellation, and leave connections open
        await anyio.lowlevel.checkpoint()
        await consumer.stop()


class KafkaReader:
    """See ``contraflow.log.protocol.Reader``."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._consumer = consumer(connection)
        self._partitions: list[TopicPartition] = []
        self._held: list[Record] = []

    async def start(self, start: Mapping[Partition, int | None]) -> None:
        """Read from these offsets on; None is the first record that is kept."""
        prefix = self._connection.prefix
        at = {TopicPartition(prefix + p.topic, p.number): offset for p, offset in start.items()}
        self._partitions = list(at)
        with in_words(self._connection, "starting to read"), anyio.fail_after(LIMIT, shield=True):
            await self._consumer.start()  # cancelled half way it would leave its connection open
        with in_words(self._connection, "starting to read"), anyio.fail_after(LIMIT):
            self._consumer.assign(self._partitions)
            unknown = [tp for tp, offset in at.items() if offset is None]
            begins = await self._consumer.beginning_offsets(unknown) if unknown else {}
            for tp, offset in at.items():
                self._consumer.seek(tp, begins[tp] if offset is None else offset)

    async def fetch(self, max_records: int = 500, wait: float = 0.5) -> list[Record]:
        """The next records. What was committed before the call is found however short the wait."""
        with in_words(self._connection, "reading"):
            try:
                found = await self._fetch(max_records, wait)
                while not found and not await self._at_end():
                    found = await self._fetch(max_records, 0.2)
            except OffsetOutOfRangeError as error:
                at = ", ".join(f"{self._topic(tp)} {tp.partition} at {offset}" for tp, offset in error.args[0].items())
                raise OutOfRange(
                    f"out of range: {at} lies before the first record that is kept (retention dropped it), or after the "
                    "last. What was dropped cannot be read again; start from the beginning, or from another place."
                ) from error
        return found

    async def _fetch(self, most: int, wait: float) -> list[Record]:
        if not self._held:
            await self._take(round(wait * 1000), self._share(most))
        if self._held:
            # getmany empties one partition before it looks at the next
            self._partitions = self._partitions[1:] + self._partitions[:1]
            for share in (self._share(most), most):
                for tp in self._partitions:
                    if len(self._held) < most:
                        await self._take(0, min(share, most - len(self._held)), tp)
        # a cancelled fetch has left what it had taken to the next one
        found, self._held = self._held, []
        return found

    async def _take(self, milliseconds: int, most: int, *only: TopicPartition) -> None:
        taken = await self._consumer.getmany(*only, timeout_ms=milliseconds, max_records=most)
        self._held += [self._record(record) for records in taken.values() for record in records]

    def _share(self, most: int) -> int:
        return max(1, most // max(1, len(self._partitions)))

    async def _at_end(self) -> bool:
        with anyio.fail_after(LIMIT):
            ends = await self._consumer.end_offsets(self._partitions)
            return all([await self._consumer.position(tp) >= end for tp, end in ends.items()])

    def _record(self, record: ConsumerRecord) -> Record:
        return Record(
            self._topic(record),
            record.partition,
            record.offset,
            (record.key or b"").decode(errors="replace"),
            record.value,
            dict(record.headers),
            record.timestamp,
        )

    def _topic(self, of: ConsumerRecord | TopicPartition) -> str:
        return str(of.topic).removeprefix(self._connection.prefix)

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from ``offset``."""
        self._held = [record for record in self._held if (record.topic, record.partition) != partition]
        self._consumer.seek(TopicPartition(self._connection.prefix + partition.topic, partition.number), offset)

    async def close(self) -> None:
        """Give the connections back."""
        await stop(self._consumer)
