"""State as named parts, so that a commit writes only what changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "pack", "pack_array", "pack_row", "unpack", "unpack_array", "unpack_row"]


def pack(value: Any) -> bytes:
    """A plain value as bytes."""
    return msgspec.msgpack.encode(value)


def unpack(part: bytes) -> Any:
    """What ``pack`` was given (tuples come back as lists)."""
    return msgspec.msgpack.decode(part)


def pack_array(array: NDArray[Any]) -> list[Any]:
    """An array as something that ``pack`` takes."""
    return [array.dtype.str, list(array.shape), array.tobytes()]


def unpack_array(packed: Sequence[Any]) -> NDArray[Any]:
    """The array again, writable."""
    kind, shape, data = packed
    return np.frombuffer(data, kind).reshape(shape).copy()


def pack_row(arrays: Sequence[NDArray[Any]], row: int) -> list[bytes]:
    """One row of each of several arrays."""
    return [array[row].tobytes() for array in arrays]


def unpack_row(arrays: Sequence[NDArray[Any]], row: int, packed: Sequence[bytes]) -> None:
    """Put a row back into each of the arrays."""
    for array, data in zip(arrays, packed, strict=True):
        array[row] = np.frombuffer(data, array.dtype).reshape(array.shape[1:])


class Rows:
    """The parts ``<prefix>:<row>``, made again only for rows that changed; others stay the same objects."""

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

    def dump(self, make: Callable[[int], Any]) -> dict[str, bytes]:
        """Every row's part; ``make(row)`` gives a plain value."""
        for row in sorted(self._dirty):
            self._parts[row] = pack(make(row))
        self._dirty.clear()
        return {f"{self._prefix}:{row}": part for row, part in self._parts.items()}

    def load(self, parts: Mapping[str, bytes]) -> dict[int, Any]:
        """The rows kept in ``parts``, in their order."""
        mine = {
            int(name.partition(":")[2]): part for name, part in parts.items() if name.startswith(f"{self._prefix}:")
        }
        self._parts = dict(sorted(mine.items()))
        return {row: unpack(part) for row, part in self._parts.items()}
