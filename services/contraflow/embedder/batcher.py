"""Lets many tasks share the batches of one encoder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
import numpy as np

from contraflow.embedder.cache import Embedded
from contraflow.runtime.beside import beside

__all__ = ["Batcher", "open_batcher"]


@dataclass(eq=False, slots=True)
class _Call:
    texts: Sequence[str]
    done: anyio.Event = field(default_factory=anyio.Event)
    result: Embedded | None = None
    error: Exception | None = None


class Batcher:
    """Coalesces calls: what arrives while the encoder is busy goes into its next batch. No timer is involved.

    A cancelled caller harms nobody; an error of the encoder reaches the callers of that batch.
    """

    def __init__(self, embed: Callable[[Sequence[str]], Embedded], most: int = 4096) -> None:
        self._embed = embed
        self._most = most
        self._waiting: list[_Call] = []
        self._arrived = anyio.Event()

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """The vectors of ``texts``, in their order."""
        call = _Call(texts)
        self._waiting.append(call)
        self._arrived.set()
        try:
            await call.done.wait()
        finally:
            if call in self._waiting:
                self._waiting.remove(call)
        if call.error is not None:
            raise call.error
        assert call.result is not None
        return call.result

    async def run(self) -> None:
        """Serve calls until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived = anyio.Event()
            while calls := self._take():
                await self._serve(calls)

    def _take(self) -> list[_Call]:
        taken: list[_Call] = []
        size = 0
        while self._waiting and (not taken or size + len(self._waiting[0].texts) <= self._most):
            call = self._waiting.pop(0)
            size += len(call.texts)
            taken.append(call)
        return taken

    async def _serve(self, calls: list[_Call]) -> None:
        texts = [text for call in calls for text in call.texts]
        try:
            every = await anyio.to_thread.run_sync(self._embed, texts)
        except Exception as error:  # whatever an encoder raises belongs to its callers
            for call in calls:
                call.error = error
                call.done.set()
            return
        ends = np.cumsum([len(call.texts) for call in calls])
        for call, end in zip(calls, ends, strict=True):
            part = slice(end - len(call.texts), end)
            call.result = Embedded(every.vectors[part], every.cached[part], every.truncated[part])
            call.done.set()


@asynccontextmanager
async def open_batcher(embed: Callable[[Sequence[str]], Embedded]) -> AsyncIterator[Batcher]:
    """A batcher that serves while the block runs."""
    batcher = Batcher(embed)
    async with beside(batcher.run):
        yield batcher
