"""The state of a stateful service: named parts, kept as a compacted changelog on the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from contraflow.errors import FormatTooNew
from contraflow.log.protocol import Log, Outgoing, Partition, Position

__all__ = ["Changelog"]

_FORMAT = 2
_POSITIONS = "~positions"
_ALL = 1 << 30


class _Row(msgspec.Struct, frozen=True, array_like=True):
    """A position; format 1 had no count of records."""

    topic: str
    number: int
    offset: int
    metadata: str
    records: int | None = None


class _Positions(msgspec.Struct, frozen=True):
    """The positions that belong to a state, so that one is never restored without the other."""

    format: int
    positions: list[_Row]


class Changelog:
    """Writes only the parts that changed since the last commit, and restores them before the first record is read."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._kept: dict[str, bytes] = {}

    async def restore(self, log: Log) -> tuple[dict[str, bytes], dict[Partition, Position]]:
        """The parts as last committed, and the positions committed with them.

        :raises FormatTooNew: if a newer version of contraflow wrote them.
        """
        parts: dict[str, bytes] = {}
        reader = await log.reader({Partition(self.topic, 0): None})
        try:
            # in one read where the log can: a compaction between two could take a value's tombstone from under it
            while records := await reader.fetch(_ALL, wait=0.0):
                for record in records:
                    if record.value is None:
                        parts.pop(record.key, None)
                    else:
                        parts[record.key] = record.value
        finally:
            await reader.close()
        positions = self._positions(parts.pop(_POSITIONS, None))
        self._kept = dict(parts)
        return parts, positions

    def _positions(self, value: bytes | None) -> dict[Partition, Position]:
        if value is None:
            return {}
        kept = msgspec.msgpack.decode(value, type=_Positions)
        if kept.format > _FORMAT:
            raise FormatTooNew(
                f"{self.topic} was written in state format {kept.format}; this contraflow reads up to {_FORMAT}. "
                "Resume the run with the version that wrote it."
            )
        return {Partition(r.topic, r.number): Position(r.offset, r.metadata, r.records) for r in kept.positions}

    def changes(self, parts: Mapping[str, bytes], positions: Mapping[Partition, Position]) -> list[Outgoing]:
        """The records that bring the changelog to ``parts``; to be committed with ``positions`` in one transaction."""
        changed = []
        for name, part in parts.items():
            if self._kept.get(name) != part:  # at once where it is the same object, as most are
                changed.append(self._record(name, part))
        changed += [self._record(name, None) for name in self._kept if name not in parts]
        self._kept = dict(parts)
        changed.append(self._record(_POSITIONS, _encode_positions(positions.items())))
        return changed

    def _record(self, name: str, part: bytes | None) -> Outgoing:
        return Outgoing(self.topic, 0, name, part)


def _encode_positions(positions: Iterable[tuple[Partition, Position]]) -> bytes:
    return msgspec.msgpack.encode(_Positions(_FORMAT, [_Row(p.topic, p.number, *at) for p, at in sorted(positions)]))
