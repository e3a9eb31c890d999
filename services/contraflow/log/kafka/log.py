"""The Kafka log's public face; see ``contraflow.log.protocol.Log``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self
from uuid import uuid4

import anyio
from aiokafka import AIOKafkaConsumer, __version__
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import TopicPartition

from contraflow.errors import LogError
from contraflow.log.kafka import topics as topic_admin
from contraflow.log.kafka.connection import LIMIT, KafkaConnection, in_words
from contraflow.log.kafka.coordinators import await_coordinators
from contraflow.log.kafka.counts import WRITES, Counts, total, unpack
from contraflow.log.kafka.internals import AIOKAFKA, fetch_positions, refusal
from contraflow.log.kafka.membership import KafkaMembership
from contraflow.log.kafka.producer import KafkaProducer
from contraflow.log.kafka.reader import KafkaReader, consumer, stop
from contraflow.log.kafka.timestamps import Timestamps
from contraflow.log.protocol import Outgoing, Overview, Partition, PartitionInfo, Position

__all__ = ["KafkaLog"]

_REASON = 2.0
"""Seconds to find out why a cluster did not let us in; one that does not answer has taken its time already."""
_SETTLING = 2.0
"""Seconds to wait for open transactions: a running service ends its own in half a second, a dead one's may last a minute."""


