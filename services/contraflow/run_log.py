"""The events that a run's log holds at this moment, one at a time: however long the run, few are in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Container
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TypeVar

import msgspec

from contraflow.events import Assignment, EventError, decode
from contraflow.log.opening import open_log
from contraflow.log.protocol import Log, Record
from contraflow.log.reading import batches_until_now
from contraflow.runs import RunFolder
from contraflow.topics import TOPICS, dead_letters
from contraflow.wire import Wire

__all__ = ["RunLog", "open_run_log"]

E = TypeVar("E", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class RunLog:
    """The topics of one run. A topic that does not exist yet holds nothing."""

    log: Log
    wire: Wire

    def _batches(self, topic: str) -> AsyncGenerator[list[Record], None]:
        return batches_until_now(self.log, dict.fromkeys(self.wire.all(topic)))

    async def records(self, topic: str) -> AsyncGenerator[Record, None]:
        """Every committed record of a topic."""
        async with aclosing(self._batches(topic)) as batches:
            async for batch in batches:
                for record in batch:
                    yield record

    async def events(self, topic: str, kind: type[E], only: Container[str] | None = None) -> AsyncGenerator[E, None]:
        """Every event of a topic, or those whose keys are among ``only``. What nobody could read is left out."""
        async with aclosing(self.records(topic)) as records:
            async for record in records:
                if record.value is None or (only is not None and record.key not in only):
                    continue
                event = _event(record.value, topic, kind)
                if event is not None:
                    yield event

    async def every(self, topic: str, kind: type[E]) -> list[E]:
        """All events of a topic; of a compacted one the newest of each key."""
        if TOPICS[topic].cleanup != "compact":
            return [event async for event in self.events(topic, kind)]
        values = {record.key: record.value async for record in self.records(topic)}
        events = (_event(value, topic, kind) for value in values.values() if value is not None)
        return [event for event in events if event is not None]

    async def last(self, topic: str, kind: type[E]) -> E | None:
        """The newest event of a topic of one partition."""
        newest: E | None = None
        async for event in self.events(topic, kind):
            newest = event
        return newest

    async def count(self, topic: str) -> int:
        """How many records a topic holds."""
        async with aclosing(self._batches(topic)) as batches:
            return sum([len(batch) async for batch in batches])

    async def assignments(self) -> AsyncGenerator[Assignment, None]:
        """Every assignment by ``seq``.

        Each partition has them in order, and the log reads fairly: those that wait for their turn are few.
        """
        waiting: list[tuple[int, int, Assignment]] = []
        following = 1
        async with aclosing(self.events("assignments", Assignment)) as events:
            async for assignment in events:
                heappush(waiting, (assignment.seq, id(assignment), assignment))
                while waiting and waiting[0][0] <= following:
                    yield (first := heappop(waiting)[2])
                    following = first.seq + 1
        while waiting:
            yield heappop(waiting)[2]


def _event(value: bytes, topic: str, kind: type[E]) -> E | None:
    """The event; None of a record that nobody could read: the ring has buried it, and its dead letter is counted."""
    try:
        return decode(value, kind)
    except EventError:
        if dead_letters(topic) in TOPICS:
            return None
        raise


@asynccontextmanager
async def open_run_log(folder: RunFolder) -> AsyncIterator[RunLog]:
    """The log of a run, to be read.

    :raises LogError: if it cannot be opened or reached.
    """
    async with open_log(folder) as log:
        yield RunLog(log, Wire(folder.run, folder.resolved["experiment"]["partitions"]))
