"""A run's clusters as they are listed, one by one and by themes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from contraflow.clusterer.themes import Branch, themes_of
from contraflow.events import Claim, Cluster, ClusterState, Text
from contraflow.results import Results
from contraflow.run_log import RunLog
from contraflow.words import content_words, distinctive

__all__ = ["Listed", "Theme", "list_clusters", "list_themes"]

COUNTED = 20_000
"""Themes are named after the words of about so many texts, evenly spaced."""


class Listed(msgspec.Struct, frozen=True):
    """A cluster, how many answers fell into it since its birth, and the claims about it."""

    cluster: Cluster
    answers: int
    claims: tuple[Claim, ...]


class Theme(msgspec.Struct, frozen=True):
    """Clusters that resemble each other: their words, their answers by arm, and how many claims are about them.

    ``clusters`` are their ids, those with claims and the largest first. Large themes have ``parts``.
    """

    keywords: tuple[str, ...]
    counts: dict[str, int]
    claims: int
    clusters: tuple[int, ...]
    parts: tuple[Theme, ...] = ()


def list_clusters(results: Results) -> list[Listed]:
    """Every cluster: claimed ones first, then those that are still there, the largest first."""
    claims: dict[int, list[Claim]] = {}
    for claim in results.regions.claims if results.regions else ():
        claims.setdefault(claim.cluster_id, []).append(claim)
    listed = [Listed(c, sum(c.counts.values()), tuple(claims.get(c.cluster_id, ()))) for c in results.clusters]
    return sorted(listed, key=lambda row: (not row.claims, row.cluster.state != ClusterState.ACTIVE, -row.answers))


def list_themes(results: Results) -> list[Theme]:
    """The clusters that hold answers and are still there, in themes; those with most answers first."""
    rows = [row for row in list_clusters(results) if row.cluster.state is ClusterState.ACTIVE and row.answers]
    if not rows:
        return []
    centroids = np.stack([np.frombuffer(row.cluster.centroid, "<f4") for row in rows])
    return _themes(themes_of(centroids), rows, _words(results))


def _themes(branches: Sequence[Branch], rows: Sequence[Listed], words: Mapping[int, Counter[str]]) -> list[Theme]:
    inside = [[rows[i] for i in branch.members] for branch in branches]
    counts = [_total(words.get(row.cluster.cluster_id, Counter()) for row in of) for of in inside]
    everywhere = _total(counts)
    average = everywhere.total() / max(1, len(branches))
    themes = [
        Theme(
            keywords=distinctive(mine, everywhere, average, 8),
            counts=dict(_total(Counter(row.cluster.counts) for row in of)),
            claims=sum(len(row.claims) for row in of),
            clusters=tuple(row.cluster.cluster_id for row in of),
            parts=tuple(_themes(branch.parts, rows, words)),
        )
        for branch, of, mine in zip(branches, inside, counts, strict=True)
    ]
    return sorted(themes, key=lambda theme: -sum(theme.counts.values()))


def _total(counters: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _words(results: Results) -> dict[int, Counter[str]]:
    """In how many texts of each cluster a word is."""
    heirs, places = results.heirs, results.places
    step = max(1, len(places.seqs) * len(results.arms) // COUNTED)
    rows = {places.request(row): row for row in range(0, len(places.seqs), step)}
    words: dict[int, Counter[str]] = {}

    async def count(log: RunLog) -> None:
        async for text in log.events("texts", Text, rows):
            cluster = int(places.clusters[text.arm][rows[text.request_id]])
            words.setdefault(heirs.get(cluster, cluster), Counter()).update(content_words(text.text))

    results.read(count)
    return words
