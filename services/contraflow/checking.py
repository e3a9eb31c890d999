"""A run's clusters held against clusterings that see all of its texts at once: k-means and HDBSCAN, from scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from contraflow.errors import ConfigurationError, TooEarly
from contraflow.results import Results

__all__ = ["Check", "Figures", "Missed", "check_clusters", "check_run"]

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

WHOLE = 20_000
"""HDBSCAN takes quadratic time: of more texts it sees a uniform sample. Of more texts k-means goes by small batches."""
SILHOUETTE = 10_000
FEWEST = 100
FLAT = 32
"""HDBSCAN sees the vectors in so many main directions; in all 384 it takes 35 times as long."""


class Missed(msgspec.Struct, frozen=True):
    """A cluster of HDBSCAN that no cluster of the run is like: none has a Jaccard index of .5 with it.

    ``cluster_id`` is the likest. ``pieces`` clusters of the run lie for the most part inside; ``together`` is the
    Jaccard index of their union. At .5 or more the run has separated it, in pieces; below, it has not.
    """

    texts: int
    cluster_id: int
    jaccard: float
    pieces: int
    together: float
    examples: tuple[str, ...]


class Figures(msgspec.Struct, frozen=True):
    """How a clustering compares with a k-means of as many clusters, and with HDBSCAN on what that calls no noise.

    ``explained`` is the share of the variance between clusters, divided by that of the k-means. ``nmi`` and ``ari`` are
    with the k-means, ``hdbscan_nmi`` and ``hdbscan_ari`` with HDBSCAN, the silhouette is by cosine; None if undefined.
    """

    explained: float
    nmi: float
    ari: float
    hdbscan_nmi: float | None
    hdbscan_ari: float | None
    silhouette: float | None


class Check(msgspec.Struct, frozen=True):
    """The figures of a run's clustering beside their ``ceiling``, those of a second k-means with another seed."""

    texts: int
    clusters: int
    run: Figures
    ceiling: Figures
    hdbscan_texts: int
    hdbscan_clusters: int
    hdbscan_noise: float
    missed: tuple[Missed, ...]


def check_run(results: Results, vectors: Sequence[tuple[str, str, int, bytes]]) -> Check:
    """Check a run's clusters on its own ``vectors``, as ``read_vectors`` gives them. A merged cluster is its heir.

    Takes seconds for thousands of texts: not for an event loop.

    :raises TooEarly: if the run has clustered fewer than 100 texts, or has one cluster.
    :raises ConfigurationError: if scikit-learn is not installed.
    """
    heirs = results.heirs
    labels = np.array([heirs.get(cluster, cluster) for _, _, cluster, _ in vectors], np.int64)
    if len(vectors) < FEWEST or len(np.unique(labels)) < 2:
        raise TooEarly(
            f"{results.folder.run} has {len(vectors)} texts in {len(np.unique(labels))} clusters; a check needs at least "
            f"{FEWEST} texts in 2. Let the run go on, and try again."
        )
    matrix = np.frombuffer(b"".join(vector for *_, vector in vectors), "<f4").reshape(len(vectors), -1)
    return check_clusters(matrix, labels, [text for _, text, _, _ in vectors])


def check_clusters(vectors: Floats, labels: Labels, texts: Sequence[str], seed: int = 0) -> Check:
    """The same for (n, dim) vectors, the cluster of each, and its text.

    :raises ConfigurationError: if scikit-learn is not installed.
    """
    _require_sklearn()
    k = len(np.unique(labels))
    first, second = (_k_means(vectors, k, seed + i) for i in (0, 1))
    seen = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:WHOLE])
    dense = _hdbscan(vectors[seen])
    kept, found = seen[dense >= 0], dense[dense >= 0]
    run, ceiling = (_figures(vectors, these, first, kept, found, seed) for these in (labels, second))
    return Check(
        texts=len(vectors),
        clusters=k,
        run=run,
        ceiling=ceiling,
        hdbscan_texts=len(seen),
        hdbscan_clusters=len(np.unique(found)),
        hdbscan_noise=1 - len(kept) / len(seen),
        missed=tuple(_missed(vectors[kept], labels[kept], found, [texts[i] for i in kept])),
    )


