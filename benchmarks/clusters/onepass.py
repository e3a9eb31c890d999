"""One pass of online k-means over real sentences: how good, beside offline k-means; how fast, beside a bare product."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from clusters.judging import Floats, Row, judged, offline
from contraflow.clusterer.kmeans import OnlineKMeans, warm_centroids
from contraflow.pairs import BLOCK

__all__ = ["learn", "quality", "speed"]


STARTS = 3
"""Warm starts of which the mean is taken: from one to the next EV differs by up to a hundredth."""


def started(vectors: Floats, k: int, seed: int = 0) -> OnlineKMeans:
    """Online k-means after a warm start on these texts."""
    centroids, labels = warm_centroids(vectors, k, np.random.default_rng(seed))
    kmeans = OnlineKMeans(k, vectors.shape[1])
    for centroid, size in zip(centroids, np.bincount(labels, minlength=k), strict=True):
        kmeans.place(centroid, max(1, int(size)))
    return kmeans


def learn(kmeans: OnlineKMeans, vectors: Floats) -> None:
    """Assign a batch, and move the centroids."""
    nearest = kmeans.assign(vectors)
    kmeans.update(vectors, nearest.first, nearest.distance)


def online(vectors: Floats, start: OnlineKMeans, batch: int) -> Floats:
    """The centroids after one pass; the first tenth was the warm start."""
    kmeans = deepcopy(start)
    for begin in range(len(vectors) // 10, len(vectors), batch):
        learn(kmeans, vectors[begin : begin + batch])
    return kmeans.means


def rival(vectors: Floats, k: int) -> MiniBatchKMeans:
    """scikit-learn's online k-means, started on these texts."""
    return MiniBatchKMeans(k, n_init=1, random_state=0).partial_fit(vectors)


def rivals(vectors: Floats, k: int, batch: int) -> Floats:
    """The same from scikit-learn."""
    warm = len(vectors) // 10
    model = rival(vectors[:warm], k)
    for start in range(warm, len(vectors), batch):
        model.partial_fit(vectors[start : start + batch])
    centroids: Floats = model.cluster_centers_
    return centroids


def quality(vectors: Floats, ks: dict[int, float]) -> Iterator[Row]:
    """EV over that of offline k-means; ``ks`` gives the bar of each number of clusters."""
    for k, bar in ks.items():
        best = judged(vectors, offline(vectors, k)).explained
        yield Row(f"k{k}_offline_ev", f"K = {k}: EV of offline k-means", best)
        other = 0.0
        for batch in (1024, 10_000):
            value = judged(vectors, rivals(vectors, k, batch)).explained / best
            yield Row(f"k{k}_sklearn_ev_b{batch}", f"K = {k}: EV/offline, scikit-learn, batch {batch}", value)
            other = max(other, value)
        starts = [started(vectors[: len(vectors) // 10], k, seed) for seed in range(STARTS)]
        for batch in (BLOCK, 1024):
            value = float(np.mean([judged(vectors, online(vectors, s, batch)).explained for s in starts])) / best
            yield Row(f"k{k}_ev_b{batch}", f"K = {k}: EV/offline, online, batch {batch}", value, bar)
            yield Row(f"k{k}_over_sklearn_b{batch}", "    over the better of scikit-learn's", value / other, 1.0)


def speed(vectors: Floats, ks: dict[int, float], rounds: int = 9) -> Iterator[Row]:
    """Vectors a second; ``ks`` gives what share of the bare product's must be reached at batches of 1,024."""
    for k, bar in ks.items():
        kmeans, model = started(vectors[:20_000], k), rival(vectors[:20_000], k)
        for batch in (1024, BLOCK):
            batches = [vectors[i * batch : (i + 1) * batch] for i in range(max(8, 8192 // batch))]
            works: dict[str, Callable[[Floats], Any]] = {
                "product": partial(_product, kmeans),
                "online": partial(learn, kmeans),
                "sklearn": model.partial_fit,
            }
            rate = _rates(works, batches, rounds)
            name = f"k{k}_b{batch}"
            for work, per_second in rate.items():
                yield Row(f"{name}_{work}_per_second", f"K = {k}, batch {batch}: {work}, vectors/s", per_second)
            of_product, over = rate["online"] / rate["product"], rate["online"] / rate["sklearn"]
            full = batch == 1024
            yield Row(f"{name}_of_product", "    online / product", of_product, bar if full else None)
            yield Row(f"{name}_over_sklearn", "    online / scikit-learn", over, 1.4 if full else None)


def _product(kmeans: OnlineKMeans, vectors: Floats) -> Floats:
    return vectors @ kmeans.means.T


def _rates(works: dict[str, Callable[[Floats], Any]], batches: list[Floats], rounds: int) -> dict[str, float]:
    """Vectors a second, the best of some rounds that take turns."""
    seconds = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            began = time.perf_counter()
            for batch in batches:
                work(batch)
            seconds[name] = min(seconds[name], time.perf_counter() - began)
    return {name: sum(map(len, batches)) / least for name, least in seconds.items()}
