"""The owner of a transactional id on Kafka: one transaction a commit, and no second chance after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import anyio
from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition

from contraflow.errors import Fenced, LogError
from contraflow.log.kafka.connection import LIMIT, KafkaConnection, in_words
from contraflow.log.kafka.internals import hard_close
from contraflow.log.limits import check
from contraflow.log.protocol import Outgoing, Partition, Position

__all__ = ["KafkaProducer"]


class KafkaProducer:
    """See ``contraflow.log.protocol.Producer``.

    A failed commit is never aborted and never tried again here: whether it happened is known only to the next owner of
    the transactional id, whose start ends it either way. So the producer is closed, and every later commit says so.
    """

    def __init__(self, connection: KafkaConnection, transactional_id: str) -> None:
        self._connection = connection
        self._id = transactional_id
        self._turn = anyio.Lock()
        self._dead: LogError | None = None
        self._producer = AIOKafkaProducer(
            **connection.options,
            transactional_id=connection.prefix + transactional_id,
            transaction_timeout_ms=20_000,
            max_request_size=connection.max_request,
            max_batch_size=256 << 10,
            retry_backoff_ms=20,
            linger_ms=0,
        )

    async def start(self) -> None:
        """Fence every earlier owner; its transaction has ended when this returns."""
        try:
            with in_words(self._connection, f"starting the producer {self._id}"), anyio.fail_after(LIMIT):
                await self._producer.start()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await hard_close(self._producer)
            raise

    async def commit(
        self,
        outputs: Sequence[Outgoing],
        *,
        group: str | None = None,
        positions: Mapping[Partition, Position] | None = None,
    ) -> None:
        """Write outputs and positions in one transaction."""
        if positions and group is None:
            raise ValueError("positions need a group")
        await self._write(outputs, group, positions or {})

    async def append(self, records: Sequence[Outgoing]) -> list[int]:
        """Write records in one transaction; returns their offsets."""
        return await self._write(records, None, {})

    async def _write(
        self, outputs: Sequence[Outgoing], group: str | None, positions: Mapping[Partition, Position]
    ) -> list[int]:
        async with self._turn:
            if self._dead is not None:
                raise type(self._dead)(str(self._dead))
            with in_words(self._connection, "writing"), anyio.fail_after(LIMIT):
                check(outputs, positions)
                await self._find(outputs)
            if not outputs and not positions:
                return []
            try:
                with in_words(self._connection, f"committing as {self._id}"), anyio.fail_after(LIMIT):
                    return await self._transaction(outputs, group, positions)
            except BaseException as error:
                await self._bury(error)
                raise

    async def _transaction(
        self, outputs: Sequence[Outgoing], group: str | None, positions: Mapping[Partition, Position]
    ) -> list[int]:
        producer, prefix = self._producer, self._connection.prefix
        await producer.begin_transaction()
        sent = [
            await producer.send(
                prefix + o.topic,
                o.value,
                o.key.encode(),
                partition=o.partition,
                headers=list(o.headers.items()),
            )
            for o in outputs
        ]
        # all of them: the commit succeeds although a send failed, and only its future tells
        written = await asyncio.gather(*sent)
        if group is not None and positions:
            offsets = {TopicPartition(prefix + p.topic, p.number): tuple(at) for p, at in positions.items()}
            await producer.send_offsets_to_transaction(offsets, prefix + group)
        await producer.commit_transaction()
        return [record.offset for record in written]

    async def _find(self, outputs: Sequence[Outgoing]) -> None:
        """Refuse what the cluster would refuse, before a transaction is begun that could not end."""
        for topic, number in {(output.topic, output.partition) for output in outputs}:
            if number not in await self._producer.partitions_for(self._connection.prefix + topic):
                raise LogError(f"there is no partition {number} of topic {topic!r}")

    async def _bury(self, error: BaseException) -> None:
        died = Fenced if isinstance(error, Fenced) else LogError
        self._dead = died(f"the producer {self._id} ended with an earlier failure: {error}")
        with anyio.CancelScope(shield=True):
            await hard_close(self._producer)

    async def close(self) -> None:
        """Give the connections back. No transaction is open between commits."""
        if self._dead is None:
            self._dead = LogError(f"the producer {self._id} is closed")
            await hard_close(self._producer)
