"""What no log keeps, whichever it is: told before anything is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from contraflow.errors import LogError
from contraflow.log.protocol import Appended, Outgoing, Partition, Position

__all__ = ["MAX_METADATA", "MAX_RECORD", "check", "too_large"]

MAX_RECORD = 8 << 20
MAX_METADATA = 3700
"""Kafka takes 4,096 characters; the rest is for what its log counts (``contraflow.log.kafka.counts``)."""


def check(outputs: Sequence[Outgoing], positions: Mapping[Partition, Position]) -> dict[Partition, Appended]:
    """Refuse what no log could keep, before anything is written; returns what ``outputs`` append to each partition.

    :raises LogError: if a record or a position's metadata is too large.
    """
    for partition, position in positions.items():
        if len(position.metadata) > MAX_METADATA:
            raise LogError(
                f"the metadata of a position in {partition.topic} has {len(position.metadata):,} characters; the limit "
                f"is {MAX_METADATA:,}"
            )
    sizes: dict[tuple[str, int], list[int]] = defaultdict(list)
    for topic, number, key, value, _ in outputs:
        size = len(value) if value else 0
        if size > MAX_RECORD:
            raise LogError(too_large(outputs))
        sizes[topic, number].append(len(key) + size)
    return {Partition(*where): Appended(len(each), sum(each)) for where, each in sizes.items()}


def too_large(outputs: Sequence[Outgoing]) -> str | None:
    """What is wrong with the first record that no log could keep."""
    for output in outputs:
        if output.value is not None and len(output.value) > MAX_RECORD:
            return (
                f"a record for {output.topic} (key {output.key!r}) has {len(output.value):,} bytes; the limit is "
                f"{MAX_RECORD:,}"
            )
    return None
