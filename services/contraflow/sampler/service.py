"""The sampler on the log: regions in; requests, steering and the end of the run out. The ring's one brake."""

from __future__ import annotations

import anyio
import anyio.to_thread

from contraflow.events import Control, ControlAction, Regions, decode
from contraflow.log.protocol import Log, Outgoing, Partition, Reader
from contraflow.runtime.clock import Clock
from contraflow.runtime.drain import Drain
from contraflow.runtime.singleton import Singleton
from contraflow.sampler.core import Plan, Sampler
from contraflow.wire import Wire, partition_of

__all__ = ["SamplerService"]

_ALL = 1 << 62


class SamplerService:
    """Plans an epoch as soon as the Regions that it depends on are there; writes ``complete`` after the last.

    ``minutes`` bounds the time that this process decodes; it is the one budget that depends on a clock.
    """

    def __init__(
        self,
        log: Log,
        wire: Wire,
        sampler: Sampler,
        drain: Drain,
        *,
        minutes: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._wire = wire
        self._sampler = sampler
        self._drain = drain
        self._minutes = minutes
        self._clock = clock or Clock()
        self._singleton = Singleton(log, wire, "sampler", ["regions"], "requests")
        self._regions: dict[int, Regions] = {}

    async def run(self) -> None:
        """Plan until the run is complete, then wait until draining is requested."""
        parts, reader = await self._singleton.start()
        if parts:
            self._sampler.load(parts)
        started = self._clock.now()
        try:
            while not self._drain.requested:
                await self._plan_what_can_be(started)
                await self._read(reader)
        finally:
            with anyio.CancelScope(shield=True):
                await reader.close()
                await self._singleton.close()

    async def _read(self, reader: Reader) -> None:
        records = await self._drain.fetch(reader, 100)
        for record in records:
            regions = decode(record.value or b"", Regions)
            self._singleton.backlog.read(Partition(record.topic, 0), record.offset, regions.epoch)
            if not regions.final:
                self._regions[regions.epoch] = regions
        if records and self._sampler.complete is not None:
            await self._commit([])  # no plan will need them: nobody should think that it is behind

    async def _plan_what_can_be(self, started: float) -> None:
        while self._sampler.complete is None and not self._drain.requested:
            if self._minutes is not None and self._clock.now() - started > self._minutes * 60:
                self._sampler.stop(f"budget: {self._minutes:g} minutes")
                await self._commit([self._control(self._sampler.complete)])
                return
            needs = self._sampler.needs()
            if needs is not None and needs not in self._regions:
                return
            regions = self._regions.pop(needs) if needs is not None else None
            plan = await anyio.to_thread.run_sync(self._sampler.plan, regions)
            await self._commit(self._outputs(plan))

    async def _commit(self, outputs: list[Outgoing]) -> None:
        planned_from = self._sampler.epoch - self._sampler.config.in_flight
        needed_no_more = _ALL if self._sampler.complete is not None else planned_from
        await self._singleton.commit(outputs, self._sampler.dump(), needed_no_more)

    def _outputs(self, plan: Plan) -> list[Outgoing]:
        wire = self._wire
        outputs = [
            wire.out("requests", r.request_id, r, partition=partition_of(r.seq, wire.partitions)) for r in plan.requests
        ]
        outputs.append(wire.out("steering", str(plan.steering.epoch), plan.steering))
        if plan.complete is not None:
            outputs.append(self._control(plan.complete))
        return outputs

    def _control(self, why: str | None) -> Outgoing:
        control = Control(run=self._wire.run, action=ControlAction.COMPLETE, last_seq=self._sampler.seq, why=why or "")
        return self._wire.out("control", self._wire.run, control)
