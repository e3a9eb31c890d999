"""A world of real sentences with planted behaviours and known truth: every vector is the embedding of a real text.

A prompt is a text of the corpus, its topic the text's label. Its answers, in every arm alike, are drawn from the 16 texts
of its label that are nearest to it. A behaviour is a tight neighbourhood of 40 texts of a label that is kept out of all
else. Cosines that this gives with all-MiniLM-L6-v2 on the corpus: .15 within a topic, .06 between texts, .47 between a
prompt's answers, .52 within a behaviour (the median of a hundred; nine in ten are between .32 and .80).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from contraflow.errors import ConfigurationError
from worlds.corpus import Corpus, load_corpus
from worlds.mixture import Floats, Plant, touched

__all__ = ["SentencesWorld"]

Indices = NDArray[np.int64]

BEHAVIOUR = 40
"""Texts of a behaviour: those nearest to one text of its label, of ten the one to which they are nearest."""
_SMALLEST, _LARGEST = 150, 0.05
"""The texts that a label must have, and the share of the corpus that it may have, to be kept out for a behaviour."""


@dataclass
class SentencesWorld:
    """``prompts`` prompts on texts of the corpus, nuisance in all arms alike, and the plants.

    Nuisance: ``nuisance`` of the answers (more on some prompts, at most .6) are answers to one of three other prompts
    that the prompt keeps to, and ``anywhere`` of them are texts from anywhere in the corpus.

    :raises ConfigurationError: if a plant is ``close``, or the corpus has too few labels to keep one for each plant.
    """

    seed: int = 0
    prompts: int = 4000
    arms: int = 2
    plants: Sequence[Plant] = ()
    nuisance: float = 0.03
    anywhere: float = 0.01
    corpus: Corpus = field(default_factory=load_corpus, repr=False)
    dim: int = field(init=False)
    topic_of: Indices = field(init=False)
    planted: list[NDArray[np.bool_]] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, 1])
        labels, self.dim = self.corpus.labels, self.corpus.vectors.shape[1]
        kept_out = self._kept_out(rng)
        self._ordinary = np.flatnonzero(~np.isin(labels, kept_out))
        if self.prompts > len(self._ordinary):
            raise ConfigurationError(f"prompts: {self.prompts} of {len(self._ordinary)} texts in the corpus")
        own = rng.choice(self._ordinary, self.prompts, replace=False)
        self.topic_of = labels[own]
        self.prompt_vectors = self.vectors(own)
        self._usual = self.corpus.near[own]
        self._strays = self.corpus.near[rng.choice(self._ordinary, (self.prompts, 3))]
        self._stray_rate = np.minimum(self.nuisance * rng.gamma(0.5, size=self.prompts) / 0.5, 0.6)
        self._behaviours = [self._neighbourhood(np.flatnonzero(labels == label), rng) for label in kept_out]
        self.planted = [touched(plant, self.topic_of, rng) for plant in self.plants]

    def _kept_out(self, rng: np.random.Generator) -> Indices:
        for k, plant in enumerate(self.plants):
            if plant.close:
                raise ConfigurationError(f"plants.{k}.close: the sentences world has no close texts; leave it out")
        sizes = np.bincount(self.corpus.labels)
        fit = np.flatnonzero((sizes >= _SMALLEST) & (sizes <= _LARGEST * sizes.sum()))
        if len(fit) < len(self.plants):
            raise ConfigurationError(
                f"plants: there are {len(self.plants)}, and only {len(fit)} labels of the corpus have at least "
                f"{_SMALLEST} and at most {_LARGEST:.0%} of its texts. Plant fewer, or use a larger corpus."
            )
        chosen: Indices = rng.choice(fit, len(self.plants), replace=False)
        return chosen

    def _neighbourhood(self, members: Indices, rng: np.random.Generator) -> Indices:
        vectors = self.vectors(members)
        cosines = vectors[rng.choice(len(members), 10, replace=False)] @ vectors.T
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :BEHAVIOUR]
        tightest = np.take_along_axis(cosines, nearest, 1).mean(axis=1).argmax()
        texts: Indices = members[nearest[tightest]]
        return texts

    def vectors(self, texts: Indices) -> Floats:
        """(n, dim) unit vectors of texts of the corpus."""
        vectors = self.corpus.vectors[texts].astype(np.float32)
        length: Floats = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / length

    def answers(self, prompts: Indices, rng: np.random.Generator, first: int = 1) -> tuple[Floats, Indices]:
        """(n, arms, dim) answers drawn anew to pairs from ``first`` on; (n, arms) which plant each shows, -1 for none."""
        texts, shows = self.draw(prompts, rng, first)
        return self.vectors(texts.ravel()).reshape(*texts.shape, self.dim), shows

    def draw(self, prompts: Indices, rng: np.random.Generator, first: int = 1) -> tuple[Indices, Indices]:
        """The same as (n, arms) texts of the corpus."""
        shape = len(prompts), self.arms
        n = shape[0] * shape[1]
        seq = np.repeat(np.arange(first, first + len(prompts)), self.arms)
        asked, arm = np.repeat(prompts, self.arms), np.tile(np.arange(self.arms), len(prompts))
        which = rng.integers(self._usual.shape[1], size=n)
        texts = self._usual[asked, which].astype(np.int64)
        strays = self._strays[asked, rng.integers(3, size=n), which]
        texts = np.where(rng.random(n) < self._stray_rate[asked], strays, texts)
        texts = np.where(rng.random(n) < self.anywhere, rng.choice(self._ordinary, n), texts)
        shows = np.full(n, -1, np.int64)
        for k, plant in enumerate(self.plants):
            hit = self.planted[k][asked] & (arm == plant.arm) & (seq > plant.from_pair) & (rng.random(n) < plant.rate)
            texts = np.where(hit, rng.choice(self._behaviours[k], n), texts)
            shows[hit] = k
        return texts.reshape(shape), shows.reshape(shape)
