"""Which partitions a member of a consumer group should work on. It reads nothing, so nothing it does can be late.

Membership is advice; the transactional id of a partition is ownership. A member keeps working through a rebalance: what
comes back to it was never interrupted, and what went to another is fenced by the other's start.
"""

from __future__ import annotations

import anyio
from aiokafka import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.structs import TopicPartition

from contraflow.log.kafka.connection import LIMIT, KafkaConnection, in_words
from contraflow.log.kafka.reader import consumer, stop
from contraflow.log.protocol import Partition

__all__ = ["KafkaMembership"]


class KafkaMembership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """See ``contraflow.log.protocol.Membership``."""

    shared = True

    def __init__(self, connection: KafkaConnection, group: str, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._mine: frozenset[Partition] | None = None
        self._settled = anyio.Event()
        self._consumer = consumer(
            connection,
            group_id=connection.prefix + group,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=1_000,
            rebalance_timeout_ms=30_000,
            # a member without partitions never asks for records, and must not be thrown out for it
            max_poll_interval_ms=2**31 - 1,
            partition_assignment_strategy=(StickyPartitionAssignor,),
        )

    async def start(self) -> None:
        """Join the group."""
        self._consumer.subscribe([self._connection.prefix + self._topic], listener=self)
        with in_words(self._connection, f"joining the group that reads {self._topic}"), anyio.fail_after(2 * LIMIT):
            await self._consumer.start()

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """A rebalance begins. What is exchanged is known at its end."""
        self._mine = None

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """A rebalance has ended. No call to the cluster here: there are no heartbeats meanwhile."""
        self._consumer.pause(*assigned)
        self._mine = frozenset(Partition(self._topic, tp.partition) for tp in assigned)
        self._settled.set()
        self._settled = anyio.Event()

    async def partitions(self, known: frozenset[Partition] | None = None) -> frozenset[Partition]:
        """The partitions that are ours, as soon as they are settled and differ from ``known``."""
        while self._mine is None or self._mine == known:
            await self._settled.wait()
        return self._mine

    async def close(self) -> None:
        """Leave the group; others take over at once."""
        await stop(self._consumer, limit=5.0)
