"""What was appended to each partition, counted by those who append: Kafka itself counts offsets, and some carry no record.

A producer keeps cumulative counts in the metadata of the positions that it commits in the same transaction. So they are
exact at any moment, a successor goes on from them, and their sum over all groups is what was appended in all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from contraflow.errors import LogError
from contraflow.log.protocol import Appended, Outgoing, Partition, Position

__all__ = ["WRITES", "Counts", "Tally", "pack", "total", "unpack", "writes"]

WRITES = "~writes"
"""How the name of a group ends that reads nothing: it carries the counts of commits without positions."""

_SEPARATOR = "\t"
_MOST = 4096
"""Characters of metadata that a broker takes unless it is told otherwise (offset.metadata.max.bytes)."""


Counts = Mapping[Partition, Appended]


class _Suffix(msgspec.Struct, frozen=True, array_like=True):
    """What follows the metadata of a position: its count of processed records, and what was appended beside it."""

    processed: int | None
    appended: dict[str, dict[int, Appended]]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Suffix).decode


def pack(position: Position, counts: Counts) -> tuple[int, str]:
    """The offset and the metadata that Kafka keeps.

    :raises LogError: if the metadata is too long for it.
    """
    appended: dict[str, dict[int, Appended]] = {}
    for (topic, number), count in counts.items():
        appended.setdefault(topic, {})[number] = count
    metadata = position.metadata + _SEPARATOR + _encode(_Suffix(position.records, appended)).decode()
    if len(metadata) > _MOST:
        raise LogError(
            f"a position's metadata of {len(position.metadata):,} characters and the counts of {len(counts)} partitions "
            f"take {len(metadata):,} characters; Kafka keeps {_MOST:,}. Use fewer partitions, or a shorter name."
        )
    return position.offset, metadata


def unpack(offset: int, metadata: str) -> tuple[Position, Counts]:
    """The position as it was committed, and the counts beside it; neither is known of one that others committed."""
    own, separator, suffix = metadata.rpartition(_SEPARATOR)
    try:
        known = _decode(suffix) if separator else None
    except msgspec.DecodeError:
        known = None
    if known is None:
        return Position(offset, metadata), {}
    counts = {Partition(t, n): count for t, numbers in known.appended.items() for n, count in numbers.items()}
    return Position(offset, own, known.processed), counts


def total(counts: Iterable[Counts]) -> dict[Partition, Appended]:
    """The sum by partition."""
    records: Counter[Partition] = Counter()
    size: Counter[Partition] = Counter()
    for count in counts:
        for partition, appended in count.items():
            records[partition] += appended.records
            size[partition] += appended.bytes
    return {partition: Appended(records[partition], size[partition]) for partition in records}


def writes(transactional_id: str, outputs: Sequence[Outgoing]) -> tuple[str, dict[Partition, Position]]:
    """The group and the position that carry the counts of a commit that has neither."""
    topic, number = outputs[0].topic, outputs[0].partition
    return f"{topic}.{transactional_id}{WRITES}", {Partition(topic, number): Position(0)}


class Tally:
    """The counts of one producer, by the group and the partition whose position carries them."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, Partition], Counts] = {}

    def missing(self, group: str, partitions: Iterable[Partition]) -> list[Partition]:
        """Those whose counts have to be restored first."""
        return [partition for partition in partitions if (group, partition) not in self._kept]

    def keep(self, group: str, counts: Mapping[Partition, Counts]) -> None:
        """Go on from what is committed."""
        self._kept.update({(group, partition): count for partition, count in counts.items()})

    def grown(self, group: str, partitions: Iterable[Partition], appended: Counts) -> Mapping[Partition, Counts]:
        """What to commit with what is ``appended``: spread over the positions, as the metadata of one may not hold all."""
        carriers = sorted(partitions)
        new = {p: dict(self._kept[group, p]) for p in carriers}
        for where, (more, bigger) in appended.items():
            counts = new[carriers[where.number % len(carriers)]]
            records, size = counts.get(where, (0, 0))
            counts[where] = Appended(records + more, size + bigger)
        return new
