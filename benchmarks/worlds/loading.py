"""``worlds.yaml``: which worlds there are, what is planted in them, and what must be reached; errors name the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec
import yaml

from contraflow.configuration.typed import Problem, typed
from contraflow.errors import ConfigurationError
from worlds.mixture import MixtureWorld, Plant, World
from worlds.rare import RareWorld
from worlds.real import RealWorld
from worlds.sentences import SentencesWorld
from worlds.simulation import Settings

__all__ = ["Bar", "Setup", "build", "load_setups"]

FILE = Path(__file__).with_name("worlds.yaml")
WORLDS: Mapping[str, Callable[..., World]] = {
    "mixture": MixtureWorld,
    "sentences": SentencesWorld,
    "real": RealWorld,
    "rare": RareWorld,
}


class Bar(Plant, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plant, and the least ratio of uniform's pairs to steered pairs that must be reached."""

    at_least: float


class Setup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A world's section: how large it is, how runs in it are set, and its plants.

    ``topics`` is the mixture's alone. ``eight`` are planted together; such a run ends after ``longest`` pairs.
    """

    seeds: int
    prompts: int
    topics: int | None = None
    warm_start: int
    start: int
    max: int
    single: tuple[Bar, ...] = ()
    harder: tuple[Bar, ...] = ()
    eight: tuple[Plant, ...] = ()
    longest: int = 20_000

    @property
    def settings(self) -> Settings:
        """How a run in this world is set."""
        return Settings(warm_start=self.warm_start, start=self.start, max=self.max)


@cache
def load_setups(path: Path = FILE) -> dict[str, Setup]:
    """The worlds of a file by name.

    :raises ConfigurationError: if it does not describe worlds; each line names a field and says what would fit.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path.name} is not YAML: {error}") from None
    problems = [
        Problem((str(name),), f"there is no such world; the worlds are {', '.join(WORLDS)}")
        for name in values
        if name not in WORLDS
    ]
    read = typed(values, dict[str, Setup], (), problems)
    if problems:
        raise ConfigurationError("\n".join(f"{path.name}: {'.'.join(keys)}: {what}" for keys, what in problems))
    return msgspec.convert(read, dict[str, Setup])


def build(name: str, seed: int, plants: Sequence[Plant] = ()) -> World:
    """A world by its name, as ``worlds.yaml`` sizes it.

    :raises ConfigurationError: if it has no such plants, or needs texts that are not there.
    """
    setup = load_setups()[name]
    sizes = {"prompts": setup.prompts} | ({} if setup.topics is None else {"topics": setup.topics})
    return WORLDS[name](seed, plants=plants, **sizes)
