"""Reads the events of a run's topic: those of the ring, and what consumers wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec

from contraflow.errors import ConsumerError
from contraflow.events import decode
from contraflow.log.opening import open_log
from contraflow.log.protocol import Log, Partition, Record
from contraflow.log.reading import read_until_now
from contraflow.runs import RUNS, open_run
from contraflow.runtime.portal import blocking
from contraflow.topics import TOPICS, qualified

__all__ = ["read", "records_of"]

E = TypeVar("E", bound=msgspec.Struct)


@overload
def read(run: str, topic: str, event: type[E], *, runs: Path = RUNS) -> list[E]: ...


@overload
def read(run: str, topic: str, *, runs: Path = RUNS) -> list[Any]: ...


def read(run: str, topic: str, event: type[msgspec.Struct] | None = None, *, runs: Path = RUNS) -> list[Any]:
    """Every event of a topic of a run so far, in order within each partition.

    ``event`` is what a consumer writes to the topic; the events of contraflow's own topics are known.

    :raises RunConflict: if there is no such run.
    :raises LogError: if it has no such topic.
    :raises EventError: if the topic carries other events.
    """
    kind = event or (TOPICS[topic].event if topic in TOPICS else None)
    if kind is None:
        raise ConsumerError(
            f"the events of {topic!r} are not contraflow's own: say which, as in read(run, topic, MyEvent)"
        )
    folder = open_run(runs, run)

    async def go() -> list[Record]:
        async with open_log(folder) as log:
            return await records_of(log, qualified(folder.run, topic))

    return [decode(record.value, kind) for record in blocking(go) if record.value is not None]


async def records_of(log: Log, topic: str) -> list[Record]:
    """Every committed record of a topic.

    :raises LogError: if there is no such topic.
    """
    return await read_until_now(log, {Partition(topic, i): None for i in range(await log.partitions(topic))})