class KafkaLog:
    """A log on a Kafka cluster. Open it with ``KafkaLog.open``."""

    def __init__(self, connection: KafkaConnection, admin: AIOKafkaAdminClient, offsets: AIOKafkaConsumer) -> None:
        self._connection = connection
        self._admin = admin
        self._offsets = offsets
        self._heads: AIOKafkaConsumer | None = None
        self._appender: KafkaProducer | None = None
        self._appending = anyio.Lock()
        self._timestamps: Timestamps | None = None
        self._coordinators: dict[str, int] = {}
        self._looking = anyio.Lock()

    @classmethod
    async def open(cls, connection: KafkaConnection) -> KafkaLog:
        """Connect to a cluster.

        :raises LogError: if it does not answer within 10 seconds or so, or does not let us in; the message says why.
        """
        _check_environment()
        admin = AIOKafkaAdminClient(**connection.options)
        offsets = consumer(connection)
        try:
            with in_words(connection, "connecting"), anyio.fail_after(LIMIT):
                await _connect(admin, connection)
                await offsets.start()
        except BaseException:
            with anyio.move_on_after(2.0, shield=True):
                await admin.close()
                await stop(offsets)
            raise
        return cls(connection, admin, offsets)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # writing

    async def create_topics(self, topics: Iterable[tuple[str, int, Literal["delete", "compact"]]]) -> None:
        """Create what does not exist; check what does, and that the cluster can do transactions."""
        with in_words(self._connection, "creating topics"), anyio.fail_after(LIMIT):
            await topic_admin.create(self._admin, self._connection, topics)
        await await_coordinators(self._admin, self._connection)

    async def append(self, records: Sequence[Outgoing]) -> list[int]:
        """Write records in a transaction of nobody else's."""
        async with self._appending:
            if self._appender is None:
                appender = KafkaProducer(self._connection, self._admin, f"append-{uuid4().hex}")
                await appender.start()
                self._appender = appender
            try:
                return await self._appender.append(records)
            except LogError:
                await self._appender.close()
                self._appender = None
                raise

    async def producer(self, transactional_id: str) -> KafkaProducer:
        """Become the owner of a transactional id."""
        producer = KafkaProducer(self._connection, self._admin, transactional_id)
        await producer.start()
        return producer

    async def clean(self, retain: Mapping[str, tuple[float | None, int | None]], groups: Iterable[str]) -> int:
        """Drop what is older than asked for and read by every group; compaction is the brokers' own.

        :raises LogError: for a size other than 0: set the topic's retention.bytes instead.
        """
        if not retain:
            return 0
        committed = [await self._committed(group) for group in groups]
        needed = [{p: position for p, (position, _) in at.items()} for at in committed]
        gone = 0
        with in_words(self._connection, "dropping old records"), anyio.fail_after(LIMIT):
            for topic, (age, size) in retain.items():
                gone += await self._drop(topic, age, size, needed)
        return gone

    async def _drop(
        self, topic: str, age: float | None, size: int | None, needed: Sequence[Mapping[Partition, Position]]
    ) -> int:
        if size:
            raise LogError(f"Kafka keeps {topic} by bytes itself: set the topic's retention.bytes to {size}")
        partitions = [Partition(topic, i) for i in range(await self.partitions(topic))]
        tps = [self._tp(p) for p in partitions]
        begins, ends = await self._offsets.beginning_offsets(tps), await self._offsets.end_offsets(tps)
        if size is None and age is not None:
            since = await self._offsets.offsets_for_times(dict.fromkeys(tps, round((time.time() - age) * 1000)))
            ends = {tp: found.offset if (found := since.get(tp)) else ends[tp] for tp in tps}
        elif size is None:
            return 0
        upto = {
            tp: min([ends[tp], *(at[p].offset for at in needed if p in at)])
            for p, tp in zip(partitions, tps, strict=True)
        }
        drop = {tp: RecordsToDelete(before_offset=offset) for tp, offset in upto.items() if offset > begins[tp]}
        if drop:
            await self._admin.delete_records(drop)
        return sum(upto[tp] - begins[tp] for tp in drop)

    # reading

    async def join(self, group: str, topic: str) -> KafkaMembership:
        """Join a consumer group."""
        membership = KafkaMembership(self._connection, group, topic)
        try:
            await membership.start()
        except BaseException:
            await membership.close()
            raise
        return membership

    async def reader(self, start: Mapping[Partition, int | None]) -> KafkaReader:
        """A reader of these partitions."""
        reader = KafkaReader(self._connection)
        try:
            await reader.start(start)
        except BaseException:
            await reader.close()
            raise
        return reader

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        name = self._connection.prefix + topic
        with in_words(self._connection, f"looking for topic {topic}"), anyio.fail_after(LIMIT):
            found = await topic_admin.partitions_of(self._admin, [name])
        if name not in found:
            raise LogError(f"there is no topic {topic!r} on Kafka at {self._connection.servers}")
        return found[name]

    async def ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """One past the last committed record of each partition that exists; what was committed before is below it."""
        asked = list(partitions)
        names = {self._connection.prefix + p.topic for p in asked}
        with in_words(self._connection, "asking for the ends"), anyio.fail_after(LIMIT):
            there = await topic_admin.partitions_of(self._admin, names)
            wanted = {p: self._tp(p) for p in asked if p.number < there.get(self._connection.prefix + p.topic, 0)}
            found = await self._settled(list(wanted.values())) if wanted else {}
        return {p: found[tp] for p, tp in wanted.items()}

    async def _settled(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The ends once the transactions that are open now have ended: a broker acknowledges one before its end moves."""
        async with self._looking:
            if self._heads is None:
                heads = consumer(self._connection, isolation_level="read_uncommitted")
                with anyio.fail_after(LIMIT, shield=True):  # cancelled half way it would leave its connection open
                    await heads.start()
                self._heads = heads
        heads_now: dict[TopicPartition, int] = await self._heads.end_offsets(tps)
        ends: dict[TopicPartition, int] = await self._offsets.end_offsets(tps)
        with anyio.move_on_after(_SETTLING):
            while any(ends[tp] < heads_now[tp] for tp in tps):
                await anyio.sleep(0.02)
                ends = await self._offsets.end_offsets(tps)
        return ends

    async def positions(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, Position]:
        """The committed positions of a group, none of an open transaction."""
        wanted = list(partitions)
        committed = await self._committed(group, wanted) if wanted else {}
        return {p: position for p, (position, _) in committed.items()}

    async def _committed(
        self, group: str, partitions: Sequence[Partition] | None = None, coordinators: dict[str, int] | None = None
    ) -> dict[Partition, tuple[Position, Counts]]:
        prefix = self._connection.prefix
        asked = None if partitions is None else [(prefix + p.topic, p.number) for p in partitions]
        with in_words(self._connection, f"reading the positions of {group}"), anyio.fail_after(LIMIT):
            found = await fetch_positions(self._admin, prefix + group, asked, coordinators)
        return {Partition(t.removeprefix(prefix), n): unpack(*at) for (t, n), at in found.items()}

    async def groups(self, prefix: str = "") -> dict[str, dict[Partition, Position]]:
        """The committed positions of the groups whose names begin with the connection's prefix and with ``prefix``."""
        return _positions(await self._groups(prefix))

    async def describe(self, prefix: str = "") -> dict[Partition, PartitionInfo]:
        """Every partition of the topics whose names begin with the connection's prefix and with ``prefix``.

        Records and bytes are what the groups whose names begin so have counted; None where they counted nothing.
        """
        return dict((await self.overview(prefix)).partitions)

    async def overview(self, prefix: str = "") -> Overview:
        """What ``describe`` and ``groups`` give: the groups' metadata tell both."""
        begins, ends = await self._offsets_of(prefix)
        groups = await self._groups(prefix)
        appended = total(counts for positions in groups.values() for _, counts in positions.values())
        partitions = {
            p: PartitionInfo(begin, ends[p], *appended.get(p, (None, None) if ends[p] else (0, 0)))
            for p, begin in begins.items()
        }
        return Overview(partitions, _positions(groups))

    async def _offsets_of(self, prefix: str) -> tuple[dict[Partition, int], dict[Partition, int]]:
        """The begins and the ends of partitions."""
        ours = self._connection.prefix
        with in_words(self._connection, "describing topics"), anyio.fail_after(LIMIT):
            there = await topic_admin.partitions_of(self._admin, None)
            names = sorted(name for name in there if name.startswith(ours + prefix) and not name.startswith("__"))
            tps = [TopicPartition(name, i) for name in names for i in range(there[name])]
            begins = await self._offsets.beginning_offsets(tps) if tps else {}
            ends = await self._offsets.end_offsets(tps) if tps else {}
        partitions = {tp: Partition(tp.topic.removeprefix(ours), tp.partition) for tp in tps}
        return {p: begins[tp] for tp, p in partitions.items()}, {p: ends[tp] for tp, p in partitions.items()}

    async def _groups(self, prefix: str) -> dict[str, dict[Partition, tuple[Position, Counts]]]:
        ours = self._connection.prefix
        with in_words(self._connection, "listing groups"), anyio.fail_after(LIMIT):
            listed = await self._admin.list_consumer_groups()
        names = sorted(name.removeprefix(ours) for name, *_ in listed if name.startswith(ours + prefix))
        # only here: who takes a partition over must not ask a broker that was its group's coordinator once
        return {name: await self._committed(name, None, self._coordinators) for name in names}

    async def timestamps(self, at: Iterable[tuple[Partition, int]]) -> dict[tuple[Partition, int], int]:
        """The timestamp of the first committed record at or after each offset."""
        async with self._looking:
            if self._timestamps is None:
                looking = Timestamps(self._connection)
                try:
                    await looking.start()
                except BaseException:
                    await looking.close()
                    raise
                self._timestamps = looking
            return await self._timestamps.look(at)

    async def since(self, partitions: Iterable[Partition], timestamp: int) -> dict[Partition, int]:
        """The offset of the first record that is as new as ``timestamp``."""
        ends = await self.ends(partitions)
        with in_words(self._connection, "looking for a time"), anyio.fail_after(LIMIT):
            asked = {self._tp(p): timestamp for p in ends}
            found = await self._offsets.offsets_for_times(asked) if asked else {}
        return {p: at.offset if (at := found.get(self._tp(p))) else end for p, end in ends.items()}

    def _tp(self, partition: Partition) -> TopicPartition:
        return TopicPartition(self._connection.prefix + partition.topic, partition.number)

    async def close(self) -> None:
        """Give the connections back."""
        with anyio.move_on_after(10.0, shield=True):
            if self._appender is not None:
                await self._appender.close()
            if self._timestamps is not None:
                await self._timestamps.close()
            if self._heads is not None:
                await stop(self._heads)
            await stop(self._offsets)
            await self._admin.close()


async def _connect(admin: AIOKafkaAdminClient, connection: KafkaConnection) -> None:
    try:
        await admin.start()
    except KafkaConnectionError as error:
        reason = None
        with anyio.move_on_after(_REASON):
            reason = await refusal(connection.options)
        raise reason or error from error


def _positions(
    groups: Mapping[str, Mapping[Partition, tuple[Position, Counts]]],
) -> dict[str, dict[Partition, Position]]:
    """The positions of those groups that read."""
    reading = {name: at for name, at in groups.items() if at and not name.endswith(WRITES)}
    return {name: {p: position for p, (position, _) in at.items()} for name, at in reading.items()}


def _check_environment() -> None:
    if sys.flags.optimize:
        raise LogError("aiokafka tells misuse by assertions, which python -O leaves out: start Python without -O")
    if __version__ != AIOKAFKA:
        raise LogError(f"contraflow needs aiokafka {AIOKAFKA} (found {__version__}): pip install 'contraflow[kafka]'")
