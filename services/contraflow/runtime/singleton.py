"""A stateful service: fixed partitions, one transactional id, and a state that commits with what was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio

from contraflow.log.protocol import Log, Outgoing, Position, Producer, Reader
from contraflow.runtime.backlog import Backlog
from contraflow.runtime.state import Changelog
from contraflow.runtime.written import any_record, positions_lost
from contraflow.wire import Wire

__all__ = ["Singleton"]


class Singleton:
    """Owns a service's transactional id; restores its state and commits it with outputs and positions.

    ``output`` is a topic that it writes. A second copy fences the first, which then fails with Fenced and is not
    restarted.
    """

    def __init__(self, log: Log, wire: Wire, name: str, inputs: Sequence[str], output: str) -> None:
        self._log = log
        self._group = f"{wire.run}.{name}"
        self._inputs = [partition for topic in inputs for partition in wire.all(topic)]
        self._output = wire.all(output)
        self._changelog = Changelog(wire.topic(f"state-{name}"))
        self._producer: Producer | None = None
        self.backlog = Backlog({})

    async def start(self) -> tuple[dict[str, bytes], Reader]:
        """Fence earlier owners, restore; returns the state's parts and a reader of the inputs at their positions.

        :raises PositionsLost: if there is output, or a committed position, and no state: the changelog was emptied.
        """
        self._producer = await self._log.producer(self._group)
        try:
            return await self._restore()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.close()
            raise

    async def _restore(self) -> tuple[dict[str, bytes], Reader]:
        parts, kept = await self._changelog.restore(self._log)
        # a group without members may lose its positions; those kept with the state are never older
        known = {**await self._log.positions(self._group, self._inputs), **kept}
        if not kept and (known or await any_record(self._log, self._output)):
            raise positions_lost(self._group, f"its changelog {self._changelog.topic}")
        positions = {p: known.get(p, Position(0, records=0)) for p in self._inputs}
        self.backlog = Backlog(positions)
        return parts, await self._log.reader({p: at.offset for p, at in positions.items()})

    async def commit(self, outputs: Sequence[Outgoing], parts: Mapping[str, bytes], processed: int) -> None:
        """Write outputs, the changed parts of the state, and the positions of what is processed, all or nothing.

        ``processed`` is the last ``seq`` (or epoch) after which no record read is needed again.
        """
        assert self._producer is not None, "start() comes first"
        positions = self.backlog.positions(processed)
        changes = self._changelog.changes(parts, positions)
        await self._producer.commit([*outputs, *changes], group=self._group, positions=positions)

    async def close(self) -> None:
        """Give the transactional id's producer back."""
        if self._producer is not None:
            await self._producer.close()
