"""Which records of a partition are finished, when they finish out of order.

The committed offset is the smallest delivered and unfinished one; a bitmap of those finished beyond it travels in the
position's metadata. So whatever is finished can be committed at any moment, and nothing committed is done twice.
"""

from __future__ import annotations

import base64

from contraflow.log.protocol import Position

__all__ = ["MAX_SPAN", "Progress", "grown"]

MAX_SPAN = 22_000
"""Offsets that a bitmap may span before no more are read: a position's metadata holds 23,600, a fetch brings hundreds."""


def grown(records: int | None, more: int) -> int | None:
    """A count of records that has grown; what is not known stays so."""
    return None if records is None else records + more


class Progress:
    """Tracks delivered and finished offsets of one partition, from its committed position on."""

    def __init__(self, position: Position | None = None) -> None:
        self._next = position.offset if position else 0
        self._open: dict[int, None] = {}
        self._finished: set[int] = set()
        self._records = position.records if position else 0
        if position and position.metadata:
            self._finished = _unpack(position.offset, position.metadata)

    def deliver(self, offset: int) -> bool:
        """Note that ``offset`` was read, in growing order; False if it was finished before and must be skipped."""
        self._next = offset + 1
        if offset in self._finished:
            return False
        self._open[offset] = None
        return True

    def finish(self, offset: int) -> None:
        """Note that the work of a delivered offset is done."""
        del self._open[offset]
        self._finished.add(offset)
        self._records = grown(self._records, 1)

    @property
    def open(self) -> int:
        """How many delivered records are unfinished."""
        return len(self._open)

    @property
    def span(self) -> int:
        """How many offsets a bitmap would have to cover now."""
        return self._next - next(iter(self._open), self._next)

    def position(self) -> Position:
        """What to commit now."""
        # offsets are delivered in growing order, and a dict keeps it: the first open one is the smallest
        offset = next(iter(self._open), self._next)
        self._finished = {done for done in self._finished if done >= offset}
        return Position(offset, _pack(offset, self._finished), self._records)


def _pack(offset: int, finished: set[int]) -> str:
    bits = 0
    for done in finished:
        bits |= 1 << (done - offset)
    return base64.b85encode(bits.to_bytes((bits.bit_length() + 7) // 8, "little")).decode()


def _unpack(offset: int, metadata: str) -> set[int]:
    bits = int.from_bytes(base64.b85decode(metadata), "little")
    return {offset + i for i in range(bits.bit_length()) if bits >> i & 1}
