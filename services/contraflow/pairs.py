"""A pair: one request and every arm's answer to it, the unit of all that contraflow counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contraflow.events import Origin

__all__ = ["BLOCK", "Pair"]

BLOCK = 32
"""Pairs are processed in blocks of this many, cut by ``seq``; each block is assigned with one snapshot."""


class Pair(NamedTuple):
    """One request answered (or failed) by all arms; everything by arm is in the experiment's order of arms.

    ``vectors`` is (arms, dim) float32 of unit vectors, or None if the pair is closed as failed.
    """

    seq: int
    request_id: str
    prompt_id: str
    origin: Origin
    vectors: NDArray[np.float32] | None
    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    errors: tuple[str | None, ...]

    @property
    def failed(self) -> bool:
        """Whether an arm could not answer, which closes the request for every arm."""
        return self.vectors is None
