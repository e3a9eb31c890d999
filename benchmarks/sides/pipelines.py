"""The three ways, each run in a process of its own, so that its memory and its processor time are its own.

    python -m sides.pipelines batch SPEC.json

What a way found goes into files of its folder; nothing here knows the truth.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import anyio
import msgspec
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from contraflow.embedder import encoder as encoders
from contraflow.events import ClusterState
from contraflow.experiment import Embedder
from contraflow.results import Results, read_vectors
from contraflow.sampler.rules import RULES, Rule, RuleName
from sides.fisher import count, fisher_bh
from sides.usage import Clock, Usage

__all__ = ["WAYS", "Work", "centroids_of", "embed", "nearest", "pair_of", "run_apart"]

BATCH = 2048
SCHEDULE = 0.075
"""The share of all texts that the schedule decodes: 15,000 of 200,000."""
ROUND = 512
"""Pairs in half a round of the schedule, at full size."""


class Work(msgspec.Struct, frozen=True):
    """What a way is given: the ``folder`` of the texts, one of its ``own``, K, and the ``scale`` of the whole."""

    folder: str
    own: str
    texts: int
    draws: int
    arms: list[str]
    clusters: int
    embedder: str
    seed: int
    scale: float


def embed(texts: list[str], model: str) -> NDArray[np.float32]:
    """(n, dim) vectors, without a cache."""
    encoder = encoders.build(Embedder(model=model))
    return np.concatenate([encoder.encode(texts[i : i + BATCH])[0] for i in range(0, len(texts), BATCH)])


def nearest(vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int64]:
    """(n,) the row of the centroid next to each vector."""
    half = (centroids**2).sum(axis=1) / 2
    parts = [(vectors[i : i + BATCH] @ centroids.T - half).argmax(axis=1) for i in range(0, len(vectors), BATCH)]
    return np.concatenate(parts)


def centroids_of(results: Results) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The ids and centroids of the clusters that a run ended with."""
    alive = [cluster for cluster in results.clusters if cluster.state is ClusterState.ACTIVE]
    ids = np.array([cluster.cluster_id for cluster in alive])
    return ids, np.stack([np.frombuffer(cluster.centroid, "<f4") for cluster in alive])


def batch(work: Work) -> Usage:
    """Everything at once: embed all texts, k-means over all of them, one test a cluster."""
    from sklearn.cluster import KMeans

    clock = Clock()
    with clock("reading"):
        texts = pq.read_table(Path(work.folder) / "texts.parquet", columns=["text"])["text"].to_pylist()
    with clock("embedding"):
        vectors = embed(texts, work.embedder)
    with clock("clustering"):
        model = KMeans(work.clusters, random_state=work.seed).fit(vectors)
    with clock("statistics"):
        labels = model.labels_.astype(np.int64).reshape(-1, len(work.arms))
        tested = fisher_bh(count(labels, work.clusters))
    np.savez(
        _found(work), labels=labels, pairs=np.arange(len(labels)), centroids=model.cluster_centers_, **tested._asdict()
    )
    return clock.usage(len(texts), work.clusters)


def schedule(work: Work) -> Usage:
    """The iterative plan: a first part, then rounds at the boundaries; one test a cluster at the end."""
    rule, epoch = RULES["schedule"], max(32, round(work.scale * ROUND / 32) * 32)
    scaled = Rule(rule.reasons, first=round(work.scale * rule.first))
    cast("dict[RuleName, Rule]", RULES)["schedule"] = scaled  # its first part is a constant, of the full size
    clock = Clock()
    with clock.ring():
        # no claims on the way, which would ask for fresh pairs: the plan knows no evidence before its end
        options = {"sampling": {"rule": "schedule", "epoch": epoch, "in_flight": 2}, "alpha": 1e-300}
        results = _ring(work, "schedule", round(SCHEDULE * work.texts), holdout=0.0, options=options)
    with clock("statistics"):
        asked = anyio.run(read_vectors, results)  # by seq, the arms in the order of their names
        ids, centroids = centroids_of(results)
        vectors = np.frombuffer(b"".join(vector for *_, vector in asked), "<f4").reshape(len(asked), -1)
        labels = nearest(vectors, centroids).reshape(-1, len(work.arms))
        tested = fisher_bh(count(labels, len(ids)))
    pairs = [pair_of(results, a.request_id, work.draws) for a in results.assignments if not a.failed]
    np.savez(_found(work), labels=labels, pairs=pairs, centroids=centroids, **tested._asdict())
    return clock.usage(len(asked), len(ids))


def pair_of(results: Results, request_id: str, draws: int) -> int:
    """The stored pair that a request of replayed texts asked for, where each prompt has ``draws``."""
    request = results.requests[request_id]
    return int(request.prompt_id[1:]) * draws + request.draw


def contraflow_ring(work: Work) -> Usage:
    """The ring itself, to its budget of a tenth of the texts."""
    clock = Clock()
    with clock.ring():
        # epochs as small as where efficiency is measured, two in flight as in the demo
        options = {"sampling": {"rule": "leads", "epoch": 32, "in_flight": 2}}
        results = _ring(work, "contraflow", work.texts // 10, holdout=0.3, options=options)
    return clock.usage(len(results.assignments) * len(work.arms), len(centroids_of(results)[0]))


def _ring(work: Work, name: str, texts: int, *, holdout: float, options: Mapping[str, object]) -> Results:
    import contraflow

    os.environ["CONTRAFLOW_EMBEDDINGS"] = str(Path(work.own) / "embeddings")  # nothing is in it yet
    experiment = {
        "experiment": name,
        "arms": {arm: {} for arm in work.arms},
        "generator": {"backend": "replay"},
        "replay": {"path": str(Path(work.folder) / "texts.parquet"), "category": "category", "holdout": holdout},
        "embedder": {"model": work.embedder},
        "clusters": {"max": work.clusters},
        "budget": {"texts": texts},
        "seed": work.seed,
        **options,
    }
    return contraflow.run(experiment, runs=Path(work.own), new=True)


def _found(work: Work) -> Path:
    return Path(work.own) / "found.npz"


WAYS: dict[str, Callable[[Work], Usage]] = {"batch": batch, "schedule": schedule, "contraflow": contraflow_ring}


def run_apart(way: str, work: Work) -> Usage:
    """Run a way in a process of its own.

    :raises subprocess.CalledProcessError: if it fails.
    """
    given = Path(work.own) / "work.json"
    given.parent.mkdir(parents=True)
    given.write_bytes(msgspec.json.encode(work))
    here = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.getenv("PYTHONPATH")])])}
    said = subprocess.run(
        [sys.executable, "-m", "sides.pipelines", way, str(given)],
        check=True,
        stdout=subprocess.PIPE,
        env=os.environ | here,
    ).stdout
    return msgspec.json.decode(said.splitlines()[-1], type=Usage)


if __name__ == "__main__":
    usage = WAYS[sys.argv[1]](msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=Work))
    print(msgspec.json.encode(usage).decode())
