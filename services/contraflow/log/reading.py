"""Reads what a log holds at this moment."""

from __future__ import annotations

from collections.abc import Mapping

import anyio

from contraflow.log.protocol import Log, Partition, Record

__all__ = ["read_until_now"]


async def read_until_now(log: Log, start: Mapping[Partition, int | None]) -> list[Record]:
    """The committed records from these offsets on (None: the first that is kept), up to the ends at the call.

    Partitions that do not exist hold none. What is written meanwhile is not waited for: it might never end.
    """
    ends = {partition: end for partition, end in (await log.ends(start)).items() if end > (start[partition] or 0)}
    records: list[Record] = []
    if not ends:
        return records
    reader = await log.reader({partition: start[partition] for partition in ends})
    try:
        left = set(ends)
        while left and (batch := await reader.fetch(5000, wait=0.0)):
            records += batch
            at = {(r.topic, r.partition): r.offset + 1 for r in batch}
            left = {p for p in left if at.get((p.topic, p.number), 0) < ends[p]}
    finally:
        with anyio.CancelScope(shield=True):
            await reader.close()
    return records
