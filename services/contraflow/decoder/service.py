"""The decoder of one arm: answers every request once, whatever the order in which answers finish."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import anyio
from msgspec.structs import replace

from contraflow.decoder.generator import Completion, Generator
from contraflow.errors import ConfigurationError, GeneratorError
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

logger = logging.getLogger(__name__)

_GATHER = 0.01
"""Seconds without a new request after which a batch is as large as it will be."""


@dataclass(order=True, slots=True)
class _Job:
    seq: int
    request: Request = field(compare=False)
    offset: int = field(compare=False)
    lane: _Lane = field(compare=False)
    tries: int = field(default=0, compare=False)


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
        interval: float = 0.05,
        clock: Clock | None = None,
    ) -> None:
        self._log = log
        self._wire = wire
        self._arm = arm
        self._generator = generator
        self._drain = drain
        self._tries = tries
        self._restarts = restarts
        self._interval = interval
        self._clock = clock or Clock()
        self._group = f"{wire.run}.decoder.{arm}"
        self._limit = DeadLetterLimit(wire.topic("requests"))
        self._pending: list[_Job] = []
        self._answering = 0
        self._arrived = anyio.Event()
        self._quiet = anyio.Event()

    async def run(self) -> None:
        """Decode until draining is requested; open generations then get the drain's grace.

        :raises GeneratorError: if the engine cannot be started or keeps dying.
        """
        await self._generator.start()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._serve_partitions)
                await self._generate_until_drained()
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
                self._forget(lane)

    async def _has_answered(self, number: int) -> bool:
        texts, arm = Partition(self._wire.topic("texts"), number), self._arm.encode()
        return await any_record(self._log, [texts], lambda record: record.headers.get(ARM) == arm)

    def _forget(self, lane: _Lane) -> None:
        """Its requests are read again by whoever serves the partition next."""
        self._pending = [job for job in self._pending if job.lane is not lane]
        heapq.heapify(self._pending)

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
        heapq.heappush(self._pending, _Job(request.seq, request, record.offset, lane))
        self._arrived.set()

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

    async def _generate_until_drained(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._generate_forever)
            await self._drain.wait()
            with anyio.move_on_after(self._drain.grace):
                while self._answering:
                    await self._clock.sleep(0.02)
            tasks.cancel_scope.cancel()

    async def _generate_forever(self) -> None:
        deaths, cut = 0, 1
        while True:
            while not self._pending or self._drain.requested:
                self._arrived = anyio.Event()
                await self._arrived.wait()
            await self._gather()
            size = min(len(self._pending), max(1, self._generator.capacity // cut))
            jobs = {job.request.request_id: job for job in (heapq.heappop(self._pending) for _ in range(size))}
            self._answering = len(jobs)
            try:
                await self._answer(jobs)
            except (ConfigurationError, GeneratorError):
                raise
            except Exception as error:  # whatever an engine raises, it is dead
                deaths = deaths + 1 if len(jobs) == size else 1
                await self._revive(deaths, error)
                # one request may be what kills it: smaller batches until it is alone, and only then it is to blame
                cut = min(4 * cut, self._generator.capacity)
                self._retry(jobs.values(), f"the engine died: {error!r}", blame=size == 1)
            else:
                deaths, cut = 0, max(1, cut // 2)
                self._retry(jobs.values(), "the generator returned no answer")
            self._answering = 0

    async def _gather(self) -> None:
        """Wait while requests keep coming: an epoch arrives partition by partition, and an engine wants it whole."""
        waiting = 0
        while waiting < len(self._pending) < self._generator.capacity:
            waiting = len(self._pending)
            await self._clock.sleep(_GATHER)

    async def _answer(self, jobs: dict[str, _Job]) -> None:
        async for completion in self._generator.generate([job.request for job in jobs.values()]):
            job = jobs.get(completion.request.request_id)
            if job is None:
                continue  # answered twice: the first answer stays
            if completion.error is not None:
                self._retry([job], completion.error)
            else:
                self._finish(job.lane, job.offset, self._text(completion))
            del jobs[job.request.request_id]

    async def _revive(self, deaths: int, error: Exception) -> None:
        if deaths > self._restarts:
            raise GeneratorError(
                f"the generator of arm {self._arm!r} died {deaths} times in a row, the last time with: {error!r}. What was "
                "decoded is kept; mend the cause and run the same command again."
            ) from error
        logger.warning("generator of arm %s died (%d of %d): %r", self._arm, deaths, self._restarts, error)
        await self._generator.close()
        await self._clock.sleep(min(0.1 * 2**deaths, 5.0))
        await self._generator.start()

    def _retry(self, jobs: Iterable[_Job], error: str, *, blame: bool = True) -> None:
        for job in list(jobs):
            job.tries += 1
            if job.tries < self._tries or not blame:
                heapq.heappush(self._pending, job)
                self._arrived.set()
            else:
                failed = Completion(job.request, "", "error", 0, 0, 0.0, None, error)
                self._finish(job.lane, job.offset, self._text(failed))

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
