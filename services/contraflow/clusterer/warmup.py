"""The pairs of the warm start, kept until there are enough to make clusters from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from contraflow.clusterer.parts import Rows, pack_array, unpack_array
from contraflow.events import Origin
from contraflow.pairs import Pair

__all__ = ["WarmUp"]


class WarmUp:
    """Holds pairs in their order."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self._blocks: list[list[Pair]] = []
        self._rows = Rows("warm")

    @property
    def answered(self) -> int:
        """How many pairs did not fail."""
        return sum(not pair.failed for pair in self.pairs)

    def add(self, block: Sequence[Pair]) -> None:
        """Keep a block."""
        self._rows.touch(len(self._blocks))
        self._blocks.append(list(block))
        self.pairs += block

    def dump(self) -> dict[str, bytes]:
        """The state."""
        return self._rows.dump(lambda row: [_plain(pair) for pair in self._blocks[row]])

    @classmethod
    def load(cls, parts: Mapping[str, bytes]) -> Self:
        """Go on from what ``dump`` gave."""
        warm = cls()
        for block in warm._rows.load(dict(parts)).values():
            warm._blocks.append([_pair(plain) for plain in block])
            warm.pairs += warm._blocks[-1]
        return warm


def _plain(pair: Pair) -> list[Any]:
    return [*pair[:3], str(pair.origin), None if pair.vectors is None else pack_array(pair.vectors), *pair[5:]]


def _pair(plain: list[Any]) -> Pair:
    seq, request, prompt, origin, vectors, texts, tokens, errors = plain
    array = None if vectors is None else unpack_array(vectors)
    return Pair(seq, request, prompt, Origin(origin), array, tuple(texts), tuple(tokens), tuple(errors))
