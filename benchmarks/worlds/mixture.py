"""A world of unit vectors with planted behaviours and known truth: steering's mixture world, without any text.

All directions are random unit vectors; the numbers are shares of variance. Cosines that this gives with 384 dimensions:
.50 within a topic, .08 between topics, .63 between a prompt's answers, .53 within a behaviour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from contraflow.events import Origin
from contraflow.pairs import BLOCK, Pair

Floats = NDArray[np.float32]


Where = Literal["scattered", "one_topic", "part_of_topic"]


class Plant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A behaviour of one arm, with ``rate`` on ``share`` of the prompts, ``where`` they may be.

    ``close`` texts have a cosine of .72 to the mean of their prompt's usual answers; ``from_pair`` is the ``seq`` after
    which the behaviour appears. In a world of stored texts ``name`` says which behaviour is meant.
    """

    share: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
    rate: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 1.0
    where: Where = "scattered"
    arm: Annotated[int, msgspec.Meta(ge=0)] = 1
    close: bool = False
    from_pair: Annotated[int, msgspec.Meta(ge=0)] = 0
    name: str = ""


class World(Protocol):
    """What a stream and a simulation ask of a world: prompts with vectors and topics, and answers of all arms."""

    prompts: int
    arms: int
    dim: int
    plants: Sequence[Plant]
    prompt_vectors: Floats
    topic_of: NDArray[np.int64]
    planted: list[NDArray[np.bool_]]

    def answers(
        self, prompts: NDArray[np.int64], rng: np.random.Generator, first: int = 1
    ) -> tuple[Floats, NDArray[np.int64]]:
        """(n, arms, dim) answers drawn anew to pairs from ``first`` on; (n, arms) which plant each shows, -1 for none."""
        ...


