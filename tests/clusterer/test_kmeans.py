"""Online k-means against brute force and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from contraflow.clusterer.kmeans import OnlineKMeans, warm_centroids
from worlds.mixture import MixtureWorld


def texts(n: int, seed: int = 0) -> np.ndarray:
    world = MixtureWorld(seed=seed, prompts=400, topics=20, dim=64)
    rng = np.random.default_rng(seed)
    return world.answers(rng.integers(400, size=n // 2), rng)[0].reshape(n, -1)


def filled(centroids: np.ndarray) -> OnlineKMeans:
    kmeans = OnlineKMeans(len(centroids) + 3, centroids.shape[1])
    for centroid in centroids:
        kmeans.place(centroid, 1)
    return kmeans


def test_texts_go_to_the_nearest_centroid_and_the_second_is_the_second_nearest() -> None:
    vectors, centroids = texts(200), texts(30, seed=1) * 0.6
    nearest = filled(centroids).assign(vectors)
    squared = ((vectors[:, None] - centroids[None]) ** 2).sum(axis=2)
    order = squared.argsort(axis=1)
    assert (nearest.first == order[:, 0]).all()
    assert (nearest.second == order[:, 1]).all()
    assert nearest.distance == pytest.approx(squared.min(axis=1), abs=1e-5)
    assert (nearest.margin >= 0).all()


def test_a_single_centroid_is_both_first_and_second_with_no_margin() -> None:
    nearest = filled(texts(2)[:1]).assign(texts(10))
    assert set(nearest.first) == set(nearest.second) == {0}
    assert not nearest.margin.any()


def test_a_centroid_is_the_mean_of_what_it_was_given() -> None:
    vectors = texts(320)
    kmeans = OnlineKMeans(2, 64)
    kmeans.place(vectors[0], 1)
    for start in range(1, 320, 32):
        block = vectors[start : start + 32]
        nearest = kmeans.assign(block)
        kmeans.update(block, nearest.first, nearest.distance)
    assert kmeans.means[0] == pytest.approx(vectors.mean(axis=0), abs=1e-5)
    assert kmeans.counts[0] == 320


def test_each_centroid_moves_as_its_own_texts_alone_would_move_it_bit_for_bit() -> None:
    vectors, centroids = texts(512), texts(30, seed=1) * 0.6
    together, alone = filled(centroids), filled(centroids)
    nearest = together.assign(vectors)
    together.update(vectors, nearest.first, nearest.distance)
    for slot in np.unique(nearest.first):
        own = nearest.first == slot
        alone.update(vectors[own], nearest.first[own], nearest.distance[own])
    assert (together.means == alone.means).all()
    assert (together.counts == alone.counts).all()


def test_a_merger_is_the_weighted_mean_of_both_and_frees_the_smaller_slot() -> None:
    a, b = texts(2)
    kmeans = OnlineKMeans(2, 64)
    kmeans.place(a, 30)
    kmeans.place(b, 10)
    assert kmeans.cheapest_pair(np.ones(2, np.bool_)) == (0, 1)
    kmeans.merge(0, 1)
    assert kmeans.means[0] == pytest.approx(0.75 * a + 0.25 * b, abs=1e-6)
    assert kmeans.slots.tolist() == [0]
    assert kmeans.counts[0] == 40


def test_the_warm_start_is_as_tight_as_scikit_learns_k_means() -> None:
    vectors = texts(1200)
    rival = KMeans(20, n_init=1, init="k-means++", random_state=0, max_iter=50).fit(vectors)
    ratios = []
    for seed in range(5):
        centroids, labels = warm_centroids(vectors, 20, np.random.default_rng(seed))
        ratios.append(((vectors - centroids[labels]) ** 2).sum() / rival.inertia_)
    assert np.median(ratios) < 1.03


def test_the_warm_start_goes_on_until_no_text_changes_its_cluster() -> None:
    vectors = texts(1200)
    centroids, labels = warm_centroids(vectors, 20, np.random.default_rng(1))
    means = np.stack([vectors[labels == k].mean(axis=0) for k in range(20)])
    assert centroids == pytest.approx(means, abs=1e-5)


def test_the_warm_start_copes_with_fewer_different_texts_than_clusters() -> None:
    vectors = np.repeat(texts(4), 10, axis=0)
    centroids, labels = warm_centroids(vectors, 16, np.random.default_rng(0))
    assert ((vectors - centroids[labels]) ** 2).sum() < 1e-6
