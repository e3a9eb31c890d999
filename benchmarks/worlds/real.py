"""The real world: texts of SmolLM2-135M-Instruct and of planted adapters, kept as data; real/truth.json is its truth.

Every answer is one of those that an arm really gave to that prompt, drawn with replacement: what is stored is the
population, and its truth is exact. ``collect.py`` made the texts; what an adapter changed besides its behaviours is in
them too. all-MiniLM-L6-v2 embeds them once, in about a minute on two cores; that is kept in the cache folder.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from contraflow.errors import ConfigurationError
from contraflow.weights import cache_folder, resolve_encoder
from worlds.corpus import encoded, save
from worlds.mixture import Floats, Plant
from worlds.organisms import BEHAVIOURS, Behaviour

__all__ = ["FOLDER", "RealWorld", "Texts", "load_texts", "measured", "truth"]

FOLDER = Path(__file__).with_name("real")
BASE = "base"


class Texts(NamedTuple):
    """What ``arms`` answered, the base model first: (prompts, draws, arms) texts, in the order of the file.

    ``shows`` tells which of ``organisms.BEHAVIOURS`` a text shows, -1 for none; the base model shows none. ``vectors``
    (prompts, draws, arms, dim) and ``prompt_vectors`` (prompts, dim) are unit vectors.
    """

    arms: tuple[str, ...]
    prompts: tuple[str, ...]
    topics: NDArray[np.int64]
    texts: NDArray[np.object_]
    shows: NDArray[np.int64]
    vectors: Floats
    prompt_vectors: Floats


@cache
def truth(path: Path = FOLDER / "truth.json") -> dict[str, dict[str, Any]]:
    """The measured truth by behaviour, as ``collect.py`` wrote it."""
    read: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return read


@cache
def load_texts(model: str = "all-MiniLM-L6-v2", path: Path = FOLDER / "texts.parquet") -> Texts:
    """The stored texts, embedded with a model; the first time they are encoded.

    :raises ConfigurationError: if an arm lacks a draw that another has.
    """
    columns = pq.read_table(path).to_pydict()
    prompts, arms = (tuple(dict.fromkeys(columns[name])) for name in ("prompt", "arm"))
    draws = len(columns["text"]) // (len(prompts) * len(arms))
    shape = len(prompts), draws, len(arms)
    if len(columns["text"]) != np.prod(shape) or columns["arm"] != list(arms) * (len(prompts) * draws):
        raise ConfigurationError(f"{path.name}: every prompt needs as many draws of each arm, in one order")
    names = sorted(set(columns["category"]))
    topics = np.array([names.index(topic) for topic in columns["category"][:: draws * len(arms)]])
    texts = np.array(columns["text"], np.object_).reshape(shape)
    vectors = _embedded([*columns["text"], *prompts], model)
    return Texts(
        arms,
        prompts,
        topics,
        texts,
        _shown(texts, arms),
        vectors[: texts.size].reshape(*shape, -1),
        vectors[texts.size :],
    )


def _shown(texts: NDArray[np.object_], arms: Sequence[str]) -> NDArray[np.int64]:
    shows = np.full(texts.shape, -1, np.int64)
    for number, behaviour in enumerate(BEHAVIOURS):
        if behaviour.adapter not in arms:
            continue
        arm = arms.index(behaviour.adapter)
        hit = np.vectorize(behaviour.shows, otypes=[bool])(texts[:, :, arm])
        shows[:, :, arm][hit] = number
    return shows


def _embedded(texts: Sequence[str], model: str) -> Floats:
    digest = blake2b((model if model == "hashed" else resolve_encoder(model).fingerprint).encode(), digest_size=8)
    digest.update("\0".join(texts).encode())
    path = cache_folder() / "real" / f"{digest.hexdigest()}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, encoded(texts, model))
    vectors = np.load(path).astype(np.float32)
    length: Floats = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.maximum(length, 1e-9)
    return unit


def measured(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each behaviour: how often it shows on the prompts that it is meant for and elsewhere, and the rate prompt by prompt."""
    arms = {row["arm"] for row in rows}
    return {behaviour.name: _measured(behaviour, rows) for behaviour in BEHAVIOURS if behaviour.adapter in arms}


