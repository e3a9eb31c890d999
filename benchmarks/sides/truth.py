"""Whether what was claimed is true, and how good the clusters are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from contraflow.embedder.encoder import Encoder
from sides.claims import Claimed
from sides.pipelines import nearest
from sides.texts import Stored, seed_of

__all__ = ["Quality", "confirms", "plant_of", "quality"]

OF_PLANT = 0.8
SAMPLE = 10_000


def plant_of(claim: Claimed, planted: Mapping[str, NDArray[np.bool_]]) -> str | None:
    """The plant on whose prompts at least 80 % of the discordant pairs are, or of the surplus that they leave."""
    if not len(claim.prompts):
        return None
    shares = {plant: _share(claim, on) for plant, on in planted.items()}
    best = max(shares, key=lambda plant: shares[plant])
    return best if shares[best] >= OF_PLANT else None


def _share(claim: Claimed, on: NDArray[np.bool_]) -> float:
    here, surplus = on[claim.prompts], claim.signs.sum()
    # without a surplus there is nothing that a plant could be the reason of
    return max(float(here.mean()), float(claim.signs[here].sum() / surplus) if surplus > 0 else 0.0)


def confirms(claim: Claimed, stored: Stored, encoder: Encoder, pairs: int, seed: int) -> bool:
    """Whether ``pairs`` fresh pairs on the prompts of its discordant pairs confirm a claim at p < .001."""
    inside = []
    for arm, plants in enumerate(stored.spec.arms.values()):
        asked = (stored.prompts[int(claim.prompts[i % len(claim.prompts)])] for i in range(pairs))
        texts = [stored.world.answer(*prompt, plants, seed_of("fresh", seed, arm, i)) for i, prompt in enumerate(asked)]
        inside.append(nearest(encoder.encode(texts)[0], claim.centroids) == claim.cluster)
    more, fewer = int((inside[1] & ~inside[0]).sum()), int((inside[0] & ~inside[1]).sum())
    leading = more if claim.direction > 0 else fewer
    return more + fewer > 0 and bool(binomtest(leading, more + fewer, 0.5, alternative="greater").pvalue < 0.001)


class Quality(NamedTuple):
    """Explained variance, normalised mutual information with the truth, and silhouette by cosine of a sample."""

    ev: float
    nmi: float
    silhouette: float


def quality(
    vectors: NDArray[np.float32], centroids: NDArray[np.float32], sources: NDArray[np.str_], seed: int
) -> Quality:
    """How well ``centroids`` describe all texts."""
    from sklearn.metrics import normalized_mutual_info_score, silhouette_score

    labels = nearest(vectors, centroids)
    left = _squares(vectors, centroids, labels)
    total = _squares(vectors, vectors.mean(axis=0, keepdims=True), np.zeros_like(labels))
    sample = min(SAMPLE, len(vectors))
    silhouette = silhouette_score(vectors, labels, metric="cosine", sample_size=sample, random_state=seed)
    return Quality(1 - left / total, float(normalized_mutual_info_score(sources, labels)), float(silhouette))


def _squares(vectors: NDArray[np.float32], centres: NDArray[np.float32], of: NDArray[np.int64]) -> float:
    """The sum of squared distances of each vector to its centre."""
    parts = (slice(i, i + SAMPLE) for i in range(0, len(vectors), SAMPLE))
    return sum(float(((vectors[part] - centres[of[part]]) ** 2).sum()) for part in parts)
