"""What each way claims, in one form: a cluster, a direction, and the discordant pairs that speak for it or against."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contraflow.results import Results
from contraflow.validator import author
from sides.pipelines import pair_of
from sides.texts import Stored

__all__ = ["Claimed", "claims_of_ring", "claims_of_tests", "sources_of"]

READ = 64
"""Pairs that a claim's words are taken from."""


class Claimed(NamedTuple):
    """A cluster that is claimed to differ. ``cluster`` is the row of its centroid, ``direction`` +1 or -1.

    ``prompts`` and ``signs`` are of its discordant pairs: the prompt, and +1 if the pair speaks for the claim, else -1.
    ``words`` say what its texts say.
    """

    cluster: int
    direction: int
    prompts: NDArray[np.int64]
    signs: NDArray[np.int64]
    words: str = ""


def sources_of(results: Results, stored: Stored) -> dict[str, str]:
    """What each text that the run has seen is from."""
    sources = {}
    for request_id in results.texts:
        row = len(results.arms) * pair_of(results, request_id, stored.spec.draws)
        for r in range(row, row + len(results.arms)):
            sources[stored.texts[r]] = str(stored.sources[r])
    return sources


def claims_of_tests(kept: Any, stored: Stored) -> list[Claimed]:
    """The clusters that Fisher and Benjamini-Hochberg claim, with every discordant pair; ``kept`` is ``found.npz``."""
    labels, pairs, direction = kept["labels"], kept["pairs"], kept["direction"]
    return [
        _claim(int(c), int(direction[c]), labels == c, pairs, stored) for c in np.flatnonzero(kept["claimed"]).tolist()
    ]


def claims_of_ring(results: Results, ids: NDArray[np.int64], stored: Stored) -> list[Claimed]:
    """The claims, with the pairs that each was made from."""
    assert results.regions is not None, "a run that is done has told its regions"
    born = {cluster.cluster_id: cluster.born_at for cluster in results.clusters}
    placed = [a for a in results.assignments if not a.failed]
    seqs = np.array([a.seq for a in placed])
    labels = np.array([[a.arms[arm].cluster_id for arm in results.arms] for a in placed])
    pairs = np.array([pair_of(results, a.request_id, stored.spec.draws) for a in placed])
    claims = []
    for claim in results.regions.claims:
        counted = (born[claim.cluster_id] < seqs) & (seqs <= claim.claimed_at)
        row = int(np.flatnonzero(ids == claim.cluster_id)[0])
        inside = labels[counted] == claim.cluster_id
        claims.append(_claim(row, claim.direction, inside, pairs[counted], stored))
    return claims


def _claim(
    cluster: int, direction: int, inside: NDArray[np.bool_], pairs: NDArray[np.int64], stored: Stored
) -> Claimed:
    """``inside`` (pairs, 2) says which texts are in the cluster, ``pairs`` which stored pairs they are."""
    discordant = inside[:, 0] != inside[:, 1]
    signs = np.where(inside[discordant, 1], 1, -1) * direction
    there, leading = pairs[discordant], int(direction > 0)
    read = there[signs > 0][:READ]
    texts = [[stored.texts[2 * p + arm] for p in read] for arm in (leading, 1 - leading)]
    words = ", ".join(author.write(*texts).terms)
    return Claimed(cluster, direction, stored.prompt_of[there], signs, words)
