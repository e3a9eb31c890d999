"""Samples answers as the demo does: with contraflow's own decoder."""

from __future__ import annotations

from collections.abc import Sequence

from data import EXAMPLES

from contraflow.decoder.transformers import TransformersGenerator
from contraflow.events import Message, Origin, Request
from contraflow.experiment import Arm, Generator

__all__ = ["answer"]


async def answer(arm: Arm, section: Generator, prompts: Sequence[str], *, seed: int) -> list[str]:
    """One answer to each prompt, in their order."""
    generator = TransformersGenerator("organism", arm, section, EXAMPLES)
    await generator.start()
    texts: dict[int, str] = {}
    for start in range(0, len(prompts), section.batch):
        asked = prompts[start : start + section.batch]
        async for completion in generator.generate([_request(start + i, p, seed) for i, p in enumerate(asked)]):
            texts[completion.request.seq] = completion.text
    await generator.close()
    return [texts[number] for number in range(len(prompts))]


def _request(number: int, prompt: str, seed: int) -> Request:
    """A request with random numbers of its own."""
    return Request(
        seq=number,
        request_id=f"organism:{number}",
        prompt_id="p0",
        messages=(Message(role="user", content=prompt),),
        draw=number,
        seed=seed * 1_000_003 + number,
        epoch=1,
        origin=Origin.EXPLORE,
    )
