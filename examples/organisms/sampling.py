"""Samples answers as the demo does: with contraflow's own decoder."""

from __future__ import annotations

from collections.abc import Sequence

from data import EXAMPLES

from contraflow.decoder.asking import answers
from contraflow.decoder.transformers.generator import TransformersGenerator
from contraflow.experiment import Arm, Generator

__all__ = ["answer"]


async def answer(arm: Arm, section: Generator, prompts: Sequence[str], *, seed: int) -> list[str]:
    """One answer to each prompt, in their order."""
    generator = TransformersGenerator("organism", arm, section, EXAMPLES)
    await generator.start()
    texts = await answers(generator, prompts, seed=seed * 1_000_003)
    await generator.close()
    return texts
