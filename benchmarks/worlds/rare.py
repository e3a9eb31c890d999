"""The real world, with its behaviours made rare: an arm that answers as its adapter on a few prompts, else as the base model.

Every vector is that of a stored text of real.py. On ``share`` of the prompts, drawn among those on which the adapter shows
the behaviour, ``rate`` of the arm's answers are ones that show it; all others are the base model's, in both arms alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from contraflow.errors import ConfigurationError
from worlds.mixture import Floats, Plant
from worlds.organisms import BEHAVIOURS
from worlds.real import BASE, Texts, load_texts

__all__ = ["RareWorld"]


@dataclass
class RareWorld:
    """The base model twice, but for the plants in the second arm; each is meant by its ``name``.

    :raises ConfigurationError: if no stored text shows it, or it shows on fewer prompts than its share.
    """

    seed: int = 0
    prompts: int = 300
    plants: Sequence[Plant] = ()
    stored: Texts = field(default_factory=load_texts, repr=False)
    arms: int = 2
    dim: int = field(init=False)
    topic_of: NDArray[np.int64] = field(init=False)
    prompt_vectors: Floats = field(init=False)
    planted: list[NDArray[np.bool_]] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, 1])
        self.dim = self.stored.vectors.shape[-1]
        self.topic_of = self.stored.topics[: self.prompts]
        self.prompt_vectors = self.stored.prompt_vectors[: self.prompts]
        self._usual = self.stored.vectors[: self.prompts, :, self.stored.arms.index(BASE)]
        self._showing = [self._texts(k, plant) for k, plant in enumerate(self.plants)]
        self.planted = [self._touched(k, plant, rng) for k, plant in enumerate(self.plants)]

    def _texts(self, k: int, plant: Plant) -> dict[int, Floats]:
        """By prompt, the vectors of the texts that show a plant."""
        numbers = [i for i, b in enumerate(BEHAVIOURS) if b.name == plant.name and b.adapter in self.stored.arms]
        if not numbers:
            raise ConfigurationError(f"plants.{k}.name: {plant.name!r} is none of the behaviours of the stored texts")
        shows = (self.stored.shows[: self.prompts] == numbers[0]).any(axis=2)
        arm = self.stored.arms.index(BEHAVIOURS[numbers[0]].adapter)
        return {int(p): self.stored.vectors[p, shows[p], arm] for p in np.flatnonzero(shows.any(axis=1))}

    def _touched(self, k: int, plant: Plant, rng: np.random.Generator) -> NDArray[np.bool_]:
        wanted, pool = max(1, round(plant.share * self.prompts)), [*self._showing[k]]
        if wanted > len(pool):
            raise ConfigurationError(f"plants.{k}.share: {wanted} prompts, and {plant.name!r} shows on {len(pool)}")
        chosen = np.zeros(self.prompts, np.bool_)
        chosen[rng.choice(pool, wanted, replace=False)] = True
        return chosen

    def answers(
        self, prompts: NDArray[np.int64], rng: np.random.Generator, first: int = 1
    ) -> tuple[Floats, NDArray[np.int64]]:
        """(n, 2, dim) answers drawn anew, whatever the pair; (n, 2) which plant each shows, -1 for none."""
        draws = rng.integers(self._usual.shape[1], size=(len(prompts), 2))
        vectors, shows = self._usual[prompts[:, None], draws], np.full((len(prompts), 2), -1, np.int64)
        for k, plant in enumerate(self.plants):
            for i in np.flatnonzero(self.planted[k][prompts] & (rng.random(len(prompts)) < plant.rate)):
                texts = self._showing[k][int(prompts[i])]
                vectors[i, 1], shows[i, 1] = texts[rng.integers(len(texts))], k
        return vectors, shows
