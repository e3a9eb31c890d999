"""What each way claims, in one form: a cluster, a direction, and the discordant pairs that speak for it or against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from contraflow.clusterer.core import Clusterer, ClustererConfig
from contraflow.embedder.encoder import Encoder
from contraflow.pairs import BLOCK, Pair
from contraflow.results import Results
from contraflow.validator import author
from sides.pipelines import pair_of
from sides.texts import Stored

__all__ = ["Claimed", "claims_of_ring", "claims_of_tests", "clustered_again", "sources_of"]

READ = 64
"""Pairs that a claim's words are taken from."""


class Claimed(NamedTuple):
    """A cluster that is claimed to differ, ``direction`` +1 or -1. ``centroids`` are those at the claim, ``cluster`` its row.

    ``prompts`` and ``signs`` are of its discordant pairs: the prompt, and +1 if the pair speaks for the claim, else -1.
    ``words`` say what its texts say.
    """

    cluster: int
    centroids: NDArray[np.float32]
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
    labels, pairs, direction, centroids = (kept[name] for name in ("labels", "pairs", "direction", "centroids"))
    claimed = np.flatnonzero(kept["claimed"]).tolist()
    return [_claim(c, centroids, int(direction[c]), labels == c, pairs, stored) for c in claimed]


def claims_of_ring(results: Results, stored: Stored, encoder: Encoder) -> list[Claimed]:
    """The claims, with the pairs that each was made from."""
    assert results.regions is not None, "a run that is done has told its regions"
    born = {cluster.cluster_id: cluster.born_at for cluster in results.clusters}
    placed = [a for a in results.assignments if not a.failed]
    seqs = np.array([a.seq for a in placed])
    labels = np.array([[a.arms[arm].cluster_id for arm in results.arms] for a in placed])
    pairs = np.array([pair_of(results, a.request_id, stored.spec.draws) for a in placed])
    waiting = sorted(results.regions.claims, key=lambda claim: claim.claimed_at)
    claims = []
    for clusterer in clustered_again(results, encoder):
        while waiting and waiting[0].claimed_at <= clusterer.processed and clusterer.warm is None:
            claim = waiting.pop(0)
            slots = clusterer.kmeans.slots
            ids = [clusterer.lives[int(slot)].cluster_id for slot in slots]
            counted = (born[claim.cluster_id] < seqs) & (seqs <= claim.claimed_at)
            inside, centroids = labels[counted] == claim.cluster_id, clusterer.kmeans.means[slots]
            row = ids.index(claim.cluster_id)
            claims.append(_claim(row, centroids, claim.direction, inside, pairs[counted], stored))
    return claims


def clustered_again(results: Results, encoder: Encoder) -> Iterator[Clusterer]:
    """The clusterer of a run over stored texts as it was after each block: a run keeps its newest centroids alone."""
    resolved = results.resolved
    config = ClustererConfig(
        arms=tuple(results.arms),
        reference=results.reference,
        dim=encoder.dim,
        warm_start=resolved["warm_start"],
        start=resolved["clusters_start"],
        max_clusters=resolved["experiment"]["clusters"]["max"],
        epoch=resolved["epoch"],
        alpha=resolved["experiment"]["alpha"],
        seed=resolved["experiment"]["seed"],
    )
    clusterer, every = Clusterer(config), results.assignments
    with threadpool_limits(1):  # as in the ring: sums depend on how they are cut
        for start in range(0, len(every), BLOCK):
            block = [_answered(results, a.request_id, encoder) for a in every[start : start + BLOCK]]
            clusterer.process(block)
            yield clusterer


def _answered(results: Results, request_id: str, encoder: Encoder) -> Pair:
    answers = [results.texts[request_id][arm] for arm in results.arms]
    texts, tokens = tuple(a.text for a in answers), tuple(a.completion_tokens for a in answers)
    first = answers[0]
    vectors = encoder.encode(texts)[0]
    return Pair(first.seq, request_id, first.prompt_id, first.origin, vectors, texts, tokens, (None,) * len(answers))


def _claim(
    cluster: int,
    centroids: NDArray[np.float32],
    direction: int,
    inside: NDArray[np.bool_],
    pairs: NDArray[np.int64],
    stored: Stored,
) -> Claimed:
    """``inside`` (pairs, 2) says which texts are in the cluster, ``pairs`` which stored pairs they are."""
    discordant = inside[:, 0] != inside[:, 1]
    signs = np.where(inside[discordant, 1], 1, -1) * direction
    there, leading = pairs[discordant], int(direction > 0)
    read = there[signs > 0][:READ]
    texts = [[stored.texts[2 * p + arm] for p in read] for arm in (leading, 1 - leading)]
    words = ", ".join(author.write(*texts).terms)
    return Claimed(cluster, centroids, direction, stored.prompt_of[there], signs, words)
