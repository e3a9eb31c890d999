"""The clusterer on the log: embeddings in; assignments, clusters, evidence and regions out."""

from __future__ import annotations

import logging
import time
from typing import NamedTuple

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from threadpoolctl import threadpool_limits

from contraflow.clusterer.core import Clusterer, ClustererConfig, Step
from contraflow.clusterer.pairing import Pairing
from contraflow.events import Control, ControlAction, Embedding, EventError, Origin, decode
from contraflow.log.protocol import Log, Outgoing, Partition, Reader, Record
from contraflow.runtime.deadletters import DeadLetterLimit, dead_letter
from contraflow.runtime.drain import IDLE, Drain
from contraflow.runtime.singleton import Singleton
from contraflow.wire import Wire, arm_of, partition_of, seq_of

__all__ = ["ClustererService"]

logger = logging.getLogger(__name__)

_FINISHED = "~finished"
_ALL = 1 << 62


class _Clustered(NamedTuple):
    """What a commit writes: it is not touched by what is clustered meanwhile."""

    outputs: list[Outgoing]
    parts: dict[str, bytes]
    processed: int


class ClustererService:
    """Feeds complete pairs to the clusterer strictly by ``seq``; commits at block ends.

    A commit comes with the end of an epoch, for which the sampler waits, or ``interval`` seconds after the first block of
    it: each writes again what changed of the state, which is most of it after a few blocks.
    """

    def __init__(self, log: Log, wire: Wire, config: ClustererConfig, drain: Drain, *, interval: float = 0.25) -> None:
        self._wire = wire
        self._config = config
        self._drain = drain
        self._interval = interval
        self._singleton = Singleton(log, wire, "clusterer", ["embeddings", "control"], "assignments")
        self._limit = DeadLetterLimit(wire.topic("embeddings"))
        self._dead: list[tuple[int, Outgoing]] = []

    async def run(self) -> None:
        """Cluster until draining is requested; what was not committed is read again by the next run."""
        parts, reader = await self._singleton.start()
        try:
            self._finished = parts.pop(_FINISHED, None) is not None
            self._core = Clusterer.load(self._config, parts) if parts else Clusterer(self._config)
            self._pairing = Pairing(self._config.arms, self._config.dim, self._core.processed)
            with threadpool_limits(1):
                await self._run(reader)
        finally:
            with anyio.CancelScope(shield=True):
                await reader.close()
                await self._singleton.close()

    async def _run(self, reader: Reader) -> None:
        """Cluster the next blocks while the last are committed: a transaction takes as long as some of them."""
        ahead, behind = anyio.create_memory_object_stream[_Clustered](0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._commit_each, behind)
            async with ahead:
                await self._loop(reader, ahead)

    async def _commit_each(self, behind: MemoryObjectReceiveStream[_Clustered]) -> None:
        async with behind:
            async for outputs, parts, processed in behind:
                await self._singleton.commit(outputs, parts, processed)

    async def _loop(self, reader: Reader, ahead: MemoryObjectSendStream[_Clustered]) -> None:
        steps: list[Step] = []
        due = 0.0
        while not self._drain.requested:
            if not steps:
                due = time.monotonic() + self._interval
            more = await anyio.to_thread.run_sync(self._advance, steps, due)
            if steps and (more or time.monotonic() >= due):
                await ahead.send(await self._clustered(steps))
                steps = []
            if not more:
                wait = due - time.monotonic() if steps else IDLE
                for record in await self._drain.fetch(reader, 2000, max(0.0, wait)):
                    self._take(record)
        if steps:
            await ahead.send(await self._clustered(steps))

    def _take(self, record: Record) -> None:
        if record.topic == self._wire.topic("control"):
            self._take_control(record)
            return
        try:
            embedding = decode(record.value or b"", Embedding)
            seq = embedding.seq
        except EventError as error:
            self._limit.failed(error)
            embedding, seq = self._failed(record, error), seq_of(record.key)
            self._dead.append((seq, dead_letter(record, error)))
        else:
            self._limit.passed()
        self._pairing.add(embedding)
        self._singleton.backlog.read(Partition(record.topic, record.partition), record.offset, seq)

    def _failed(self, record: Record, error: EventError) -> Embedding:
        return Embedding(
            seq=seq_of(record.key),
            request_id=record.key,
            text_id="",
            arm=arm_of(record),
            prompt_id="",
            text="",
            origin=Origin.SCAN,
            finish_reason="error",
            vector=b"",
            dim=0,
            encoder="",
            error=f"the embedding could not be read: {error}",
        )

    def _take_control(self, record: Record) -> None:
        # never processed: the end of the run must be read again after a restart
        self._singleton.backlog.read(Partition(record.topic, 0), record.offset, _ALL)
        control = decode(record.value or b"", Control)
        if control.action is ControlAction.COMPLETE:
            self._pairing.last_seq = control.last_seq

    def _advance(self, steps: list[Step], due: float) -> bool:
        """Process what is ready; whether a commit is due before all of it is, and so there may be more."""
        while (block := self._pairing.next_block()) is not None:
            steps.append(self._core.process(block))
            if steps[-1].regions is not None or time.monotonic() >= due:
                return True
        if self._core.processed == self._pairing.last_seq and not self._finished:
            steps.append(self._core.finish())
            self._finished = True
            return True
        return False

    async def _clustered(self, steps: list[Step]) -> _Clustered:
        outputs = [output for step in steps for output in self._outputs(step)]
        # with the block that closes their pairs, as only then the position moves past them
        done = self._core.processed
        dead = [output for seq, output in self._dead if seq <= done]
        self._dead = [(seq, output) for seq, output in self._dead if seq > done]
        parts = await anyio.to_thread.run_sync(self._core.dump)
        if self._finished:
            parts = {**parts, _FINISHED: b"1"}
        return _Clustered([*dead, *outputs], parts, done)

    def _outputs(self, step: Step) -> list[Outgoing]:
        wire = self._wire
        outputs = [
            wire.out("assignments", a.request_id, a, partition=partition_of(a.seq, wire.partitions))
            for a in step.assignments
        ]
        outputs += [wire.out("clusters", str(c.cluster_id), c) for c in step.clusters]
        outputs += [wire.out("evidence", str(e.cluster_id), e) for e in step.evidence]
        if step.regions is not None:
            outputs.append(wire.out("regions", str(step.regions.epoch), step.regions))
        return outputs
