"""Reads what a log holds at this moment."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import anyio

from contraflow.log.protocol import Log, Partition, Record

__all__ = ["batches_until_now", "read_until_now"]

_BATCH = 5000


async def batches_until_now(log: Log, start: Mapping[Partition, int | None]) -> AsyncGenerator[list[Record], None]:
    """The committed records from these offsets on (None: the first that is kept), up to the ends at the call.

    They come in batches, so that none but the newest is held. Partitions that do not exist hold none. What is written
    meanwhile is not waited for: it might never end.
    """
    ends = {partition: end for partition, end in (await log.ends(start)).items() if end > (start[partition] or 0)}
    if not ends:
        return
    reader = await log.reader({partition: start[partition] for partition in ends})
    try:
        left = set(ends)
        while left and (batch := await reader.fetch(_BATCH, wait=0.0)):
            at = {(r.topic, r.partition): r.offset + 1 for r in batch}
            left = {p for p in left if at.get((p.topic, p.number), 0) < ends[p]}
            yield batch
    finally:
        with anyio.CancelScope(shield=True):
            await reader.close()


async def read_until_now(log: Log, start: Mapping[Partition, int | None]) -> list[Record]:
    """The same records, all at once."""
    async with aclosing(batches_until_now(log, start)) as batches:
        return [record async for batch in batches for record in batch]
