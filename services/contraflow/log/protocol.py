"""What a log promises; the embedded log and Kafka are two implementations, held to one contract suite.

A log holds topics; a topic holds partitions; a partition is an ordered, durable sequence of records whose offsets grow
but need not be contiguous. Consumers keep their place as *positions* of a group. A *producer* owns a transactional id
and commits outputs and positions together: a reader sees all of a commit or nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

__all__ = [
    "Appended",
    "Log",
    "Membership",
    "Outgoing",
    "Overview",
    "Partition",
    "PartitionInfo",
    "Position",
    "Producer",
    "Reader",
    "Record",
]


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int


class Record(NamedTuple):
    """A record as it was read. ``value`` is None for a tombstone; ``timestamp`` is in ms since the epoch."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes | None
    headers: Mapping[str, bytes]
    timestamp: int


class Outgoing(NamedTuple):
    """A record to be written."""

    topic: str
    partition: int
    key: str
    value: bytes | None
    headers: Mapping[str, bytes] = {}


class Position(NamedTuple):
    """The next offset that a group will read, and what it wants to remember beside it (at most 3,700 characters).

    ``records`` is how many records of the partition the group has processed in all, those beyond the offset included;
    None where it does not know. One transactional id commits a group's positions in a partition.
    """

    offset: int
    metadata: str = ""
    records: int | None = None


class Appended(NamedTuple):
    """Records, and bytes of their keys and values."""

    records: int
    bytes: int


class PartitionInfo(NamedTuple):
    """What a monitor wants to know of a partition.

    ``begin`` and ``end`` are offsets (``end`` is one past the last; they count what is no record, too, on Kafka);
    ``records`` and ``bytes`` (of keys and values) have been appended in all, None where the log does not know.
    """

    begin: int
    end: int
    records: int | None
    bytes: int | None


class Overview(NamedTuple):
    """Partitions and groups' positions at about the same moment."""

    partitions: Mapping[Partition, PartitionInfo]
    groups: Mapping[str, Mapping[Partition, Position]]


class Reader(Protocol):
    """Reads a fixed set of partitions from given offsets; sees committed records only."""

    async def fetch(self, max_records: int = 500, wait: float = 0.5) -> list[Record]:
        """The next records, in offset order within each partition, fairly over the partitions.

        Waits up to ``wait`` seconds for the first record; returns an empty list if none comes. What was committed before
        the call is found however short the wait. Positions move past what is returned.

        :raises LogError: if a position lies before the first record that is kept (offset out of range).
        """
        ...

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from ``offset``."""
        ...

    async def close(self) -> None:
        """Give the reader's resources back."""
        ...


class Producer(Protocol):
    """The one owner of a transactional id, until a newer one starts."""

    async def commit(
        self,
        outputs: Sequence[Outgoing],
        *,
        group: str | None = None,
        positions: Mapping[Partition, Position] | None = None,
    ) -> Mapping[Partition, Appended]:
        """Write ``outputs`` and move ``group`` to ``positions``, all or nothing; durable on return.

        Returns what was appended to each partition.

        :raises Fenced: if a newer owner of the transactional id has started; nothing was written.
        :raises LogError: if the log cannot be written (a full disk); nothing was written.
        """
        ...

    async def close(self) -> None:
        """Give the producer's resources back; the transactional id stays fenced at its epoch."""
        ...


class Membership(Protocol):
    """A member's view of which partitions of one topic it should work on.

    It is advice: what a member may write is decided by who owns the transactional id of a partition. ``shared`` says
    whether other members may take partitions over, so that being fenced is no mistake.
    """

    shared: bool

    async def partitions(self, known: frozenset[Partition] | None = None) -> frozenset[Partition]:
        """The partitions of this member, as soon as they are settled and differ from ``known``."""
        ...

    async def close(self) -> None:
        """Leave; others take over."""
        ...


class Log(Protocol):
    """A durable partitioned log that several processes may share."""

    async def create_topics(self, topics: Iterable[tuple[str, int, Literal["delete", "compact"]]]) -> None:
        """Create what does not exist: name, partitions, clean-up.

        :raises LogError: if a topic exists with another number of partitions or another clean-up.
        """
        ...

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has.

        :raises LogError: if there is no such topic.
        """
        ...

    async def append(self, records: Sequence[Outgoing]) -> list[int]:
        """Write records without a transactional id, all or nothing; returns their offsets. Durable on return."""
        ...

    async def producer(self, transactional_id: str) -> Producer:
        """Become the owner of a transactional id; every earlier owner is fenced before this returns."""
        ...

    async def reader(self, start: Mapping[Partition, int | None]) -> Reader:
        """A reader of these partitions, each from its offset, or from the first record kept if None."""
        ...

    async def join(self, group: str, topic: str) -> Membership:
        """Join the group of those who share the partitions of a topic."""
        ...

    async def ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """One past the last committed record of each partition that exists; what was committed before is below it."""
        ...

    async def positions(self, group: str, partitions: Iterable[Partition]) -> dict[Partition, Position]:
        """The committed positions of a group; partitions without one are left out."""
        ...

    async def describe(self, prefix: str = "") -> dict[Partition, PartitionInfo]:
        """Every partition of the topics whose names begin with ``prefix``, for monitors."""
        ...

    async def groups(self, prefix: str = "") -> dict[str, dict[Partition, Position]]:
        """The committed positions of the groups whose names begin with ``prefix``, for monitors."""
        ...

    async def overview(self, prefix: str = "") -> Overview:
        """What ``describe`` and ``groups`` give, at once and for less, for monitors that look often."""
        ...

    async def timestamps(self, at: Iterable[tuple[Partition, int]]) -> dict[tuple[Partition, int], int]:
        """The timestamp of the first committed record at or after each offset; left out where there is none."""
        ...

    async def since(self, partitions: Iterable[Partition], timestamp: int) -> dict[Partition, int]:
        """The offset of the first record that is as new as ``timestamp`` (ms since the epoch); the end if none is."""
        ...

    async def clean(self, retain: Mapping[str, tuple[float | None, int | None]], groups: Iterable[str]) -> int:
        """Compact the compacted topics and drop old records of the others; returns how many records went.

        ``retain`` gives by topic an age in seconds and a size in bytes (None: no limit). Records that any of ``groups``
        has still to read are never dropped, whatever their age or size.
        """
        ...

    async def close(self) -> None:
        """Close the log; what was committed stays."""
        ...
