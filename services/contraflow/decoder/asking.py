"""Answers of a generator outside of any run: to measure an organism, or to judge a claim on fresh pairs."""

from __future__ import annotations

from collections.abc import Sequence

from contraflow.decoder.generator import Generator
from contraflow.events import Message, Origin, Request

__all__ = ["answers"]


async def answers(generator: Generator, prompts: Sequence[str], *, seed: int) -> list[str]:
    """One answer of a started generator to each prompt, in their order; the i-th draws from ``seed + i``."""
    requests = [_request(number, prompt, seed + number) for number, prompt in enumerate(prompts)]
    texts: dict[int, str] = {}
    for start in range(0, len(requests), generator.capacity):
        async for completion in generator.generate(requests[start : start + generator.capacity]):
            texts[completion.request.seq] = completion.text
    return [texts[request.seq] for request in requests]


def _request(number: int, prompt: str, seed: int) -> Request:
    return Request(
        seq=number,
        request_id=f"fresh:{number}",
        prompt_id="p0",
        messages=(Message(role="user", content=prompt),),
        draw=number,
        seed=seed,
        epoch=1,
        origin=Origin.PROBE,
    )
