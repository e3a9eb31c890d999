"""A topic that is new after half of a stream: how soon it has clusters of its own, and what the old ones pay."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusters.judging import Floats, Row, judged
from clusters.onepass import learn
from contraflow.clusterer.core import Clusterer, ClustererConfig
from contraflow.clusterer.kmeans import OnlineKMeans
from contraflow.events import Origin
from contraflow.pairs import BLOCK, Pair
from workers import for_each

__all__ = ["births"]

CAUGHT = 300
TIGHT, APART = 0.45, 0.25
"""The cosine to its centre that a real topic's texts have at least, and that the old texts have at most."""
SAMPLE = 6000
"""Old texts that tell whether a cluster is the new topic's."""


class Topic(NamedTuple):
    """A stream's old texts, and those of the topic that is new after half of it."""

    old: Floats
    new: Floats


def synthetic(vectors: Floats, texts: int, rng: np.random.Generator) -> Topic:
    """A direction of its own, with noise: a cosine of .52 between its texts."""
    new = rng.standard_normal((texts // 100 + 1, vectors.shape[1]))
    new /= np.linalg.norm(new, axis=1, keepdims=True)
    new = np.sqrt(0.52) * new[0] + np.sqrt(0.48) * new[1:]
    old = vectors[rng.choice(len(vectors), texts - len(new), replace=False)]
    return Topic(old, (new / np.linalg.norm(new, axis=1, keepdims=True)).astype(np.float32))


def real(vectors: Floats, texts: int, rng: np.random.Generator) -> Topic:
    """The texts nearest to one of them, where nothing else has a cosine to it above .25: else it would not be new."""
    while True:
        cosines = vectors @ vectors[rng.integers(len(vectors))]
        far = np.flatnonzero(cosines < APART)
        if (cosines >= TIGHT).sum() >= texts // 100 and len(far) >= texts:
            break
    new = rng.permutation(np.argsort(-cosines)[: texts // 100])
    return Topic(vectors[rng.choice(far, texts - len(new), replace=False)], vectors[new])


class Stream(NamedTuple):
    """Vectors in their order, and which are the new topic's."""

    vectors: Floats
    new: NDArray[np.bool_]


def mixed(topic: Topic, rng: np.random.Generator) -> Stream:
    """The old texts, among which the new ones come after half of the stream."""
    half = (len(topic.old) + len(topic.new)) // 2
    later = np.concatenate([np.zeros(len(topic.old) - half, np.bool_), np.ones(len(topic.new), np.bool_)])
    new = np.concatenate([np.zeros(half, np.bool_), rng.permutation(later)])
    vectors = np.empty((len(new), topic.old.shape[1]), np.float32)
    vectors[new], vectors[~new] = topic.new, topic.old
    return Stream(vectors, new)


class Caught(NamedTuple):
    """How many of the new texts came until they had clusters of their own (infinite: never), and what the old ones paid.

    ``inertia`` is that of the old texts over what the same clusters give them without births.
    """

    texts: float
    inertia: float


def caught(topic: Topic, k: int, most: int, seed: int) -> Caught:
    """What becomes of a topic in a stream of pairs of unrelated texts, a tenth of it the warm start."""
    stream = mixed(topic, np.random.default_rng([seed, 8]))
    warm_start = len(stream.new) // 10 // (2 * BLOCK) * BLOCK
    core = Clusterer(ClustererConfig(("a", "b"), "a", topic.old.shape[1], warm_start, k, most, epoch=10**9))
    plain: OnlineKMeans | None = None
    came, found = 0, math.inf
    for start in range(0, len(stream.new) - 2 * BLOCK + 1, 2 * BLOCK):
        block = slice(start, start + 2 * BLOCK)
        core.process(_unrelated(stream.vectors[block], start // 2))
        if plain is not None:
            learn(plain, stream.vectors[block])
        elif core.warm is None:
            plain = copy.deepcopy(core.kmeans)
        came += int(stream.new[block].sum())
        if stream.new[block].any() and math.isinf(found) and has_clusters(core.kmeans, topic):
            found = came
    assert plain is not None
    born, without = (judged(topic.old, kmeans.means[kmeans.used]).inertia for kmeans in (core.kmeans, plain))
    return Caught(found, born / without)


def _caught(make: Callable[..., Topic], texts: int, k: int, most: int, vectors: Floats, seed: int) -> Caught:
    return caught(make(vectors, texts, np.random.default_rng([seed, 9])), k, most, seed)


def _unrelated(vectors: Floats, asked: int) -> list[Pair]:
    return [
        Pair(seq, str(seq), str(seq), Origin.EXPLORE, vectors[i : i + 2], ("", ""), (1, 1), (None, None))
        for seq, i in enumerate(range(0, len(vectors), 2), asked + 1)
    ]


def has_clusters(kmeans: OnlineKMeans, topic: Topic) -> bool:
    """Whether most of the topic is in clusters that hold more of it than of the old texts."""
    some = topic.old[:SAMPLE]
    new, old = (np.bincount(kmeans.assign(v).first, minlength=len(kmeans.used)) for v in (topic.new, some))
    own = new > old * (len(topic.old) / len(some))
    return bool(2 * new[own].sum() > len(topic.new))


def births(vectors: Floats, texts: int, seeds: int) -> Iterator[Row]:
    """Both kinds of topic, with every slot taken from the start, and with free slots as a run has them."""
    for kind, make in (("synthetic", synthetic), ("real", real)):
        for k, most in ((100, 100), (120, 380)):
            done = for_each(partial(_caught, make, texts, k, most), vectors, range(seeds))
            name, what = f"{kind}_k{most}", f"{kind} topic, K = {k}" + f" to {most}" * (most > k)
            soon = sum(one.texts <= CAUGHT for one in done) / seeds
            worst = max(one.inertia for one in done)
            yield Row(f"{name}_found", f"{what}: found within {CAUGHT} texts, share of {seeds} seeds", soon, 0.9)
            yield Row(f"{name}_texts", "    texts until found, median", statistics.median(one.texts for one in done))
            yield Row(
                f"{name}_inertia", "    inertia of the old, over that without births, worst", worst, 1.005, most=True
            )
