"""What benchmarks/clustering.py judges clusterings by, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from clusters.judging import Row, judged
from clusters.newtopic import Topic, caught, has_clusters
from clusters.onepass import started
from clusters.steered import Everything
from worlds.mixture import MixtureWorld


def texts(n: int, seed: int = 0) -> np.ndarray:
    world = MixtureWorld(seed=seed, prompts=400, topics=20, dim=64)
    rng = np.random.default_rng(seed)
    return world.answers(rng.integers(400, size=n // 2), rng)[0].reshape(n, -1)


def blob(n: int) -> np.ndarray:
    rng = np.random.default_rng(9)
    vectors = rng.standard_normal(64) + 0.7 * rng.standard_normal((n, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def test_explained_variance_is_that_of_scikit_learn() -> None:
    vectors = texts(2000)
    model = KMeans(20, n_init=1, random_state=0).fit(vectors)
    done = judged(vectors, model.cluster_centers_)
    assert done.inertia == pytest.approx(model.inertia_, rel=1e-4)
    assert done.explained == pytest.approx(1 - model.inertia_ / ((vectors - vectors.mean(axis=0)) ** 2).sum(), rel=1e-4)
    assert (done.labels == model.labels_).mean() > 0.999


def test_a_bar_holds_from_its_side() -> None:
    assert Row("a", "a", 0.9, 0.9).holds
    assert not Row("a", "a", 0.89, 0.9).holds
    assert Row("a", "a", 1.0, 1.005, most=True).holds
    assert not Row("a", "a", 1.01, 1.005, most=True).holds


def test_a_topic_has_clusters_when_most_of_it_is_apart_from_the_old_texts() -> None:
    topic = Topic(texts(1000), blob(50))
    assert not has_clusters(started(topic.old, 10), topic)
    assert has_clusters(started(np.concatenate([topic.old, topic.new, topic.new]), 30), topic)


def test_a_new_topic_is_found_by_births() -> None:
    found = caught(Topic(texts(3960), blob(40)), 40, 60, seed=0)
    assert 3 <= found.texts <= 40
    assert 0.5 < found.inertia < 1.1


def test_a_clustering_compared_with_itself_is_perfect_and_owns_the_rare_label_that_it_has_a_cluster_for() -> None:
    vectors = np.eye(4, dtype=np.float32)[np.repeat(np.arange(4), (400, 300, 300, 4))]
    labels = np.repeat([0, 1, 1, 2], (400, 300, 300, 4))
    everything = Everything(vectors, labels, judged(vectors, np.eye(4, dtype=np.float32)))
    same = everything.shares(np.eye(4, dtype=np.float32))
    assert (same.ev, same.nmi, same.ari, same.rare) == pytest.approx((1, 1, 1, 1))
    without = everything.shares(np.eye(4, dtype=np.float32)[:3])
    assert without.rare == 0
    assert without.nmi < 1
