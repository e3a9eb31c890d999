"""A consumer as a stateless service: decodes what it takes, calls it, checks and writes what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from contraflow.consumers.calling import Caller, TookTooLong
from contraflow.consumers.declaring import Batch, Consumer, Output
from contraflow.errors import ConsumerError, ContraflowError
from contraflow.events import decode, encode
from contraflow.log.protocol import Outgoing, Record
from contraflow.wire import ARM, Wire

__all__ = ["ConsumerService"]

_HUNG = 3
"""Single events in a row that may hang; with one more it is not the events."""


class ConsumerService:
    """See ``contraflow.runtime.lanes.Stateless``. Counts what it has processed, written and failed at in this process."""

    def __init__(self, wire: Wire, consumer: Consumer[Any, Any], caller: Caller) -> None:
        self._wire = wire
        self._consumer = consumer
        self._caller = caller
        self._hung = 0
        self.read = self.written = self.dead = 0

    async def process(self, records: Sequence[Record]) -> list[Outgoing]:
        """The outputs of a batch.

        :raises ConsumerError: if the consumer is at fault, and not a record.
        """
        carried = [record for record in records if record.value is not None]  # a tombstone carries no event
        if not carried:
            return []
        events = [decode(record.value or b"", self._consumer.event) for record in carried]
        answer = await self._call(carried, events)
        outputs = self._outputs(carried, answer)
        self.read += len(carried)
        self.written += len(outputs)
        return outputs

    def failed(self, record: Record, error: BaseException) -> list[Outgoing]:
        """Nothing follows: the dead letters keep the record."""
        self.read += 1
        self.dead += 1
        return []

    async def _call(self, records: Sequence[Record], events: list[msgspec.Struct]) -> Any:
        try:
            answer = await self._caller.call(self._argument(records, events))
        except ConsumerError as error:
            raise ConsumerError(f"{error}. {_kept(records)}") from error
        except TookTooLong as error:
            self._hung += len(records) == 1
            if self._hung > _HUNG:
                self._refuse(records, f"hangs: {error}, for {_HUNG} events before this one, too")
            raise
        except OSError as error:  # a full disk or a lost connection would empty the topic into the dead letters
            self._refuse(records, f"failed, which is no fault of an event: {error!r}")
        self._hung = 0
        return answer

    def _argument(self, records: Sequence[Record], events: list[msgspec.Struct]) -> Any:
        if not self._consumer.whole:
            return events
        return Batch(
            self._wire.run,
            self._consumer.topic,
            records[0].partition,
            events,
            [record.offset for record in records],
            [record.timestamp for record in records],
        )

    def _outputs(self, records: Sequence[Record], answer: Any) -> list[Outgoing]:
        output = self._consumer.output
        if output is None:
            if answer is not None:
                self._refuse(records, f"returned {_kind(answer)}; it names no output and returns None")
            return []
        if not isinstance(answer, list | tuple):
            self._refuse(records, f"returned {_kind(answer)}; it declares {output}")
        if output.keyed:
            keyed = [self._keyed(records, output, item) for item in answer]
            return [self._out(records[0], output, key, self._checked(records, output, event)) for key, event in keyed]
        if len(answer) != len(records):
            self._refuse(
                records,
                f"returned {len(answer)} events for {len(records)}; it declares {output}, one for each in their order "
                f"(list[tuple[str, {output.event.__name__}]] would be as many as it likes, each with its key)",
            )
        return [
            self._out(record, output, record.key, self._checked(records, output, event), record.headers.get(ARM, b""))
            for record, event in zip(records, answer, strict=True)
        ]

    def _keyed(self, records: Sequence[Record], output: Output, item: Any) -> tuple[str, Any]:
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
            return item
        self._refuse(records, f"returned {_kind(item)} in its list; it declares {output}")

    def _checked(self, records: Sequence[Record], output: Output, event: Any) -> msgspec.Struct:
        """The event as its readers will see it: a Struct does not check the types of its fields when it is made."""
        if type(event) is not output.event:
            self._refuse(records, f"returned {_kind(event)} in its list; it declares {output}")
        try:
            read: msgspec.Struct = decode(encode(event), output.event)
        except (ContraflowError, TypeError, ValueError, OverflowError) as error:
            self._refuse(records, f"returned a {output.event.__name__} that its readers could not read: {error}")
        return read

    def _out(self, record: Record, output: Output, key: str, event: msgspec.Struct, arm: bytes = b"") -> Outgoing:
        return self._wire.out(output.topic, key, event, partition=record.partition, arm=arm.decode())

    def _refuse(self, records: Sequence[Record], what: str) -> NoReturn:
        raise ConsumerError(f"consumer {self._consumer.name} {what}. {_kept(records)}")


def _kept(records: Sequence[Record]) -> str:
    first, last = records[0], records[-1]
    return (
        f"Nothing was committed of its {len(records)} events ({first.topic} {first.partition}, offsets {first.offset} to "
        f"{last.offset}): mend it, and run the same command again."
    )


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
