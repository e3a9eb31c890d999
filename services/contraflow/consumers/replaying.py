"""Gives dead letters to the consumer that they are of once more, and to nobody else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from contraflow.consumers.calling import open_caller
from contraflow.consumers.declaring import Consumer
from contraflow.consumers.registering import register
from contraflow.consumers.running import Names
from contraflow.consumers.service import ConsumerService
from contraflow.errors import ConsumerError
from contraflow.log.opening import open_log
from contraflow.log.protocol import Outgoing, Partition, Record
from contraflow.monitor.letters import owner_of, replay_group
from contraflow.runs import RunFolder
from contraflow.runtime.deadletters import DeadLetterError, DeadLetterLimit, as_it_came
from contraflow.runtime.lanes import process_or_bury
from contraflow.runtime.members import own_partition
from contraflow.runtime.progress import Progress
from contraflow.topics import qualified
from contraflow.wire import Wire

__all__ = ["Replayed", "consumer_of", "replay"]


@dataclass(frozen=True, slots=True)
class Replayed:
    """Dead letters that a consumer was given, events that it wrote, and letters that died again (at the topic's end)."""

    replayed: int
    written: int
    dead: int


def consumer_of(run: str, topic: str) -> str:
    """The consumer that the dead letters ``topic`` (without the run) are of.

    :raises DeadLetterError: if they are the ring's own.
    """
    _, consumer = owner_of(topic)
    if consumer is None:
        raise DeadLetterError(
            f"{topic} of {run} holds records of the ring, whose pairs are closed and counted as failed. A pair is counted "
            "once: a replay would write its texts or vectors twice, and change nothing else. Look at them with "
            "`contraflow dead show`, mend the cause, and ask again in another run (contraflow run --new)."
        )
    return consumer


async def replay(
    consumer: Consumer[Any, Any], folder: RunFolder, topic: str, offsets: Collection[int] | None = None
) -> Replayed:
    """Give the dead letters ``topic`` (without the run) to their consumer: all of them, or those at ``offsets``.

    Each is given once, however often this is called: what it led to, and that it was replayed, are committed together.
    The consumer sees it as it came, with the place that it had. One that fails again dies again.

    :raises DeadLetterError: if they are the ring's own.
    :raises ConsumerError: if the consumer cannot go on, or does not read that topic; nothing of the batch is committed.
    :raises TooManyDeadLetters: if too many fail again; nothing of the batch is committed.
    """
    wire = Wire(folder.run, folder.resolved["experiment"]["partitions"])
    names = Names(wire, consumer, consumer_of(folder.run, topic))
    if names.dead != qualified(folder.run, topic):
        raise ConsumerError(
            f"consumer {consumer.name} reads {consumer.topic}; {topic} are dead letters of a consumer of {owner_of(topic)[0]}"
        )
    register(folder, consumer)
    dead, group = Partition(names.dead, 0), replay_group(folder.run)
    async with open_log(folder) as log, open_caller(consumer) as caller:
        await log.create_topics(names.topics)
        service, limit, given = ConsumerService(wire, consumer, caller), DeadLetterLimit(names.dead), 0
        end = (await log.ends([dead]))[dead]  # one that dies again now is left to the next replay
        async with own_partition(log, group, dead) as (producer, position, reader):
            progress = Progress(position)
            while letters := [r for r in await reader.fetch(consumer.batch, wait=0.0) if r.offset < end]:
                left = [letter for letter in letters if progress.deliver(letter.offset)]
                asked = [letter for letter in left if offsets is None or letter.offset in offsets]
                outputs: list[Outgoing] = []
                for records in _by_partition(map(as_it_came, asked)):
                    outputs += await process_or_bury(service, records, limit, names.dead)
                for letter in asked:
                    progress.finish(letter.offset)
                if asked:
                    await producer.commit(outputs, group=group, positions={dead: progress.position()})
                given += len(asked)
    return Replayed(given, service.written, service.dead)


def _by_partition(records: Iterable[Record]) -> Iterator[list[Record]]:
    """A consumer is called with records of one partition, in its order."""
    ordered = sorted(records, key=lambda record: (record.partition, record.offset))
    return (list(group) for _, group in groupby(ordered, key=lambda record: record.partition))
