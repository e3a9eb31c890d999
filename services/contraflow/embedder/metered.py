"""An embedding cache that counts what it found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from contraflow.embedder.cache import Embedded

if TYPE_CHECKING:
    from contraflow.runtime.metrics import Metrics

__all__ = ["metered"]

Embed = Callable[[Sequence[str]], Embedded]


def metered(embed: Embed, metrics: Metrics) -> Embed:
    """The same function; texts found in the cache, and texts not found there, are counted."""

    def counted(texts: Sequence[str]) -> Embedded:
        found = embed(texts)
        hits = int(np.count_nonzero(found.cached))
        metrics.cache_hits.inc(hits)
        metrics.cache_misses.inc(len(texts) - hits)
        return found

    return counted
