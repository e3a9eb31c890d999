"""For tests of consumers: replays events through one on a real log in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from contraflow.consumers.declaring import Consumer
from contraflow.consumers.reading import records_of
from contraflow.consumers.running import Names, run_consumer
from contraflow.errors import ConsumerError
from contraflow.events import Control, ControlAction, Origin, Text, decode, request_id, text_id
from contraflow.log.embedded import EmbeddedLog
from contraflow.log.protocol import Log, Outgoing
from contraflow.runtime.drain import Drain
from contraflow.runtime.portal import blocking
from contraflow.runtime.supervisor import RunStopped
from contraflow.topics import TOPICS, specs
from contraflow.wire import Wire

__all__ = ["Dead", "Replayed", "replay", "text"]

_RUN = "replay-1"


class Dead(NamedTuple):
    """An event that went to the dead letters, and why."""

    event: Any
    error: str


class Replayed(NamedTuple):
    """What a consumer wrote, in the order of its input, with the keys; and what it could not process."""

    outputs: list[Any]
    keys: list[str]
    dead: list[Dead]


def replay(consumer: Consumer[Any, Any], events: Iterable[msgspec.Struct | str]) -> Replayed:
    """Give events to a consumer as a run would: in batches, in one partition, exactly once.

    Where it reads texts, a ``str`` stands for a Text that says so. Recorded ones come from ``contraflow.read``.

    :raises ConsumerError: if the consumer hangs, or returns something else than it declares.
    :raises RunStopped: if it failed for good in another way, as by too many dead letters.
    """
    texts = consumer.event is Text
    given = [text(e, seq=i) if texts and isinstance(e, str) else e for i, e in enumerate(events, 1)]
    for event in given:
        if type(event) is not consumer.event:
            kind = consumer.event.__name__
            raise ConsumerError(f"consumer {consumer.name} reads {kind} events; got a {type(event).__name__}")
    return blocking(_replay, consumer, given)


def text(said: str, *, seq: int = 1, arm: str = "base", prompt: str = "a prompt", **fields: Any) -> Text:
    """A Text as a decoder would write it; ``fields`` are others of its fields."""
    known: dict[str, Any] = {
        "request_id": request_id(_RUN, seq),
        "text_id": text_id(request_id(_RUN, seq), arm),
        "prompt_id": "p0",
        "origin": Origin.EXPLORE,
        "finish_reason": "stop",
    }
    return Text(seq=seq, arm=arm, prompt=prompt, text=said, **{**known, **fields})


async def _replay(consumer: Consumer[Any, Any], events: list[msgspec.Struct]) -> Replayed:
    names = Names(Wire(_RUN, 1), consumer, consumer.name)
    with tempfile.TemporaryDirectory() as folder:
        async with await EmbeddedLog.open(Path(folder)) as log:
            await log.create_topics([*specs(_RUN, 1), *names.topics])
            await log.append([_record(names.wire, consumer, event) for event in events])
            done = Control(run=_RUN, action=ControlAction.DONE)
            await log.append([names.wire.out("control", _RUN, done)])
            try:
                await run_consumer(log, names, Drain())
            except RunStopped as stopped:
                if isinstance(stopped.__cause__, ConsumerError):
                    raise stopped.__cause__ from None
                raise
            return await _what_came(log, names)


def _record(wire: Wire, consumer: Consumer[Any, Any], event: msgspec.Struct) -> Outgoing:
    key = str(getattr(event, TOPICS[consumer.topic].key))
    return wire.out(consumer.topic, key, event, arm=getattr(event, "arm", None) or "")


async def _what_came(log: Log, names: Names) -> Replayed:
    output, kind = names.consumer.output, names.consumer.event
    written = await records_of(log, names.wire.topic(output.topic)) if output else []
    outputs = [decode(r.value or b"", output.event) for r in written] if output else []
    dead = [
        Dead(decode(record.value or b"", kind), record.headers["contraflow-error"].decode())
        for record in await records_of(log, names.dead)
    ]
    return Replayed(outputs, [record.key for record in written], dead)
