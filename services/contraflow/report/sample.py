"""The answers on the report's map: a sample of all, drawn with a fixed seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from contraflow.events import Embedding
from contraflow.results import Results
from contraflow.run_log import RunLog

__all__ = ["Answer", "draw_answers"]


class Answer(NamedTuple):
    """An answer that was clustered; ``vector`` has the little-endian bytes of its float32s."""

    arm: str
    text: str
    cluster: int
    vector: bytes


def draw_answers(results: Results, most: int) -> list[Answer]:
    """At most so many answers by ``seq``, each of all that were clustered as likely as any other."""
    places, arms = results.places, sorted(results.arms)
    # at random: every second or fourth answer would be of one arm
    drawn = np.sort(np.random.default_rng(0).permutation(len(places.seqs) * len(arms))[:most])
    wanted = {
        (places.request(row), arms[column]): int(places.clusters[arms[column]][row])
        for row, column in zip(*np.divmod(drawn, len(arms)), strict=True)
    }

    async def read(log: RunLog) -> dict[tuple[str, str], Answer]:
        found = {}
        async for e in log.events("embeddings", Embedding, {request for request, _ in wanted}):
            at = e.request_id, e.arm
            if at in wanted:
                found[at] = Answer(e.arm, e.text, wanted[at], e.vector)
        return found

    found = results.read(read)
    return [found[at] for at in wanted if at in found]