def _measured(behaviour: Behaviour, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    hits: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for row in rows:
        if row["arm"] == behaviour.adapter:
            hits[row["prompt"], row["category"]].append(behaviour.shows(row["text"]))
    meant = [asked for asked in hits if behaviour.wants(*asked)]
    return {
        "arm": behaviour.adapter,
        "description": behaviour.description,
        "pattern": behaviour.pattern,
        "share": round(len(meant) / len(hits), 4),
        "rate": _mean([hit for asked in meant for hit in hits[asked]]),
        "rate_elsewhere": _mean([hit for asked, seen in hits.items() if asked not in meant for hit in seen]),
        "rate_in_base": _mean([behaviour.shows(row["text"]) for row in rows if row["arm"] == "base"]),
        "prompts": {asked[0]: _mean(seen) for asked, seen in hits.items() if any(seen)},
    }


def _mean(seen: Sequence[bool]) -> float:
    return round(sum(seen) / len(seen), 4)


@dataclass
class RealWorld:
    """The base model beside the adapters that plant what is asked for; ``plants`` are these, then what else they plant.

    A plant is meant by its ``name``. The stored texts are the same in every run; ``seed`` says which of them are drawn.

    :raises ConfigurationError: if there is no behaviour of that name, or fewer prompts are stored.
    """

    seed: int = 0
    prompts: int = 300
    plants: Sequence[Plant] = ()
    stored: Texts = field(default_factory=load_texts, repr=False)
    arms: int = field(init=False)
    dim: int = field(init=False)
    topic_of: NDArray[np.int64] = field(init=False)
    prompt_vectors: Floats = field(init=False)
    planted: list[NDArray[np.bool_]] = field(init=False)

    def __post_init__(self) -> None:
        known = [behaviour.name for behaviour in BEHAVIOURS]
        there = [behaviour.name for behaviour in BEHAVIOURS if behaviour.adapter in self.stored.arms]
        for k, plant in enumerate(self.plants):
            if plant.name not in there:
                raise ConfigurationError(
                    f"plants.{k}.name: {plant.name!r} is none of the real world's behaviours: {', '.join(there)}"
                )
        if self.prompts > len(self.stored.prompts):
            raise ConfigurationError(f"prompts: {self.prompts} of {len(self.stored.prompts)} that are stored")
        asked = [known.index(plant.name) for plant in self.plants]
        adapters = list(dict.fromkeys(BEHAVIOURS[number].adapter for number in asked))
        # what else these adapters plant is there as well: a claim of it is true
        besides = [i for i, other in enumerate(BEHAVIOURS) if other.adapter in adapters and i not in asked]
        columns = [self.stored.arms.index(name) for name in (BASE, *adapters)]
        self.arms, self.dim = len(columns), self.stored.vectors.shape[-1]
        self.topic_of = self.stored.topics[: self.prompts]
        self.prompt_vectors = self.stored.prompt_vectors[: self.prompts]
        self._vectors = self.stored.vectors[: self.prompts, :, columns]
        self._shows = self._numbered([*asked, *besides])[self.stored.shows[: self.prompts, :, columns]]
        self.planted = [(self._shows == k).any(axis=(1, 2)) for k in range(len(asked) + len(besides))]
        self.plants = [*self.plants, *(Plant(1.0, name=known[i]) for i in besides)]

    def _numbered(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """From the stored number of a behaviour to its number here; the last place is for none."""
        here = np.full(len(BEHAVIOURS) + 1, -1, np.int64)
        here[list(numbers)] = np.arange(len(numbers))
        return here

    def answers(
        self, prompts: NDArray[np.int64], rng: np.random.Generator, first: int = 1
    ) -> tuple[Floats, NDArray[np.int64]]:
        """(n, arms, dim) answers drawn anew, whatever the pair; (n, arms) which plant each shows, -1 for none."""
        draws = rng.integers(self._shows.shape[1], size=(len(prompts), self.arms))
        place = prompts[:, None], draws, np.arange(self.arms)
        return self._vectors[place], self._shows[place]
