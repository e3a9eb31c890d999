"""The dead letters of a run, those of consumers among them: how many there are, of whom and why, and each as it came."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from contraflow.configuration.typed import nearest
from contraflow.events import EVENTS, EventError, decode, tag_of
from contraflow.log.protocol import Log, Partition, Record
from contraflow.log.reading import read_until_now
from contraflow.runtime.deadletters import DeadLetterError, as_it_came, error_of
from contraflow.topics import dead_letters, qualified

__all__ = ["DeadTopic", "Letter", "dead_topics", "find_topic", "owner_of", "read_letters", "replay_group"]

_OF_THE_RING = {"requests": "decoder", "texts": "embedder", "embeddings": "clusterer"}
_EVENTS = {tag_of(event): event for event in EVENTS}
_GAP = 100
"""Offsets at the end of a partition that may carry no record; where there are more, more is read."""


@dataclass(frozen=True, slots=True)
class DeadTopic:
    """A topic of dead letters (without the run): of which ``service``, how many, how many of them were ``replayed``.

    ``timestamp`` (ms since the epoch) and ``error`` are the newest one's.
    """

    topic: str
    service: str
    records: int | None
    replayed: int | None
    timestamp: int
    error: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: the ``record`` as it came, and the ``event`` in it, or why that is ``unreadable``.

    ``offset`` and ``timestamp`` (ms since the epoch) are its place and time among the dead letters.
    """

    topic: str
    offset: int
    timestamp: int
    error: str
    record: Record
    schema: str
    event: msgspec.Struct | None
    unreadable: str | None


def replay_group(run: str) -> str:
    """The group whose positions in dead letters say which were replayed."""
    return qualified(run, "dead-replay")


def owner_of(topic: str) -> tuple[str, str | None]:
    """What the records of ``topic`` (without the run) were read from, and by which consumer; None for the ring's own."""
    origin, _, consumer = topic.removesuffix(dead_letters("")).partition(".")
    return origin, consumer or None


async def dead_topics(log: Log, run: str) -> list[DeadTopic]:
    """The topics of a run that hold dead letters."""
    ours = qualified(run, "")
    found = []
    for partition, info in sorted((await log.describe(ours)).items()):
        if not partition.topic.endswith(dead_letters("")) or info.records == 0:
            continue
        for newest in await _newest(log, partition, 1):
            topic = partition.topic.removeprefix(ours)
            origin, consumer = owner_of(topic)
            replayed = (await log.positions(replay_group(run), [partition])).get(partition)
            found.append(
                DeadTopic(
                    topic,
                    consumer or _OF_THE_RING.get(origin, "unknown"),
                    info.records,
                    replayed.records if replayed else 0,
                    newest.timestamp,
                    error_of(newest),
                )
            )
    return found


async def find_topic(log: Log, run: str, name: str) -> str:
    """The dead letters that somebody calls ``name``, with or without the run, with or without ``.dead``.

    :raises DeadLetterError: if there are none of that name; the message lists those there are.
    """
    topic = dead_letters(name.removeprefix(qualified(run, "")).removesuffix(dead_letters("")))
    there = [row.topic for row in await dead_topics(log, run)]
    if topic not in there:
        known = f"there are {', '.join(there)}{nearest(topic, there)}" if there else "it has none at all"
        raise DeadLetterError(f"{run} has no dead letters {name!r} ({known})")
    return topic


async def read_letters(log: Log, run: str, topic: str, *, most: int, offset: int | None = None) -> list[Letter]:
    """The newest dead letters of a topic (without the run), oldest first, or the one at ``offset``.

    :raises DeadLetterError: if there is none at that offset.
    """
    partition = Partition(qualified(run, topic), 0)
    if offset is None:
        return [_letter(letter, topic) for letter in await _newest(log, partition, most)]
    found = [letter for letter in await _newest(log, partition, None) if letter.offset == offset]
    if not found:
        raise DeadLetterError(
            f"{topic} of {run} has no record at offset {offset}; without --offset the newest are shown with theirs"
        )
    return [_letter(letter, topic) for letter in found]


async def _newest(log: Log, partition: Partition, most: int | None) -> list[Record]:
    """The last records of a partition, or all of them, oldest first."""
    info = (await log.describe(partition.topic))[partition]
    span = info.end if most is None else most + _GAP
    while True:
        start = max(info.begin, info.end - span)
        records = await read_until_now(log, {partition: start})
        if start == info.begin or (most is not None and len(records) >= most):
            return records if most is None else records[-most:]
        span *= 8


def _letter(letter: Record, topic: str) -> Letter:
    try:
        record = as_it_came(letter)
    except DeadLetterError:
        record = letter  # somebody else wrote it: where it lies is all that is known
    schema = record.headers.get("contraflow-schema", b"unknown").decode(errors="replace")
    event, unreadable = _event(record, schema)
    return Letter(topic, letter.offset, letter.timestamp, error_of(letter), record, schema, event, unreadable)


def _event(record: Record, schema: str) -> tuple[msgspec.Struct | None, str | None]:
    if record.value is None:
        return None, "it has no value"
    if schema not in _EVENTS:
        return None, f"its schema is {schema}"
    try:
        return decode(record.value, _EVENTS[schema]), None
    except EventError as error:
        return None, str(error)
