"""The loop of a stateless service: one lane for each input partition, which owns the partition's transactional id.

A lane fetches, processes, and commits outputs and position in one transaction. A record that cannot be processed goes
to the dead letters in the same transaction. Anything else that fails ends the lane before it commits, and it starts
again from what was committed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import anyio

from contraflow.errors import ConfigurationError, GeneratorError, LogError
from contraflow.log.limits import too_large
from contraflow.log.protocol import Log, Outgoing, Partition, Position, Reader, Record
from contraflow.runtime.deadletters import DeadLetterLimit, dead_letter
from contraflow.runtime.drain import Drain
from contraflow.runtime.members import own_partition, serve_partitions
from contraflow.runtime.progress import grown
from contraflow.runtime.written import any_record

__all__ = ["INTERVAL", "Stateless", "process_or_bury", "run_lanes"]

INTERVAL = 0.5
"""Seconds that what is processed waits for its commit, where there is always more to read."""


class Stateless(Protocol):
    """A service without a state of its own: outputs follow from the records alone."""

    async def process(self, records: Sequence[Record]) -> list[Outgoing]:
        """The outputs for a batch, in any order; raises if a record of it cannot be processed."""
        ...

    def failed(self, record: Record, error: BaseException) -> list[Outgoing]:
        """What follows downstream from a record that went to the dead letters."""
        ...


async def run_lanes(
    log: Log,
    group: str,
    topic: str,
    service: Stateless,
    drain: Drain,
    *,
    batch: int = 500,
    interval: float = INTERVAL,
    gather: float = 0.0,
    dead: str | None = None,
    output: str | None = None,
) -> None:
    """Run a service over its partitions of a topic, at most ``batch`` records at a time, until draining is requested.

    What is processed is committed as soon as the input is empty, or ``interval`` seconds after the last commit: a
    transaction costs a Kafka cluster the same however large it is. Fewer records than a batch wait for more until the
    first is ``gather`` seconds old. ``dead`` takes the dead letters, if not the topic's own. ``output`` is a topic that
    nobody else writes, to the same partitions.

    :raises PositionsLost: if the group has no position where there is output.
    """
    lanes = _Lanes(log, group, service, drain, DeadLetterLimit(topic), batch, interval, gather, dead, output)
    await serve_partitions(log, group, topic, lanes.serve, drain)


@dataclass(frozen=True, slots=True)
class _Lanes:
    log: Log
    group: str
    service: Stateless
    drain: Drain
    limit: DeadLetterLimit
    batch: int
    interval: float
    gather: float
    dead: str | None
    output: str | None

    async def serve(self, partition: Partition) -> None:
        has_written = partial(self._has_written, partition.number)
        async with own_partition(self.log, self.group, partition, has_written) as (producer, position, reader):
            processed = position.records if position else 0
            outputs: list[Outgoing] = []
            last, due = -1, 0.0
            while not self.drain.requested or last >= 0:
                records = await (self._take(reader) if last < 0 else reader.fetch(self.batch, 0.0))
                if records:
                    due = due if last >= 0 else time.monotonic() + self.interval
                    outputs += await process_or_bury(self.service, records, self.limit, self.dead)
                    processed, last = grown(processed, len(records)), records[-1].offset
                if last >= 0 and (len(records) < self.batch or time.monotonic() >= due or self.drain.requested):
                    at = {partition: Position(last + 1, records=processed)}
                    await producer.commit(outputs, group=self.group, positions=at)
                    outputs, last = [], -1

    async def _has_written(self, number: int) -> bool:
        return self.output is not None and await any_record(self.log, [Partition(self.output, number)])

    async def _take(self, reader: Reader) -> list[Record]:
        records = await self.drain.fetch(reader, self.batch)
        if records and self.gather:
            # by the age of the first: old records, of which there are enough, never wait
            left = self.gather + records[0].timestamp / 1000 - time.time()
            with anyio.move_on_after(min(left, self.gather)):
                while len(records) < self.batch and not self.drain.requested:
                    records += await self.drain.fetch(reader, self.batch - len(records))
        return records


async def process_or_bury(
    service: Stateless, records: Sequence[Record], limit: DeadLetterLimit, dead: str | None = None
) -> list[Outgoing]:
    """Process a batch; where it fails, process one by one and send the guilty to the dead letters (to topic ``dead``).

    :raises TooManyDeadLetters: if too many fail.
    """
    try:
        outputs = await service.process(records)
        if (said := too_large(outputs)) is not None:
            raise ValueError(said)
    except (LogError, ConfigurationError, GeneratorError):
        raise  # the service or its surroundings are at fault, not the record
    except Exception as error:
        if len(records) == 1:
            limit.failed(error)
            return [dead_letter(records[0], error, dead), *service.failed(records[0], error)]
        return [output for record in records for output in await process_or_bury(service, [record], limit, dead)]
    limit.passed(len(records))
    return outputs
