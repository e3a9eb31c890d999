"""Keeps one task at work for each partition of a topic that is this process's to serve, and opens what it works with.

On a shared log members come and go. A task that loses its partition to another member is fenced, or cancelled when the
group says so; a task that fails in any other way starts again from what was committed. There is no other recovery.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from contraflow.errors import Fenced, LogError, LogUnusable
from contraflow.log.protocol import Log, Membership, Partition, Position, Producer, Reader
from contraflow.runtime.clock import Clock
from contraflow.runtime.drain import Drain
from contraflow.runtime.written import positions_lost

__all__ = ["own_partition", "serve_partitions", "transactional_id"]

logger = logging.getLogger(__name__)

Serve = Callable[[Partition], Awaitable[None]]

_FENCED = 1.0
"""Seconds after being fenced: by then a member that was thought dead has heard that it is out of the group."""
_FIRST, _LONGEST = 0.2, 10.0


def transactional_id(group: str, partition: Partition) -> str:
    """What the owner of a partition of a group owns it by."""
    return f"{group}.{partition.topic}.{partition.number}"


@asynccontextmanager
async def own_partition(
    log: Log, group: str, partition: Partition, has_written: Callable[[], Awaitable[bool]] | None = None
) -> AsyncIterator[tuple[Producer, Position | None, Reader]]:
    """Own a partition for a group: its producer, where the previous owner left off, and a reader from there on.

    :raises PositionsLost: if that is not known although the group ``has_written``.
    """
    # the fence comes first: only then is the committed position the last word of the previous owner
    producer = await log.producer(transactional_id(group, partition))
    try:
        position = (await log.positions(group, [partition])).get(partition)
        if position is None and has_written is not None and await has_written():
            raise positions_lost(group, f"{partition.topic} {partition.number}")
        reader = await log.reader({partition: position.offset if position else None})
        try:
            yield producer, position, reader
        finally:
            with anyio.CancelScope(shield=True):
                await reader.close()
    finally:
        with anyio.CancelScope(shield=True):
            await producer.close()


async def serve_partitions(
    log: Log, group: str, topic: str, serve: Serve, drain: Drain, clock: Clock | None = None
) -> None:
    """Run ``serve`` for every partition that is ours, as long as it is, until draining is requested.

    ``serve`` returns when it has drained. Where the log has no other members, its errors are raised.
    """
    membership = await log.join(group, topic)
    serving: dict[Partition, anyio.CancelScope] = {}
    try:
        async with anyio.create_task_group() as tasks:
            known: frozenset[Partition] | None = None
            while (mine := await drain.unless(membership.partitions(known))) is not None:
                known = mine
                for gone in serving.keys() - mine:
                    serving.pop(gone).cancel()
                for partition in sorted(mine - serving.keys()):
                    scope = serving[partition] = anyio.CancelScope()
                    keeper = _Keeper(serve, partition, membership, drain, clock or Clock())
                    tasks.start_soon(keeper.run, scope, name=f"{group}.{topic}.{partition.number}")
    finally:
        await membership.close()


class _Keeper:
    def __init__(self, serve: Serve, partition: Partition, membership: Membership, drain: Drain, clock: Clock) -> None:
        self._serve = serve
        self._partition = partition
        self._membership = membership
        self._drain = drain
        self._clock = clock

    async def run(self, scope: anyio.CancelScope) -> None:
        pause = _FIRST
        with scope:
            while not self._drain.requested:
                started = self._clock.now()
                try:
                    await self._serve(self._partition)
                    return
                except (LogError, ExceptionGroup) as error:
                    failure = _log_error(error)
                    if not self._membership.shared or failure is None:
                        raise
                    if self._clock.now() - started > 30 * _LONGEST:
                        pause = _FIRST  # it had recovered
                    await self._wait(failure, pause)
                    pause = min(2 * pause, _LONGEST)

    async def _wait(self, failure: LogError, pause: float) -> None:
        where = f"{self._partition.topic} {self._partition.number}"
        if isinstance(failure, Fenced):
            logger.info("%s was taken over: %s", where, failure)
            await self._clock.sleep(_FENCED)
        else:
            logger.warning("%s starts again from what was committed: %s", where, failure)
            # other members meet the same trouble at the same moment
            await self._clock.sleep(pause * random.uniform(0.5, 1.5))
        # in the middle of a rebalance nobody knows whose it is; if it is no longer ours, this task is cancelled
        await self._membership.partitions()


def _log_error(error: BaseException) -> LogError | None:
    """The log's error in what a task raised, if there is nothing else in it that a new start cannot mend."""
    if isinstance(error, BaseExceptionGroup):
        inner = [_log_error(e) for e in error.exceptions]
        return None if None in inner else inner[0]
    return error if isinstance(error, LogError) and not isinstance(error, LogUnusable) else None