def touched(plant: Plant, topic_of: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which of the prompts with these topics a plant is on, drawn at random where it may be."""
    wanted = max(1, round(plant.share * len(topic_of)))
    pool = np.arange(len(topic_of))
    if plant.where != "scattered":
        sizes = np.bincount(topic_of)
        least = wanted * (2 if plant.where == "part_of_topic" else 1)
        topic = int(np.argmin(np.where(sizes >= least, sizes, len(topic_of) + 1)))
        pool = np.flatnonzero(topic_of == topic) if sizes[topic] >= least else pool
    chosen = np.zeros(len(topic_of), np.bool_)
    chosen[rng.choice(pool, min(wanted, len(pool)), replace=False)] = True
    return chosen


@dataclass
class MixtureWorld:
    """``prompts`` prompts in ``topics`` topics (Zipf, exponent .8), nuisance in all arms alike, and the plants."""

    seed: int = 0
    prompts: int = 4000
    topics: int = 150
    dim: int = 384
    arms: int = 2
    plants: Sequence[Plant] = ()
    nuisance: float = 0.03
    pure_noise: float = 0.01
    topic_of: NDArray[np.int64] = field(init=False)
    planted: list[NDArray[np.bool_]] = field(init=False)

    def __post_init__(self) -> None:
        self._rng = rng = np.random.default_rng([self.seed, 1])
        common, families = self._directions(1), self._directions(12)
        family = rng.integers(12, size=self.topics)
        self._centres = _mix((0.12, common), (0.12, families[family]), (0.76, self._directions(self.topics)))
        self.topic_of = rng.choice(self.topics, self.prompts, p=_zipf(self.topics, 0.8))
        own = self._directions(self.prompts)
        self.prompt_vectors = _mix((0.6, self._centres[self.topic_of]), (0.4, own))
        self._manner = _mix((0.36, own), (0.64, self._directions(self.prompts)))
        self._styles, self.outliers = self._directions(6), self._directions(12)
        self._outlier_rate = np.minimum(self.nuisance * rng.gamma(0.5, size=self.prompts) / 0.5, 0.6)
        self._own_outliers = _own_outliers(self.prompts, rng)
        self.behaviours = self._directions(max(1, len(self.plants)))
        self.planted = [touched(plant, self.topic_of, rng) for plant in self.plants]

    def _directions(self, n: int) -> Floats:
        return _unit(self._rng.standard_normal((n, self.dim)).astype(np.float32))

    def answers(
        self, prompts: NDArray[np.int64], rng: np.random.Generator, first: int = 1
    ) -> tuple[Floats, NDArray[np.int64]]:
        """(n, arms, dim) answers drawn anew to pairs from ``first`` on; (n, arms) which plant each shows, -1 for none."""
        seq = np.repeat(np.arange(first, first + len(prompts)), self.arms)
        asked = np.repeat(prompts, self.arms)
        arm = np.tile(np.arange(self.arms), len(prompts))
        topic, noise = self._centres[self.topic_of[asked]], self._noise(len(asked), rng)
        style = self._styles[rng.integers(len(self._styles), size=len(asked))]
        vectors = _mix((0.52, topic), (0.14, self._manner[asked]), (0.08, style), (0.26, noise))
        which = self._own_outliers[asked, rng.integers(3, size=len(asked))]
        odd = rng.random(len(asked)) < self._outlier_rate[asked]
        vectors[odd] = _mix((0.52, self.outliers[which]), (0.13, topic), (0.35, noise))[odd]
        blank = rng.random(len(asked)) < self.pure_noise
        vectors[blank] = noise[blank]
        shows = np.full(len(asked), -1, np.int64)
        for k, plant in enumerate(self.plants):
            hit = self.planted[k][asked] & (arm == plant.arm) & (rng.random(len(asked)) < plant.rate)
            hit &= seq > plant.from_pair
            vectors[hit] = self._shown(k, topic[hit], self._manner[asked[hit]], noise[hit])
            shows[hit] = k
        return _unit(vectors).reshape(len(prompts), self.arms, self.dim), shows.reshape(len(prompts), self.arms)

    def _shown(self, k: int, topic: Floats, manner: Floats, noise: Floats) -> Floats:
        if self.plants[k].close:
            return _mix((0.30, self.behaviours[k]), (0.40, topic), (0.12, manner), (0.18, noise))
        return _mix((0.52, self.behaviours[k]), (0.13, topic), (0.35, noise))

    def _noise(self, n: int, rng: np.random.Generator) -> Floats:
        return _unit(rng.standard_normal((n, self.dim), dtype=np.float32))


@dataclass
class UniformStream:
    """Pairs on prompts drawn uniformly with replacement, in blocks; ``shows`` maps seq to the plants of its answers."""

    world: World
    seed: int = 0
    seq: int = 0
    shows: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng([self.seed, 2])

    def block(self, size: int = BLOCK) -> list[Pair]:
        """The next pairs."""
        return self.ask(self._rng.integers(self.world.prompts, size=size), [Origin.EXPLORE] * size)

    def ask(self, prompts: NDArray[np.int64], origins: Sequence[Origin]) -> list[Pair]:
        """The next pairs, on chosen prompts."""
        vectors, shows = self.world.answers(prompts, self._rng, self.seq + 1)
        return [
            self._pair(int(prompt), v, row.tolist(), origin)
            for prompt, v, row, origin in zip(prompts, vectors, shows, origins, strict=True)
        ]

    def _pair(self, prompt: int, vectors: Floats, shows: list[int], origin: Origin) -> Pair:
        self.seq += 1
        self.shows[self.seq] = tuple(shows)
        texts = tuple(f"topic {self.world.topic_of[prompt]} plant {plant}" for plant in shows)
        none = tuple(None for _ in shows)
        return Pair(self.seq, f"r:{self.seq}", f"p{prompt}", origin, vectors, texts, (10,) * len(shows), none)


_drawn: dict[tuple[int, str], tuple[NDArray[np.int64], Mapping[str, Any]]] = {}


def _own_outliers(prompts: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(prompts, 3) of the 12 outliers for each prompt; drawn once for all runs on a seed, most of a short run otherwise."""
    key = prompts, str(rng.bit_generator.state)
    if key not in _drawn:
        shares = _zipf(12, 1.0)
        own = np.array([rng.choice(12, 3, replace=False, p=shares) for _ in range(prompts)])
        _drawn[key] = own, rng.bit_generator.state
    own, rng.bit_generator.state = _drawn[key]
    return own


def _unit(vectors: Floats) -> Floats:
    length: Floats = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / length


def _mix(*parts: tuple[float, Floats]) -> Floats:
    terms = [np.float32(np.sqrt(share)) * direction for share, direction in parts]
    return _unit(np.sum(np.stack(np.broadcast_arrays(*terms)), axis=0))


def _zipf(n: int, exponent: float) -> NDArray[np.float64]:
    weights = np.arange(1, n + 1) ** -exponent
    share: NDArray[np.float64] = weights / weights.sum()
    return share
