"""Topics of a run: records, rates over real elapsed time, and each group's lag."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import anyio

from contraflow.log.opening import open_log
from contraflow.log.protocol import Partition, PartitionInfo, Position
from contraflow.runs import RunFolder

__all__ = ["lags", "measure", "rates"]


async def measure(folder: RunFolder, seconds: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A row a topic, and a row a (group, topic); rates are differences over ``seconds``, by partition, then summed."""
    async with open_log(folder) as log:
        before, start = await log.describe(), time.monotonic()
        await anyio.sleep(seconds)
        after, elapsed = await log.describe(), time.monotonic() - start
        ours = f"{folder.run}."  # a cluster may be shared with other runs
        after = {partition: info for partition, info in after.items() if partition.topic.startswith(ours)}
        groups = {name: at for name, at in (await log.groups()).items() if name.startswith(ours)}
        return rates(before, after, elapsed, folder.run), lags(after, groups, folder.run)


def rates(
    before: Mapping[Partition, PartitionInfo], after: Mapping[Partition, PartitionInfo], elapsed: float, run: str
) -> list[dict[str, Any]]:
    """Records, bytes and their rates by topic; bytes are None where the log does not count them.

    Where it counts no records either (Kafka), offsets stand in for them, which include one for each transaction.
    """
    rows: dict[str, dict[str, Any]] = {}
    for partition, info in after.items():
        name = partition.topic.removeprefix(f"{run}.")
        row = rows.setdefault(
            name, {"topic": name, "partitions": 0, "records": 0, "bytes": 0, "records_s": 0.0, "bytes_s": 0.0}
        )
        earlier = before.get(partition, info)
        row["partitions"] += 1
        row["records"] += _records(info)
        row["records_s"] += (_records(info) - _records(earlier)) / elapsed
        if info.bytes is None or earlier.bytes is None:
            row["bytes"] = row["bytes_s"] = None
        else:
            row["bytes"] += info.bytes
            row["bytes_s"] += (info.bytes - earlier.bytes) / elapsed
    return list(rows.values())


def _records(info: PartitionInfo) -> int:
    return info.end - info.begin if info.records is None else info.records


def lags(
    described: Mapping[Partition, PartitionInfo], groups: Mapping[str, Mapping[Partition, Position]], run: str
) -> list[dict[str, Any]]:
    """Records that each group has still to read, by topic; None where it has no position in some partition of it."""
    found: list[dict[str, Any]] = []
    for group, positions in groups.items():
        for topic in sorted({partition.topic for partition in positions}):
            ends = {p: info.end for p, info in described.items() if p.topic == topic}
            # a partition that was never written to has nothing to read, position or not
            known = all(p in positions or not end for p, end in ends.items())
            lag = sum(end - positions[p].offset for p, end in ends.items() if p in positions)
            name = group.removeprefix(f"{run}.")
            found.append({"group": name, "topic": topic.removeprefix(f"{run}."), "lag": lag if known else None})
    return found
