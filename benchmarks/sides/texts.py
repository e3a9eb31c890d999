"""The texts that all three ways compare: made once from the scripted grammar, with what each is from."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from contraflow.decoder.scripted import World, load_world

__all__ = ["Spec", "Stored", "make", "read_stored", "seed_of"]

_SPEC: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "worlds" / "side_by_side.yaml").read_text("utf-8"))


class Spec(NamedTuple):
    """``worlds/side_by_side.yaml``, with ``prompts`` a topic and ``draws`` a prompt; ``arms`` names their plants."""

    prompts: int
    draws: int
    clusters: int
    arms: dict[str, tuple[str, ...]]
    file: dict[str, Any]

    @classmethod
    def fixed(cls, prompts: int | None = None, draws: int | None = None, clusters: int | None = None) -> Spec:
        """As the file fixes it, or smaller."""
        kept = _SPEC
        prompts = prompts or kept["world"]["prompts"]
        arms = {arm: tuple(plants) for arm, plants in kept["arms"].items()}
        world = kept["world"] | {"prompts": prompts}
        return cls(prompts, draws or kept["draws"], clusters or kept["clusters"], arms, world)

    @property
    def texts(self) -> int:
        """How many texts there are, of all arms."""
        return int(self.prompts * self.file["topics"] * self.draws * len(self.arms))


@dataclass(frozen=True)
class Stored:
    """The texts, prompt by prompt, draw by draw, arm by arm: row ``r`` is of pair ``r // arms``.

    ``sources`` (texts,) names the topic, style or plant that each is from; ``planted`` (plants, prompts) which prompts
    are a plant's.
    """

    spec: Spec
    world: World
    prompts: list[tuple[str, str]]
    texts: list[str]
    sources: NDArray[np.str_]
    planted: dict[str, NDArray[np.bool_]]

    @property
    def prompt_of(self) -> NDArray[np.int64]:
        """(pairs,) the prompt of each pair."""
        return np.repeat(np.arange(len(self.prompts)), self.spec.draws)

    @property
    def shown(self) -> list[str]:
        """The plants that some text shows: those that could be found."""
        there = set(self.sources)
        return [plant for plant in self.planted if f"plant-{plant}" in there]


def make(spec: Spec, folder: Path, seed: int = 0) -> Path:
    """The folder with ``texts.parquet`` and ``world.yaml``; kept from the last time where it was made alike."""
    folder = folder / f"{spec.prompts}x{spec.draws}-{seed_of(spec.draws, spec.arms, spec.file, seed):016x}"
    path = folder / "texts.parquet"
    if path.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "world.yaml").write_text(yaml.safe_dump(spec.file, sort_keys=False), encoding="utf-8")
    world = load_world("world.yaml", folder)
    rows = []
    for prompt, category in world.prompts():
        for draw in range(spec.draws):
            for arm, plants in spec.arms.items():
                told = world.tell(prompt, category, plants, seed_of(seed, prompt, draw, arm))
                rows.append({"prompt": prompt, "category": category, "arm": arm, **told._asdict()})
    temporary = path.with_suffix(".tmp")
    pq.write_table(pa.Table.from_pylist(rows), temporary)
    temporary.replace(path)
    return folder


def read_stored(spec: Spec, folder: Path) -> Stored:
    """What ``make`` kept."""
    table = pq.read_table(folder / "texts.parquet", columns=["text", "source"])
    world = load_world("world.yaml", folder)
    prompts = world.prompts()
    planted = {plant: np.array([world.has(plant, *prompt) for prompt in prompts], np.bool_) for plant in world.plants}
    sources = np.array(table["source"].to_pylist())
    return Stored(spec, world, prompts, table["text"].to_pylist(), sources, planted)


def seed_of(*name: object) -> int:
    """A 64-bit seed of its own for each name."""
    return int.from_bytes(blake2b(repr(name).encode(), digest_size=8).digest(), "little")
