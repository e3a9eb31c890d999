"""The pairs that somebody still needs, each kept once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from contraflow.validator.types import TextPair

__all__ = ["PairStore"]

LONGEST = 2000
"""Characters of a text that are kept."""


class PairStore:
    """Pairs by ``seq`` with a count of their holders; the last to release one lets it go."""

    def __init__(self) -> None:
        self._pairs: dict[int, TextPair] = {}
        self._holders: Counter[int] = Counter()
        self._parts: dict[int, bytes] = {}

    def __getitem__(self, seq: int) -> TextPair:
        return self._pairs[seq]

    def hold(self, pair: TextPair) -> int:
        """Keep a pair for one more holder; returns its ``seq``."""
        if pair.seq not in self._pairs:
            texts = {arm: text[:LONGEST] for arm, text in pair.texts.items()}
            self._pairs[pair.seq] = msgspec.structs.replace(pair, texts=texts)
            self._parts[pair.seq] = msgspec.msgpack.encode(self._pairs[pair.seq])
        self._holders[pair.seq] += 1
        return pair.seq

    def release(self, seq: int) -> None:
        """One holder less."""
        self._holders[seq] -= 1
        if not self._holders[seq]:
            del self._holders[seq], self._pairs[seq], self._parts[seq]

    def dump(self) -> dict[str, bytes]:
        """The pairs; their holders are known to themselves."""
        return {f"pair:{seq}": part for seq, part in self._parts.items()}

    def load(self, parts: Mapping[str, bytes]) -> None:
        """Restore the pairs, held by nobody yet."""
        for name, part in parts.items():
            if name.startswith("pair:"):
                pair = msgspec.msgpack.decode(part, type=TextPair)
                self._pairs[pair.seq], self._parts[pair.seq] = pair, part

    def rehold(self, seq: int) -> None:
        """A holder is back after a restart."""
        self._holders[seq] += 1
