"""A generator that counts its tokens and the time that it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from contraflow.decoder.generator import Completion, Generator
from contraflow.events import Request

if TYPE_CHECKING:
    from contraflow.runtime.meter import Meter

__all__ = ["MeteredGenerator"]


class MeteredGenerator:
    """The same generator; while it answers, its decoder is processing."""

    def __init__(self, generator: Generator, meter: Meter) -> None:
        self._generator = generator
        self._meter = meter

    @property
    def model(self) -> str:
        """The fingerprint of the model and the intervention."""
        return self._generator.model

    @property
    def capacity(self) -> int:
        """How many requests it likes to hold."""
        return self._generator.capacity

    @property
    def continuous(self) -> bool:
        """Whether it takes more requests while it answers others."""
        return self._generator.continuous

    @property
    def usage(self) -> str:
        """What the engine says of how it was used, if it says anything."""
        return str(getattr(self._generator, "usage", ""))

    async def start(self) -> None:
        """Load what is needed."""
        await self._generator.start()

    async def generate(self, requests: Sequence[Request]) -> AsyncIterator[Completion]:
        """Answer each request once, in any order."""
        prompt = completion = 0
        try:
            with self._meter.generating():
                async for answer in self._generator.generate(requests):
                    prompt += answer.prompt_tokens
                    completion += answer.completion_tokens
                    yield answer
        finally:
            self._meter.decoded(prompt, completion)

    async def close(self) -> None:
        """Give the engine's resources back."""
        await self._generator.close()
