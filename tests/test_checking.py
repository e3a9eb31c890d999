"""A clustering held against those that see everything: what is as good scores so, what is missed is named."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from contraflow import checking
from contraflow.checking import check_clusters
from contraflow.errors import ConfigurationError

EACH = 60
TRUE = np.repeat(np.arange(6), EACH)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Six kinds of texts, well apart."""
    rng = np.random.default_rng(1)
    points = 3 * np.eye(16)[TRUE] + rng.normal(scale=0.4, size=(len(TRUE), 16))
    unit: np.ndarray = points / np.linalg.norm(points, axis=1, keepdims=True)
    return unit.astype(np.float32)


TEXTS = [f"text {i} of kind {kind}" for i, kind in enumerate(TRUE)]


def test_a_clustering_as_good_as_k_means_over_everything_reaches_the_ceiling(vectors: np.ndarray) -> None:
    check = check_clusters(vectors, TRUE, TEXTS, seed=3)
    assert check.texts == 360
    assert check.clusters == check.hdbscan_clusters == 6
    assert check.missed == ()
    assert check.run.explained >= check.ceiling.explained - 0.01
    assert check.run.hdbscan_nmi == pytest.approx(1.0)
    assert check.run.silhouette is not None
    assert check.run.silhouette > 0.3


def test_kinds_that_share_a_cluster_are_named_with_examples(vectors: np.ndarray) -> None:
    check = check_clusters(vectors, np.where(TRUE > 3, 3, TRUE), TEXTS)
    assert [(m.texts > EACH / 2, m.cluster_id, m.together < 0.5) for m in check.missed] == [(True, 3, True)] * 3
    kinds = {text.rpartition(" ")[2] for m in check.missed for text in m.examples}
    assert kinds == {"3", "4", "5"}


def test_a_kind_in_several_clusters_counts_as_separated_in_pieces(vectors: np.ndarray) -> None:
    check = check_clusters(vectors, np.where(TRUE == 2, 10 + np.arange(len(TRUE)) % 4, TRUE), TEXTS)
    (missed,) = check.missed
    assert missed.pieces == 4
    assert missed.jaccard < 0.5 < missed.together


def test_labels_that_say_nothing_explain_nothing(vectors: np.ndarray) -> None:
    check = check_clusters(vectors, np.random.default_rng(0).integers(6, size=len(TRUE)), TEXTS)
    assert check.run.explained < 0.1
    assert abs(check.run.ari) < 0.05
    assert len(check.missed) == check.hdbscan_clusters


def test_explained_variance_is_the_share_between_the_means_of_the_clusters(vectors: np.ndarray) -> None:
    labels = TRUE // 2
    means = np.stack([vectors[labels == k].mean(axis=0, dtype=np.float64) for k in range(3)])
    within = ((vectors - means[labels]) ** 2).sum()
    total = ((vectors - vectors.mean(axis=0, dtype=np.float64)) ** 2).sum()
    assert checking._explained(vectors, labels) == pytest.approx(1 - within / total)


def test_of_very_many_texts_hdbscan_sees_a_uniform_sample(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "WHOLE", 240)
    check = check_clusters(vectors, TRUE, TEXTS)
    assert (check.texts, check.hdbscan_texts) == (360, 240)
    assert check.hdbscan_clusters == 6


def test_equal_texts_and_no_dense_places_are_no_error() -> None:
    same = np.full((120, 4), 0.5, np.float32)
    assert check_clusters(same, np.arange(120) % 3, ["x"] * 120).run.explained == 1.0
    scattered = np.random.default_rng(0).normal(size=(100, 384)).astype(np.float32)
    check = check_clusters(scattered, np.arange(100) % 2, ["x"] * 100)
    assert check.hdbscan_noise > 0.5


def test_without_scikit_learn_it_says_what_to_install(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'contraflow\[check\]'"):
        check_clusters(vectors, TRUE, TEXTS)
