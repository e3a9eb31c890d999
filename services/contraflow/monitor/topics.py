"""Topics of a run: what flows in and out of each, and how far each group is behind.

Rates are differences over real elapsed time, by partition, then summed. What the log does not know is None, never 0.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, TypeVar

import anyio

from contraflow.log.opening import open_log
from contraflow.log.protocol import Log, Partition, PartitionInfo, Position
from contraflow.runs import RunFolder

__all__ = ["GroupFlow", "Sample", "TopicFlow", "flows", "lag", "measure", "processed", "sample", "total"]

N = TypeVar("N", int, float)

_HELD = ("clusterer", "control")
"""A group that holds its place in a topic on purpose, to read it again after a restart, is not behind there."""


class Sample(NamedTuple):
    """What a log says of a run at one moment, in seconds of a steady clock."""

    at: float
    partitions: Mapping[Partition, PartitionInfo]
    groups: Mapping[str, Mapping[Partition, Position]]


@dataclass(frozen=True, slots=True)
class TopicFlow:
    """A topic: what was appended in all, and a second; ``read_s`` records a second were read by all groups together."""

    topic: str
    partitions: int
    records: int | None
    bytes: int | None
    records_s: float | None
    bytes_s: float | None
    read_s: float | None


@dataclass(frozen=True, slots=True)
class GroupFlow:
    """A group in a topic: what it processed in all, and a second.

    ``lag`` is how many records it has not processed, ``lag_s`` the age in seconds of the oldest of them.
    """

    group: str
    topic: str
    records: int | None
    records_s: float | None
    lag: int | None
    lag_s: float | None


async def measure(folder: RunFolder, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """The ``topics`` and ``groups`` of a run as plain rows; rates are of the next ``seconds``."""
    async with open_log(folder) as log:
        before = await sample(log, folder.run)
        await anyio.sleep(seconds)
        topics, groups = await flows(log, before, await sample(log, folder.run), folder.run)
    return {"topics": [asdict(row) for row in topics], "groups": [asdict(row) for row in groups]}


async def sample(log: Log, run: str) -> Sample:
    """Look at a run's topics and groups."""
    ours = f"{run}."
    before = time.monotonic()
    found = await log.overview(ours)
    return Sample((before + time.monotonic()) / 2, *found)


async def flows(log: Log, before: Sample, after: Sample, run: str) -> tuple[list[TopicFlow], list[GroupFlow]]:
    """What flowed between two samples, and how far behind each group is at the second."""
    readers = [
        _Reader(before, after, group, topic, f"{run}.")
        for group, positions in after.groups.items()
        for topic in sorted({partition.topic for partition in positions})
        if (group.removeprefix(f"{run}."), topic.removeprefix(f"{run}.")) != _HELD
    ]
    timestamps = await log.timestamps({place for reader in readers for place in reader.unread})
    groups = [reader.flow(timestamps) for reader in readers]
    names = sorted({partition.topic for partition in after.partitions})
    return [_topic(before, after, topic, groups, f"{run}.") for topic in names], groups


def _topic(before: Sample, after: Sample, topic: str, groups: Iterable[GroupFlow], ours: str) -> TopicFlow:
    partitions = _partitions(after, topic)
    now = [after.partitions[p] for p in partitions]
    # a partition that was not there has been filled since
    then = [before.partitions.get(p, PartitionInfo(0, 0, 0, 0)) for p in partitions]
    elapsed = after.at - before.at
    name = topic.removeprefix(ours)
    return TopicFlow(
        name,
        len(partitions),
        total(info.records for info in now),
        total(info.bytes for info in now),
        _rate([info.records for info in then], [info.records for info in now], elapsed),
        _rate([info.bytes for info in then], [info.bytes for info in now], elapsed),
        total(flow.records_s for flow in groups if flow.topic == name),
    )


class _Reader:
    """A group in a topic, at two samples."""

    def __init__(self, before: Sample, after: Sample, group: str, topic: str, ours: str) -> None:
        self._name, self._topic = group.removeprefix(ours), topic.removeprefix(ours)
        self._elapsed = after.at - before.at
        at, earlier = after.groups[group], before.groups.get(group, {})
        partitions = _partitions(after, topic)
        self._now = [processed(after.partitions[p], at.get(p)) for p in partitions]
        self._then = [processed(before.partitions.get(p), earlier.get(p, _beginning(at.get(p)))) for p in partitions]
        self._lags = {p: lag(after.partitions[p], at.get(p)) for p in partitions}
        behind = [p for p, records in self._lags.items() if records != 0]
        self._lost = [p for p in behind if p not in at]
        self.unread = {(p, at[p].offset): self._lags[p] for p in behind if p in at}
        """The places of the first records that it has not processed, and how many are known to be there."""

    def flow(self, timestamps: Mapping[tuple[Partition, int], int]) -> GroupFlow:
        """What it has read, and how old its oldest unread record is."""
        rate = _rate(self._then, self._now, self._elapsed)
        behind = total(self._lags.values())
        return GroupFlow(self._name, self._topic, total(self._now), rate, behind, self._age(timestamps))

    def _age(self, timestamps: Mapping[tuple[Partition, int], int]) -> float | None:
        if self._lost or any(records and place not in timestamps for place, records in self.unread.items()):
            return None  # a record that is there and cannot be read yet: something older is open in its partition
        oldest = min((timestamps[place] for place in self.unread if place in timestamps), default=None)
        return 0.0 if oldest is None else max(0.0, time.time() - oldest / 1000)


def processed(info: PartitionInfo | None, position: Position | None) -> int | None:
    """How many records of a partition a group has processed; None if that is not known."""
    if position is None:
        return 0 if info is not None and info.records == 0 else None
    if position.records is not None or info is None:
        return position.records
    # where every offset is a record, offsets count them
    return position.offset if info.records == info.end else None


def lag(info: PartitionInfo, position: Position | None) -> int | None:
    """How many records of a partition a group has not processed; None if that is not known."""
    done = processed(info, position)
    return None if done is None or info.records is None else max(0, info.records - done)


def _beginning(position: Position | None) -> Position | None:
    """Where a group was that had no position yet: nowhere, if it counts from the beginning."""
    return None if position is None or position.records is None else Position(0, records=0)


def _partitions(of: Sample, topic: str) -> list[Partition]:
    return [partition for partition in of.partitions if partition.topic == topic]


def total(values: Iterable[N | None]) -> N | None:
    """The sum; None if a part of it is."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def _rate(before: Collection[int | None], after: Collection[int | None], elapsed: float) -> float | None:
    known = [None if then is None or now is None else now - then for then, now in zip(before, after, strict=True)]
    gone = total(known)
    return None if gone is None or elapsed <= 0 else gone / elapsed
