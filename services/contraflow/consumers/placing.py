"""Where a consumer starts in its topic: ``beginning``, ``end``, a time, or ``offset:N``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import anyio

from contraflow.errors import ConsumerError
from contraflow.log.protocol import Log, Partition, PartitionInfo, Position
from contraflow.runtime.members import transactional_id

__all__ = ["Start", "place", "read_start"]

Start = str | int | datetime
"""``beginning``, ``end``, an offset of every partition, or a time."""


def read_start(text: str) -> Start:
    """What ``--from`` says. A time without a zone is of this machine's.

    :raises ConsumerError: if it says nothing that is known.
    """
    if text in ("beginning", "end"):
        return text
    kind, _, number = text.partition(":")
    if kind == "offset" and number.isdecimal():
        return int(number)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ConsumerError(
            f"--from: {text!r} is neither beginning, end, offset:N nor a time such as 2026-11-25T14:00"
        ) from None


async def place(
    log: Log, group: str, partitions: Sequence[Partition], start: Start, *, replay: bool, output: str | None = None
) -> list[Partition]:
    """Put a group where it has no position yet, or, with ``replay``, everywhere; returns where it was put.

    ``output`` is the topic that it alone writes to.

    :raises ConsumerError: if the group's next record was dropped by retention, an offset is not there any more, or the
        group has written output and its positions are lost.
    """
    described = await log.describe(partitions[0].topic)
    at = await log.positions(group, partitions)
    if not replay:
        _check_kept(group, at, described)
        partitions = [p for p in partitions if p not in at]
        if output is not None:
            await _check_unwritten(log, group, [Partition(output, p.number) for p in partitions])
    offsets = await _offsets(log, partitions, start, described)
    async with anyio.create_task_group() as tasks:
        for partition, offset in offsets.items():
            # what lies before the place was not processed, and how much that is nobody counted
            position = Position(offset, records=None if offset else 0)
            tasks.start_soon(_put, log, group, partition, position, replay)
    return list(partitions)


def _check_kept(group: str, at: Mapping[Partition, Position], described: Mapping[Partition, PartitionInfo]) -> None:
    for (topic, number), position in at.items():
        begin = described[Partition(topic, number)].begin
        if position.offset < begin:
            raise ConsumerError(
                f"{group} has read {topic} {number} up to offset {position.offset}, and retention dropped what lies before "
                f"{begin}. What was dropped cannot be read again; go on with --replay --from beginning (of what is kept), "
                "--from end, or a time"
            )


async def _check_unwritten(log: Log, group: str, outputs: Sequence[Partition]) -> None:
    described = await log.describe(outputs[0].topic) if outputs else {}
    if await log.timestamps([(p, described[p].begin) for p in outputs]):
        raise ConsumerError(
            f"{outputs[0].topic} holds output, and where {group} had read to is not known any more (Kafka forgets it after "
            "offsets.retention.minutes without the consumer). Start over with --replay: outputs are written again, with the "
            "same keys; or go on with --replay --from a time"
        )


async def _offsets(
    log: Log, partitions: Sequence[Partition], start: Start, described: Mapping[Partition, PartitionInfo]
) -> dict[Partition, int]:
    if isinstance(start, datetime):
        return await log.since(partitions, round(start.timestamp() * 1000))
    if start == "end":
        return {p: described[p].end for p in partitions}
    if start == "beginning":
        return {p: described[p].begin for p in partitions}
    asked = int(start)
    late = {p: described[p].begin for p in partitions if asked < described[p].begin}
    if late:
        (topic, number), begin = next(iter(late.items()))
        raise ConsumerError(
            f"--from: {topic} {number} is kept from offset {begin} on; {asked} was dropped by retention"
        )
    return {p: min(asked, described[p].end) for p in partitions}


async def _put(log: Log, group: str, partition: Partition, position: Position, replay: bool) -> None:
    # the fence first: whoever works there stops, and what it has committed until then is seen
    producer = await log.producer(transactional_id(group, partition))
    try:
        if replay or not await log.positions(group, [partition]):
            await producer.commit([], group=group, positions={partition: position})
    finally:
        with anyio.CancelScope(shield=True):
            await producer.close()
