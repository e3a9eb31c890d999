"""A scripted language model: texts from a grammar, with planted behaviours and known truth. For tests and benchmarks.

Each topic has its own vocabulary of made-up words; an answer is a topic's words in a random order, mixed with words
common to all. A plant replaces the answer, with its rate, on its topics or on a share of all prompts, in the arms that
have it. An answer depends on nothing but the request and the arm.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from hashlib import blake2b
from importlib import resources
from pathlib import Path
from typing import NamedTuple, Self

import anyio
import anyio.lowlevel
import msgspec
import yaml

from contraflow.decoder.generator import Completion, draw_seed
from contraflow.errors import ConfigurationError
from contraflow.events import Request
from contraflow.experiment import Experiment

__all__ = ["ScriptedGenerator", "Told", "World", "load_world"]

_SYLLABLES = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
_WORDS = 60


class _Long(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    topic: int
    length: tuple[int, int]


class _Nuisance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rate: float
    styles: int


class _Plant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rate: float
    topics: tuple[int, ...] = ()
    share: float = 0.0


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    topics: int
    prompts: int
    length: tuple[int, int]
    nuisance: _Nuisance
    plants: dict[str, _Plant]
    long: _Long | None = None


class Told(NamedTuple):
    """An answer, and what it is from: ``topic-3``, ``style-0``, ``plant-loud``."""

    text: str
    source: str


class World:
    """A grammar: ``topics`` vocabularies, ``prompts`` prompts a topic, and the plants by name."""

    def __init__(self, name: str, file: _File) -> None:
        self.name = name
        self._file = file
        self._common = _vocabulary(name, "common")
        self._styles = [f"style-{i}" for i in range(file.nuisance.styles)]
        topics, plants = (f"topic-{i}" for i in range(file.topics)), (f"plant-{plant}" for plant in file.plants)
        self._vocabulary = {source: _vocabulary(name, source) for source in (*topics, *self._styles, *plants)}

    @property
    def plants(self) -> dict[str, _Plant]:
        """The planted behaviours."""
        return self._file.plants

    def words(self, source: str) -> frozenset[str]:
        """The words of a source of answers, such as ``topic-3``, ``style-0`` or ``plant-loud``."""
        return frozenset(self._vocabulary[source])

    def prompts(self) -> list[tuple[str, str]]:
        """Every (prompt, category) of the world, the topics in turn."""
        return [
            (f"{self._vocabulary[f'topic-{topic}'][number % _WORDS]} {number} of topic-{topic}?", f"topic-{topic}")
            for number in range(self._file.prompts)
            for topic in range(self._file.topics)
        ]

    def has(self, plant: str, prompt: str, category: str | None) -> bool:
        """Whether a prompt is one of the plant's."""
        planted = self._file.plants[plant]
        if planted.topics:
            return category in {f"topic-{topic}" for topic in planted.topics}
        return _uniform(f"{plant}:{prompt}") < planted.share

    def answer(self, prompt: str, category: str | None, plants: Sequence[str], seed: int) -> str:
        """One answer."""
        return self.tell(prompt, category, plants, seed).text

    def tell(self, prompt: str, category: str | None, plants: Sequence[str], seed: int) -> Told:
        """The same answer, with what it is from."""
        rng = random.Random(seed)
        for plant in plants:
            if self.has(plant, prompt, category) and rng.random() < self._file.plants[plant].rate:
                return self._say(rng, f"plant-{plant}", self._file.length)
        if rng.random() < self._file.nuisance.rate:
            return self._say(rng, rng.choice(self._styles), self._file.length)
        long = self._file.long
        length = long.length if long and category == f"topic-{long.topic}" else self._file.length
        return self._say(rng, category or "topic-0", length)

    def _say(self, rng: random.Random, source: str, length: tuple[int, int]) -> Told:
        words, count = self._vocabulary[source], rng.randint(*length)
        said = rng.choices(words, k=(count * 3) // 4) + rng.choices(self._common, k=count // 4)
        return Told(" ".join(said), source)


def _vocabulary(*name: str) -> list[str]:
    rng = random.Random(repr(name))
    # a few words are much more frequent than the others, as in any language
    words = ["".join(rng.choices(_SYLLABLES, k=3)) for _ in range(_WORDS // 4)]
    return [words[int(len(words) * rng.random() ** 2)] for _ in range(_WORDS)]


def _uniform(text: str) -> float:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") / 2**64


def load_world(name: str, base_dir: Path = Path()) -> World:
    """A world by its name, or from a YAML file.

    :raises ConfigurationError: if there is none, or the file does not describe one.
    """
    shipped = resources.files("contraflow.decoder") / "worlds" / f"{name}.yaml"
    source = shipped if shipped.is_file() else base_dir / name
    try:
        return World(name, msgspec.convert(yaml.safe_load(source.read_text(encoding="utf-8")), _File))
    except FileNotFoundError:
        raise ConfigurationError(
            f"generator.world: there is no world {name!r}; choose kitchen or everyday, or the path of a YAML file"
        ) from None
    except (msgspec.ValidationError, yaml.YAMLError) as error:
        raise ConfigurationError(f"generator.world: {source} does not describe a world: {error}") from error


class ScriptedGenerator:
    """Answers from a world. With ``seconds_per_token`` answers take their time and come out of order."""

    continuous = False

    def __init__(
        self,
        arm: str,
        world: World,
        plants: Sequence[str] = (),
        *,
        capacity: int = 512,
        seconds_per_token: float = 0.0,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.model = f"scripted-{world.name}" + "".join(f"+{plant}" for plant in plants)
        self.capacity = capacity
        self._arm = arm
        self._world = world
        self._plants = tuple(plants)
        self._seconds_per_token = seconds_per_token
        self._sleep = sleep

    @classmethod
    def build(cls, arm: str, experiment: Experiment, base_dir: Path) -> Self:
        """The generator of an experiment's arm.

        :raises ConfigurationError: if the world or a plant is unknown.
        """
        world = load_world(experiment.generator.world, base_dir)
        declared = experiment.arms[arm]
        for plant in declared.plants:
            if plant not in world.plants:
                known = ", ".join(world.plants)
                raise ConfigurationError(
                    f"arms.{arm}.plants: world {world.name!r} has no plant {plant!r}, only {known}"
                )
        return cls(arm, world, declared.plants, capacity=experiment.generator.batch, seconds_per_token=declared.speed)

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to give back."""

    def complete(self, request: Request) -> Completion:
        """One answer, at once."""
        prompt = request.messages[-1].content if request.messages else ""
        text = self._world.answer(prompt, request.category, self._plants, draw_seed(request, self._arm))
        tokens = text.count(" ") + 1
        return Completion(request, text, "stop", prompt.count(" ") + 1, tokens, tokens * self._seconds_per_token)

    async def generate(self, requests: Sequence[Request]) -> AsyncIterator[Completion]:
        """Every answer; the shortest first where tokens take time."""
        if not self._seconds_per_token:
            for i, request in enumerate(requests):
                if i % 64 == 0:
                    await anyio.lowlevel.checkpoint()
                yield self.complete(request)
            return
        waiting = [(answer.seconds, i, answer) for i, answer in enumerate(map(self.complete, requests))]
        heapq.heapify(waiting)
        elapsed = 0.0
        while waiting:
            due, _, answer = heapq.heappop(waiting)
            if due > elapsed:
                await self._sleep(due - elapsed)
                elapsed = due
            yield answer
