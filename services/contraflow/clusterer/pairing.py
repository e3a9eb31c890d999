"""Pairs are complete when every arm has answered, and are taken strictly by ``seq`` (statistics, rule 2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contraflow.events import Embedding
from contraflow.pairs import BLOCK, Pair

__all__ = ["Pairing"]


class Pairing:
    """Holds embeddings until their pair is complete, and gives out blocks cut by ``seq``, never by arrival.

    Holds at most the pairs in flight. Records of pairs that were given out before are dropped.
    """

    def __init__(self, arms: Sequence[str], dim: int, processed: int = 0) -> None:
        self._arms = tuple(arms)
        self._dim = dim
        self._waiting: dict[int, dict[str, Embedding]] = {}
        self._given = processed
        self.last_seq: int | None = None

    @property
    def waiting(self) -> int:
        """How many pairs are held, complete or not."""
        return len(self._waiting)

    def add(self, embedding: Embedding) -> None:
        """Take one arm's answer; the first of an arm stays."""
        if embedding.seq > self._given and embedding.arm in self._arms:
            self._waiting.setdefault(embedding.seq, {}).setdefault(embedding.arm, embedding)

    def next_block(self) -> list[Pair] | None:
        """The next whole block if all of its pairs are complete; shorter only at the end of the run."""
        end = (self._given // BLOCK + 1) * BLOCK
        if self.last_seq is not None:
            end = min(end, self.last_seq)
        seqs = range(self._given + 1, end + 1)
        if not seqs or any(len(self._waiting.get(seq, ())) < len(self._arms) for seq in seqs):
            return None
        self._given = end
        return [self._pair(self._waiting.pop(seq)) for seq in seqs]

    def _pair(self, answers: dict[str, Embedding]) -> Pair:
        ordered = [answers[arm] for arm in self._arms]
        # what was buried on the way has lost its prompt: any arm that kept it can tell
        known = next((answer for answer in ordered if answer.prompt_id), ordered[0])
        return Pair(
            seq=known.seq,
            request_id=known.request_id,
            prompt_id=known.prompt_id,
            origin=known.origin,
            vectors=self._vectors(ordered),
            texts=tuple([answer.text for answer in ordered]),
            tokens=tuple([answer.completion_tokens for answer in ordered]),
            errors=tuple([answer.error for answer in ordered]),
        )

    def _vectors(self, answers: Sequence[Embedding]) -> np.ndarray | None:
        if any(answer.error is not None for answer in answers):
            return None
        return np.frombuffer(b"".join(answer.vector for answer in answers), dtype="<f4").reshape(-1, self._dim)
