"""Runs a consumer over a run: beside the ring while it goes on, or afterwards, until the run's input is read to its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import anyio

from contraflow.consumers.calling import open_caller
from contraflow.consumers.declaring import Consumer, check_name
from contraflow.consumers.placing import Start, place
from contraflow.consumers.registering import register
from contraflow.consumers.service import ConsumerService
from contraflow.errors import Fenced
from contraflow.log.metered import MeteredLog
from contraflow.log.opening import open_log
from contraflow.log.protocol import Log, Partition
from contraflow.monitor.endpoint import Address, open_metrics
from contraflow.runs import RunFolder
from contraflow.runtime.drain import Drain
from contraflow.runtime.ending import until_done
from contraflow.runtime.lanes import INTERVAL, run_lanes
from contraflow.runtime.patience import patiently
from contraflow.runtime.signals import drain_on_signals
from contraflow.runtime.supervisor import RunStopped, Service, Supervisor
from contraflow.topics import TOPICS, dead_letters, specs
from contraflow.wire import Wire

if TYPE_CHECKING:
    from contraflow.runtime.meter import Meter

__all__ = ["Consumed", "Names", "consume", "run_consumer"]

_LOOK = 0.2
"""Seconds between looks at whether the group has read everything of a run that is done."""


@dataclass(frozen=True, slots=True)
class Consumed:
    """What a consumer did in this process: events ``read``, ``written`` and ``dead``, and ``why`` it ended."""

    read: int
    written: int
    dead: int
    why: str


@dataclass(frozen=True, slots=True)
class Names:
    """What a consumer's place in a run is called on the log; ``group`` is the consumer's name, or one beside it."""

    wire: Wire
    consumer: Consumer[Any, Any]
    group_name: str

    @property
    def group(self) -> str:
        """Whose positions it keeps."""
        return self.wire.topic(self.group_name)

    @property
    def input(self) -> list[Partition]:
        """The partitions that it reads."""
        return self.wire.all(self.consumer.topic)

    @property
    def dead(self) -> str:
        """Its own dead letters: they are not those of the ring."""
        return dead_letters(f"{self.wire.topic(self.consumer.topic)}.{self.group_name}")

    @property
    def topics(self) -> list[tuple[str, int, Literal["delete", "compact"]]]:
        """The topics that it writes."""
        output = self.consumer.output
        partitions = TOPICS[self.consumer.topic].partitions(self.wire.partitions)
        outputs = [(self.wire.topic(output.topic), partitions)] if output else []
        return [(name, count, "delete") for name, count in [*outputs, (self.dead, 1)]]


async def consume(
    consumer: Consumer[Any, Any],
    folder: RunFolder,
    *,
    start: Start = "beginning",
    replay: bool = False,
    group: str | None = None,
    drain: Drain | None = None,
    metrics: Address | None = None,
    say: Callable[[str], None] = lambda said: None,
) -> Consumed:
    """Give a run's events to a consumer until the run is done and everything is read, or draining is asked for.

    It starts at ``start`` where its group has no position yet; with ``replay`` everywhere, and what it wrote before is
    written again, with the same keys. ``group`` keeps positions and dead letters of its own beside the consumer's.
    ``metrics`` are served at an address, which it says.

    :raises ConsumerError: if the consumer cannot go on; nothing of the failed batch is committed.
    :raises RunStopped: if it failed for good in another way.
    """
    drain = drain or Drain()
    check_name(group or consumer.name)
    wire = Wire(folder.run, folder.resolved["experiment"]["partitions"])
    names = Names(wire, consumer, group or consumer.name)
    register(folder, consumer)
    async with open_log(folder) as log, drain_on_signals(drain), open_metrics(metrics, folder.run, log, say) as counted:
        ring = [] if folder.done else specs(folder.run, wire.partitions)  # it may have started before its run
        await log.create_topics([*ring, *names.topics])
        # another group beside the consumer's own may well write a second time
        output = wire.topic(consumer.output.topic) if consumer.output and group in (None, consumer.name) else None
        placed = await place(log, names.group, names.input, start, replay=replay, output=output)
        say(_introduction(names, start, replay, bool(placed)))
        return await run_consumer(log, names, drain, counted.of(names.group_name) if counted else None)


def _introduction(names: Names, start: Start, replay: bool, placed: bool) -> str:
    output = names.consumer.output
    writes = f", writes {names.wire.topic(output.topic)}" if output else ""
    place = "the beginning" if start == "beginning" else f"offset {start}" if isinstance(start, int) else start
    where = f"from {place}" if placed else "where it stopped"
    again = " (everything from there is done again: outputs are written again, with the same keys)" if replay else ""
    topic = names.wire.topic(names.consumer.topic)
    return f"{names.group_name} reads {topic} {where}{again}{writes}; its dead letters go to {names.dead}"


async def run_consumer(log: Log, names: Names, drain: Drain, meter: Meter | None = None) -> Consumed:
    """Run a consumer whose topics exist, until the run is done and everything is read; ``meter`` counts what it does.

    :raises ConsumerError: as ``consume`` does.
    :raises RunStopped: as ``consume`` does.
    """
    consumer = names.consumer
    async with open_caller(consumer) as caller:
        service = ConsumerService(names.wire, consumer, caller)
        lanes: Service = partial(
            run_lanes,
            MeteredLog(log, meter) if meter else log,
            names.group,
            names.wire.topic(consumer.topic),
            service,
            drain,
            batch=consumer.batch,
            # a sink writes before it commits: no more than a batch may be written again
            interval=INTERVAL if consumer.output else 0.0,
            gather=consumer.gather,
            dead=names.dead,
        )
        watch = partial(_drain_at_the_end, log, names, drain)
        why = ""
        try:
            counted = partial(meter.run, lanes) if meter else lanes
            await Supervisor(drain).run(
                {f"consumer {names.group_name}": counted, f"watch over {names.wire.run}": watch}
            )
        except RunStopped as stopped:
            if not isinstance(stopped.__cause__, Fenced):
                raise
            why = f"another {names.group_name} has taken over, and goes on"
        return Consumed(service.read, service.written, service.dead, why or drain.why)


async def _drain_at_the_end(log: Log, names: Names, drain: Drain) -> None:
    await drain.unless(patiently(partial(_until_read, log, names), f"who waits for the end of {names.wire.run}"))
    drain.request("the run is done, and everything is read")


async def _until_read(log: Log, names: Names) -> None:
    await until_done(log, names.wire)
    while await _behind(log, names.group, names.input):  # noqa: ASYNC110  # another member may have to read it
        await anyio.sleep(_LOOK)


async def _behind(log: Log, group: str, partitions: Sequence[Partition]) -> bool:
    """Whether there is a record that the group, with all its members, has not processed. Ends of Kafka do not tell."""
    at = await log.positions(group, partitions)
    return bool(await log.timestamps([(p, at[p].offset if p in at else 0) for p in partitions]))