def _figures(vectors: Floats, labels: Labels, offline: Labels, kept: Labels, found: Labels, seed: int) -> Figures:
    from sklearn.metrics import adjusted_rand_score as ari
    from sklearn.metrics import normalized_mutual_info_score as nmi

    return Figures(
        explained=_explained(vectors, labels) / _explained(vectors, offline),
        nmi=float(nmi(offline, labels)),
        ari=float(ari(offline, labels)),
        hdbscan_nmi=float(nmi(found, labels[kept])) if len(kept) else None,
        hdbscan_ari=float(ari(found, labels[kept])) if len(kept) else None,
        silhouette=_silhouette(vectors, labels, seed),
    )


def _require_sklearn() -> None:
    try:
        import sklearn  # noqa: F401 - asked whether it is there
    except ImportError as error:
        raise ConfigurationError(
            f"checking clusters needs scikit-learn ({error}). Install it with `pip install 'contraflow[check]'`."
        ) from error


def _k_means(vectors: Floats, k: int, seed: int) -> Labels:
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    options: dict[str, Any] = {"n_clusters": k, "n_init": 1, "random_state": seed}
    kind = KMeans(**options) if len(vectors) <= WHOLE else MiniBatchKMeans(**options, batch_size=4096)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different texts than clusters is no fault
        labels: Labels = kind.fit_predict(vectors).astype(np.int64)
    return labels


def _explained(vectors: Floats, labels: Labels) -> float:
    """The share of the variance that is between clusters; all of it where nothing varies."""
    _, sizes = np.unique(labels, return_counts=True)
    starts = np.concatenate([[0], sizes.cumsum()[:-1]])
    sums = np.add.reduceat(vectors[np.argsort(labels, kind="stable")], starts, axis=0, dtype=np.float64)
    middle = (sums.sum(axis=0) ** 2).sum() / len(vectors)
    total = np.einsum("nd,nd->n", vectors, vectors).sum(dtype=np.float64) - middle
    return float(((sums**2).sum(axis=1) / sizes).sum() - middle) / float(total) if total > 1e-9 * len(vectors) else 1.0


def _silhouette(vectors: Floats, labels: Labels, seed: int) -> float | None:
    from sklearn.metrics import silhouette_score

    rows = np.random.default_rng(seed).permutation(len(vectors))[:SILHOUETTE]
    if not 2 <= len(np.unique(labels[rows])) < len(rows):
        return None
    return float(silhouette_score(vectors[rows], labels[rows], metric="cosine"))


def _hdbscan(vectors: Floats) -> Labels:
    """Campello, Moulavi & Sander (2013); -1 is noise."""
    from sklearn.cluster import HDBSCAN

    centred = (vectors - vectors.mean(axis=0)).astype(np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    flat = centred @ axes[:, -FLAT:]
    labels: Labels = HDBSCAN(min_cluster_size=10, min_samples=5, copy=True).fit_predict(flat).astype(np.int64)
    return labels


def _missed(vectors: Floats, labels: Labels, found: Labels, texts: Sequence[str]) -> list[Missed]:
    """The clusters of HDBSCAN that the run does not have as one, the largest first."""
    ids, columns, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    missed = []
    for label in np.unique(found):
        inside = np.flatnonzero(found == label)
        common = np.bincount(columns[inside], minlength=len(ids))
        jaccard = common / (len(inside) + sizes - common)
        if jaccard.max() >= 0.5:
            continue
        pieces = 2 * common > sizes
        shared = int(common[pieces].sum())
        missed.append(
            Missed(
                texts=len(inside),
                cluster_id=int(ids[jaccard.argmax()]),
                jaccard=float(jaccard.max()),
                pieces=int(pieces.sum()),
                together=shared / (len(inside) + int(sizes[pieces].sum()) - shared),
                examples=tuple(texts[inside[i]] for i in _typical(vectors[inside])),
            )
        )
    return sorted(missed, key=lambda m: -m.texts)


def _typical(vectors: Floats, most: int = 2) -> NDArray[np.int64]:
    """The rows nearest to their mean."""
    distance = ((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1)
    return np.argsort(distance, kind="stable")[:most]
