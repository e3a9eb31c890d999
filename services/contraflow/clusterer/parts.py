"""State as named parts, so that a commit writes only what changed."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "pack", "pack_array", "unpack", "unpack_array"]


def pack(value: Any) -> bytes:
    """A plain value as bytes."""
    return msgspec.msgpack.encode(value)


def unpack(part: bytes) -> Any:
    """What ``pack`` was given (tuples come back as lists)."""
    return msgspec.msgpack.decode(part)


def pack_array(array: NDArray[Any]) -> list[Any]:
    """An array as something that ``pack`` takes."""
    return [array.dtype.str, list(array.shape), np.ascontiguousarray(array).tobytes()]


def unpack_array(packed: list[Any]) -> NDArray[Any]:
    """The array again."""
    kind, shape, data = packed
    return np.frombuffer(data, kind).reshape(shape).copy()


class Rows:
    """Bytes of the rows of a ring, made again only for rows that changed."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._parts: dict[int, bytes] = {}
        self._dirty: set[int] = set()

    def touch(self, row: int) -> None:
        """Note that a row changed."""
        self._dirty.add(row)

    def drop(self, row: int) -> None:
        """Note that a row is gone."""
        self._dirty.discard(row)
        self._parts.pop(row, None)

    def dump(self, make: Any) -> dict[str, bytes]:
        """Every row's part; ``make(row)`` gives a plain value."""
        for row in sorted(self._dirty):
            self._parts[row] = pack(make(row))
        self._dirty.clear()
        return {f"{self._prefix}:{row}": part for row, part in self._parts.items()}

    def load(self, parts: dict[str, bytes]) -> dict[int, Any]:
        """The rows kept in ``parts``, in their order."""
        mine = {int(k.partition(":")[2]): v for k, v in parts.items() if k.startswith(f"{self._prefix}:")}
        self._parts = dict(sorted(mine.items()))
        return {row: unpack(part) for row, part in self._parts.items()}
