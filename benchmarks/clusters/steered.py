"""The clustering that a steered run leaves behind, beside a uniform run's and beside clusterings of everything."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from clusters.judging import Floats, Judged, Labels, Row, judged, offline
from contraflow.events import Origin
from contraflow.sampler.rules import RuleName
from workers import for_each
from worlds.corpus import Corpus
from worlds.loading import load_setups
from worlds.sentences import SentencesWorld
from worlds.simulation import Settings, Simulation

__all__ = ["steered"]

RARE = 0.005
RARE_WORLDS = 12
"""Worlds in which rare labels are counted: there are 58, a clustering owns some eight, and three worlds say little of that."""


class Shares(NamedTuple):
    """EV over offline's, NMI with the labels, NMI and ARI with the offline clustering, rare labels owned, clusters.

    ``explored`` is the share of the pairs that were asked uniformly.
    """

    ev: float
    nmi_labels: float
    nmi: float
    ari: float
    rare: float
    clusters: float
    explored: float


class Everything(NamedTuple):
    """All texts of a world with their labels, and an offline clustering of them."""

    vectors: Floats
    labels: Labels
    offline: Judged | None

    def shares(self, centroids: Floats, explored: float = 1.0) -> Shares:
        """How a clustering with these centroids compares; without an offline one, what needs it is nan."""
        done, whole = judged(self.vectors, centroids), self.offline
        nmi = normalized_mutual_info_score
        return Shares(
            done.explained / whole.explained if whole else np.nan,
            nmi(self.labels, done.labels),
            nmi(whole.labels, done.labels) if whole else np.nan,
            adjusted_rand_score(whole.labels, done.labels) if whole else np.nan,
            self._owned(done.labels),
            len(centroids),
            explored,
        )

    def _owned(self, clusters: Labels) -> float:
        """The share of the labels with fewer than .5 % of the texts that are the majority of a cluster."""
        table = np.zeros((clusters.max() + 1, self.labels.max() + 1), np.int64)
        np.add.at(table, (clusters, self.labels), 1)
        sizes = table.sum(axis=0)
        rare = np.flatnonzero((sizes > 0) & (sizes < RARE * sizes.sum()))
        own = np.unique(table.argmax(axis=1)[2 * table.max(axis=1) > table.sum(axis=1)])
        return float(np.isin(rare, own).mean())


def steered(corpus: Corpus, texts: int, prompts: int, k: int, seeds: int, worlds: int) -> Iterator[Row]:
    """A tenth of ``texts`` by each rule, against all of them; ``k`` is the most clusters there may be.

    Of ``worlds`` worlds the first ``seeds`` are clustered offline too, which takes most of the time.
    """
    compared = for_each(partial(_compared, texts, prompts, k, seeds), corpus, range(max(seeds, worlds)))
    runs = {name: [world[name] for world in compared if name in world] for name in ("uniform", "leads", "ceiling")}
    mean = {name: Shares(*np.nanmean(shares, axis=0).tolist()) for name, shares in runs.items()}
    for field in Shares._fields:
        of, uniform, ceiling = (getattr(mean[name], field) for name in ("leads", "uniform", "ceiling"))
        counted = np.isfinite([getattr(shares, field) for shares in runs["leads"]]).sum()
        yield Row(f"{field}_leads", f"{field}: leads, {texts // 10} of {texts} texts, mean of {counted} worlds", of)
        yield Row(f"{field}_uniform", "    uniform, as many", uniform)
        yield Row(f"{field}_ceiling", "    ceiling: offline on all, another seed", ceiling)
        bar = {"ev": 0.98, "nmi_labels": 0.98, "nmi": 0.98, "rare": 1.0}.get(field)
        yield Row(f"{field}_leads_of_uniform", "    leads / uniform", of / uniform if uniform else float("inf"), bar)
        yield Row(f"{field}_leads_of_ceiling", "    leads / ceiling", of / ceiling if ceiling else float("inf"))


def _compared(texts: int, prompts: int, k: int, seeds: int, corpus: Corpus, seed: int) -> dict[str, Shares]:
    """In one world; the first ``seeds`` are clustered offline too."""
    plants = load_setups()["sentences"].eight
    world = SentencesWorld(seed, prompts, plants=plants, corpus=corpus)
    drawn = world.draw(np.resize(np.arange(prompts), texts // 2), np.random.default_rng([seed, 3]))[0].ravel()
    vectors = world.vectors(drawn)
    whole = judged(vectors, offline(vectors, k)) if seed < seeds else None
    everything = Everything(vectors, corpus.labels[drawn], whole)
    rules: tuple[RuleName, ...] = ("uniform", "leads")
    found = {str(rule): everything.shares(*_run(world, rule, seed, texts // 20, k)) for rule in rules}
    return found | ({"ceiling": everything.shares(offline(vectors, k, seed=1))} if whole else {})


def _run(world: SentencesWorld, rule: RuleName, seed: int, pairs: int, k: int) -> tuple[Floats, float]:
    """The centroids that a run ends with, and the share of its pairs that were asked uniformly."""
    run = Simulation(world, rule, seed, pairs, Settings(max=k))
    uniform = sum(a.origin in (Origin.EXPLORE, Origin.SCAN) for step in run for a in step.assignments)
    kmeans = run.clusterer.kmeans
    return kmeans.means[kmeans.used], uniform / run.clusterer.processed
