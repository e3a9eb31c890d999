"""Which cluster each text of a block fell into, as events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from contraflow.clusterer.kmeans import Nearest
from contraflow.clusterer.types import Life
from contraflow.events import Assignment, Placement
from contraflow.pairs import Pair

__all__ = ["assignments"]


def assignments(
    block: Sequence[Pair],
    number: int,
    arms: Sequence[str],
    good: Sequence[Pair] = (),
    nearest: Nearest | None = None,
    lives: Mapping[int, Life] | None = None,
) -> list[Assignment]:
    """The assignments of block ``number``: those of its ``good`` pairs from ``nearest``, (good x arms,) rows; others failed."""
    placed = _placements(arms, good, nearest, lives or {}) if nearest is not None else {}
    return [
        Assignment(
            seq=pair.seq,
            request_id=pair.request_id,
            prompt_id=pair.prompt_id,
            origin=pair.origin,
            snapshot=number,
            arms=placed.get(pair.seq, {}),
            failed=pair.seq not in placed,
        )
        for pair in block
    ]


def _placements(
    arms: Sequence[str], good: Sequence[Pair], nearest: Nearest, lives: Mapping[int, Life]
) -> dict[int, dict[str, Placement]]:
    ids = np.full(max(lives) + 1, -1)
    for slot, life in lives.items():
        ids[slot] = life.cluster_id
    first, second, margin = ids[nearest.first].tolist(), ids[nearest.second].tolist(), nearest.margin.tolist()
    return {
        pair.seq: {
            arm: Placement(cluster_id=first[row], second=second[row], margin=round(margin[row], 6))
            for row, arm in enumerate(arms, i * len(arms))
        }
        for i, pair in enumerate(good)
    }
