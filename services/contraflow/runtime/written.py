"""Output without a committed position: the position was lost, and starting over would write everything twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import anyio

from contraflow.errors import PositionsLost
from contraflow.log.protocol import Log, Partition, Record

__all__ = ["any_record", "positions_lost"]


async def any_record(log: Log, partitions: Iterable[Partition], like: Callable[[Record], bool] | None = None) -> bool:
    """Whether there is a committed record, ``like`` this, in any of the partitions."""
    filled = {partition: None for partition, end in (await log.ends(partitions)).items() if end}
    if not filled:
        return False
    reader = await log.reader(filled)
    try:
        while records := await reader.fetch(500, wait=0.0):
            if like is None or any(map(like, records)):
                return True
    finally:
        with anyio.CancelScope(shield=True):
            await reader.close()
    return False


def positions_lost(group: str, where: str) -> PositionsLost:
    """What to say when a group has written output and its positions ``where`` are not known."""
    return PositionsLost(
        f"{group} has written output, and its positions in {where} are gone; starting over would write everything twice. "
        "Kafka forgets the positions of a group without members after offsets.retention.minutes, which should be longer "
        "than any pause of a run. Nothing was read or written now; start another run."
    )
