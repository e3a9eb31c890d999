"""What an experiment asks: its prompts, and the pool of draws that the sampler takes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from contraflow.configuration import Resolved
from contraflow.decoder.replay import ReplayTexts
from contraflow.experiment import Experiment
from contraflow.prompts import Prompt, load_prompts
from contraflow.sampler.pool import EndlessPool, Pool, ReplayPool

__all__ = ["Asked", "asked_by", "pool_of"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What an experiment asks: its prompts, and the stored texts where there are some.

    ``held_out`` (prompts,) says which of the prompts are kept for confirmation, None where a model answers.
    """

    prompts: Sequence[Prompt]
    texts: ReplayTexts | None = None

    @property
    def held_out(self) -> np.ndarray | None:
        """Which prompts are kept for confirmation, where texts are stored."""
        return None if self.texts is None else self.texts.held_out

    @property
    def stored(self) -> int | None:
        """How many pairs are stored, where texts are replayed."""
        return None if self.held_out is None else sum(prompt.draws or 0 for prompt in self.prompts)

    @property
    def digest(self) -> str:
        """A fingerprint of the prompts and of stored texts: a run is not resumed with others."""
        digest = blake2b(b"" if self.texts is None else self.texts.digest.encode(), digest_size=16)
        for prompt in self.prompts:
            digest.update(repr(tuple(prompt)).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def asked_by(experiment: Experiment, base_dir: Path) -> Asked:
    """The prompts of an experiment.

    :raises ConfigurationError: if their file cannot be used.
    """
    if experiment.generator.backend == "replay":
        assert experiment.replay is not None, "checked when the experiment was read"
        texts = ReplayTexts.load(experiment.replay, tuple(experiment.arms), base_dir)
        return Asked(texts.prompts, texts)
    if experiment.prompts is not None:
        return Asked(load_prompts(experiment.prompts, base_dir))
    from contraflow.decoder.scripted import load_world

    world = load_world(experiment.generator.world, base_dir)
    return Asked([Prompt(f"p{i}", text, category) for i, (text, category) in enumerate(world.prompts())])


def pool_of(resolved: Resolved, asked: Asked) -> Pool:
    """A new pool of the draws that there are."""
    seed, count = resolved.experiment.seed, len(asked.prompts)
    if asked.held_out is not None:
        return ReplayPool([prompt.draws or 0 for prompt in asked.prompts], asked.held_out, seed)
    if resolved.draws is not None:
        return ReplayPool([resolved.draws] * count, np.zeros(count, np.bool_), seed)
    return EndlessPool(count)
