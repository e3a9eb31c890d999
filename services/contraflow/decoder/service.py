"""The decoder of one arm: answers every request once, whatever the order in which answers finish."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import anyio
from msgspec.structs import replace

from contraflow.decoder.dispatcher import Dispatcher
from contraflow.decoder.generator import Completion, Generator
from contraflow.errors import GeneratorError
from contraflow.events import EventError, Request, Text, decode, text_id
from contraflow.log.limits import too_large
from contraflow.log.protocol import Log, Outgoing, Partition, Producer, Reader, Record
from contraflow.runtime.clock import Clock
from contraflow.runtime.deadletters import DeadLetterLimit, dead_letter
from contraflow.runtime.drain import Drain
from contraflow.runtime.members import own_partition, serve_partitions
from contraflow.runtime.progress import MAX_SPAN, Progress
from contraflow.runtime.written import any_record
from contraflow.wire import ARM, Wire, failed_text

__all__ = ["Decoder"]


@dataclass(slots=True)
class _Lane:
    """One partition of requests: what was delivered, what is finished, what waits for the next commit."""

    partition: Partition
    producer: Producer
    reader: Reader
    progress: Progress
    outputs: list[Outgoing] = field(default_factory=list)
    finished: anyio.Event = field(default_factory=anyio.Event)


class Decoder:
    """Reads requests, keeps the generator full, and commits whatever is finished at each commit interval.

    A request that fails ``tries`` times is answered by a Text with ``error``, which closes its pair. An engine that
    dies is restarted ``restarts`` times in a row without an answer, then GeneratorError stops the service.
    """

    def __init__(
        self,
        log: Log,
        wire: Wire,
        arm: str,
        generator: Generator,
        drain: Drain,
        *,
        tries: int = 3,
        restarts: int = 5,
        interval: float = 0.2,
        clock: Clock | None = None,
    ) -> None:
        self._log = log
        self._wire = wire
        self._arm = arm
        self._generator = generator
        self._drain = drain
        self._interval = interval
        self._clock = clock or Clock()
        self._group = f"{wire.run}.decoder.{arm}"
        self._limit = DeadLetterLimit(wire.topic("requests"))
        self._dispatcher = Dispatcher(arm, generator, drain, tries=tries, restarts=restarts, clock=self._clock)
        self._quiet = anyio.Event()

    async def run(self) -> None:
        """Decode until draining is requested; open generations then get the drain's grace.

        :raises GeneratorError: if the engine cannot be started or keeps dying.
        """
        try:
            await self._drain.unless(self._generator.start())
        except GeneratorError:
            if self._drain.requested:  # Ctrl-C reaches the process of an engine that starts, too
                return
            raise
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._serve_partitions)
                await self._dispatcher.run()
                self._quiet.set()
        finally:
            with anyio.CancelScope(shield=True):
                await self._generator.close()

    async def _serve_partitions(self) -> None:
        await serve_partitions(
            self._log, self._group, self._wire.topic("requests"), self._serve, self._drain, self._clock
        )

    async def _serve(self, partition: Partition) -> None:
        answered = partial(self._has_answered, partition.number)
        async with own_partition(self._log, self._group, partition, answered) as (producer, position, reader):
            lane = _Lane(partition, producer, reader, Progress(position))
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._commit_until_quiet, lane)
                    await self._read(lane)
                    await self._quiet.wait()
                    lane.finished.set()
            finally:
                # its requests are read again by whoever serves the partition next
                self._dispatcher.forget(lane)

    async def _has_answered(self, number: int) -> bool:
        texts, arm = Partition(self._wire.topic("texts"), number), self._arm.encode()
        return await any_record(self._log, [texts], lambda record: record.headers.get(ARM) == arm)

    async def _read(self, lane: _Lane) -> None:
        while not self._drain.requested:
            if lane.progress.span >= MAX_SPAN:
                await self._clock.sleep(self._interval)
                continue
            for record in await self._drain.fetch(lane.reader, 500):
                self._deliver(lane, record)

    def _deliver(self, lane: _Lane, record: Record) -> None:
        if not lane.progress.deliver(record.offset):
            return
        try:
            request = decode(record.value or b"", Request)
        except EventError as error:
            self._limit.failed(error)
            self._bury(lane, record, error)
            return
        self._limit.passed()
        self._dispatcher.submit(request, lane, partial(self._answered, lane, record.offset))

    def _answered(self, lane: _Lane, offset: int, completion: Completion) -> None:
        self._finish(lane, offset, self._text(completion))

    def _bury(self, lane: _Lane, record: Record, error: EventError) -> None:
        lane.outputs.append(dead_letter(record, error))
        self._finish(lane, record.offset, failed_text(record.key, self._arm, f"the request could not be read: {error}"))

    def _finish(self, lane: _Lane, offset: int, text: Text) -> None:
        output = self._output(lane, text)
        if (said := too_large([output])) is not None:
            output = self._output(lane, replace(text, text="", thinking=None, finish_reason="error", error=said))
        lane.outputs.append(output)
        lane.progress.finish(offset)
        lane.finished.set()

    def _output(self, lane: _Lane, text: Text) -> Outgoing:
        return self._wire.out("texts", text.request_id, text, partition=lane.partition.number, arm=self._arm)

    def _text(self, completion: Completion) -> Text:
        request = completion.request
        return Text(
            seq=request.seq,
            request_id=request.request_id,
            text_id=text_id(request.request_id, self._arm),
            arm=self._arm,
            prompt_id=request.prompt_id,
            prompt=request.messages[-1].content if request.messages else "",
            text=_valid(completion.text),
            thinking=None if completion.thinking is None else _valid(completion.thinking),
            origin=request.origin,
            finish_reason=completion.finish_reason,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            seconds=completion.seconds,
            model=self._generator.model,
            error=None if completion.error is None else _valid(completion.error),
        )

    async def _commit_until_quiet(self, lane: _Lane) -> None:
        while not self._quiet.is_set():
            await lane.finished.wait()
            lane.finished = anyio.Event()
            await self._commit(lane)
            await self._clock.sleep(self._interval)
        await self._commit(lane)

    async def _commit(self, lane: _Lane) -> None:
        outputs, lane.outputs = lane.outputs, []
        if outputs:
            at = {lane.partition: lane.progress.position()}
            await lane.producer.commit(outputs, group=self._group, positions=at)


def _valid(text: str) -> str:
    """Without half characters (lone surrogates), which no event can carry."""
    return text.encode("utf-8", "replace").decode()
