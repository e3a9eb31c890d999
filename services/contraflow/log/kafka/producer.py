"""The owner of a transactional id on Kafka: one transaction a commit, and no second chance after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import anyio
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from contraflow.errors import Fenced, LogError
from contraflow.log.kafka.connection import LIMIT, KafkaConnection, in_words
from contraflow.log.kafka.counts import Counts, Tally, pack, unpack, writes
from contraflow.log.kafka.internals import fetch_positions, hard_close
from contraflow.log.limits import check
from contraflow.log.protocol import Appended, Outgoing, Partition, Position

__all__ = ["KafkaProducer"]


class KafkaProducer:
    """See ``contraflow.log.protocol.Producer``.

    A failed commit is never aborted and never tried again here: whether it happened is known only to the next owner of
    the transactional id, whose start ends it either way. So the producer is closed, and every later commit says so.
    """

    def __init__(self, connection: KafkaConnection, admin: AIOKafkaAdminClient, transactional_id: str) -> None:
        self._connection = connection
        self._admin = admin
        self._tally = Tally()
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
            with in_words(self._connection, f"starting the producer {self._id}"), anyio.fail_after(LIMIT, shield=True):
                await self._producer.start()  # cancelled half way it would leave its connection open
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
    ) -> Mapping[Partition, Appended]:
        """Write outputs and positions in one transaction."""
        if positions and group is None:
            raise ValueError("positions need a group")
        appended, _ = await self._write(outputs, group, positions or {})
        return appended

    async def append(self, records: Sequence[Outgoing]) -> list[int]:
        """Write records in one transaction; returns their offsets."""
        _, offsets = await self._write(records, None, {})
        return offsets

    async def _write(
        self, outputs: Sequence[Outgoing], group: str | None, positions: Mapping[Partition, Position]
    ) -> tuple[Counts, list[int]]:
        async with self._turn:
            if self._dead is not None:
                raise type(self._dead)(str(self._dead))
            if not outputs and not positions:
                return {}, []
            if group is None or not positions:
                group, positions = writes(self._id, outputs)
            with in_words(self._connection, "writing"), anyio.fail_after(LIMIT):
                appended = check(outputs, positions)
                await self._find(appended)
                await self._restore(group, positions)
            counts = self._tally.grown(group, positions, appended)
            packed = {p: pack(at, counts[p]) for p, at in positions.items()}
            try:
                with in_words(self._connection, f"committing as {self._id}"), anyio.fail_after(LIMIT):
                    offsets = await self._transaction(outputs, group, packed)
            except BaseException as error:
                await self._bury(error)
                raise
            self._tally.keep(group, counts)
            return appended, offsets

    async def _restore(self, group: str, positions: Iterable[Partition]) -> None:
        """Go on from the counts of the previous owner, whom our start has ended."""
        if missing := self._tally.missing(group, positions):
            prefix = self._connection.prefix
            asked = [(prefix + p.topic, p.number) for p in missing]
            found = await fetch_positions(self._admin, prefix + group, asked)
            kept = {Partition(t.removeprefix(prefix), n): unpack(*at)[1] for (t, n), at in found.items()}
            self._tally.keep(group, {p: kept.get(p, {}) for p in missing})

    async def _transaction(
        self, outputs: Sequence[Outgoing], group: str, positions: Mapping[Partition, tuple[int, str]]
    ) -> list[int]:
        producer, prefix = self._producer, self._connection.prefix
        await producer.begin_transaction()
        written = await self._send(outputs)
        offsets = {TopicPartition(prefix + p.topic, p.number): at for p, at in positions.items()}
        await producer.send_offsets_to_transaction(offsets, prefix + group)
        await producer.commit_transaction()
        return written

    async def _send(self, outputs: Sequence[Outgoing]) -> list[int]:
        """Write records; returns their offsets. Batches of our own: one future each, where ``send`` makes one a record."""
        sent: list[tuple[asyncio.Future[Any], list[int]]] = []
        offsets = [0] * len(outputs)
        try:
            for (topic, number), batch, indices in self._batches(outputs):
                where = self._connection.prefix + topic
                sent.append((await self._producer.send_batch(batch, where, partition=number), indices))
            # all of them: the commit succeeds although a batch failed, and only its future tells
            for future, indices in sent:
                first = (await future).offset
                for k, i in enumerate(indices):
                    offsets[i] = first + k
        except BaseException:
            for future, _ in sent:  # asyncio prints what nobody has asked for
                future.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise
        return offsets

    def _batches(self, outputs: Sequence[Outgoing]) -> list[tuple[tuple[str, int], Any, list[int]]]:
        """For each batch its topic and partition, and the places in ``outputs`` of its records, in their order."""
        full: list[tuple[tuple[str, int], Any, list[int]]] = []
        filling: dict[tuple[str, int], tuple[Any, list[int]]] = {}
        for i, output in enumerate(outputs):
            place = output.topic, output.partition
            if place not in filling:
                filling[place] = self._producer.create_batch(), []
            if not _add(filling[place][0], output):
                full.append((place, *filling[place]))
                filling[place] = self._producer.create_batch(), []
                _add(filling[place][0], output)  # an empty batch takes any record
            filling[place][1].append(i)
        return full + [(place, *batch) for place, batch in filling.items()]

    async def _find(self, partitions: Iterable[Partition]) -> None:
        """Refuse what the cluster would refuse, before a transaction is begun that could not end."""
        for topic, number in partitions:
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


def _add(batch: Any, output: Outgoing) -> bool:
    headers = list(output.headers.items())
    return batch.append(timestamp=None, key=output.key.encode(), value=output.value, headers=headers) is not None
