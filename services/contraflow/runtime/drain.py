"""How a run stops: first drain what is open, for a bounded time, then leave."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import anyio

from contraflow.log.protocol import Reader, Record
from contraflow.runtime.beside import beside

__all__ = ["IDLE", "Drain"]

T = TypeVar("T")

IDLE = 5.0
"""Seconds that a service waits for records before it looks around. Records and draining wake it at once, so that idle
services take nothing from the decoder beside them."""


class Drain:
    """A request to stop, seen by every service. ``why`` says who asked."""

    def __init__(self, grace: float = 10.0) -> None:
        self.grace = grace
        self.why = ""
        self._event = anyio.Event()
        self._waits: set[anyio.CancelScope] = set()

    def request(self, why: str) -> None:
        """Ask every service to finish what it holds, commit and return; the first reason stays."""
        if not self._event.is_set():
            self.why = why
            self._event.set()
            for wait in self._waits:
                wait.cancel()

    @property
    def requested(self) -> bool:
        """Whether services should stop taking new work."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Return when draining is requested."""
        await self._event.wait()

    async def unless(self, something: Awaitable[T]) -> T | None:
        """What ``something`` gives; None as soon as draining is requested."""
        result: T | None = None
        with anyio.CancelScope() as wait:
            if self.requested:
                wait.cancel()
            self._waits.add(wait)
            try:
                result = await something
            finally:
                self._waits.discard(wait)
        return result

    async def within_grace(self, something: Awaitable[T]) -> T | None:
        """What ``something`` gives; None if it has not ended when draining was requested ``grace`` seconds ago."""
        result: T | None = None
        with anyio.CancelScope() as scope:

            async def bound() -> None:
                await self.wait()
                await anyio.sleep(self.grace)
                scope.cancel()

            async with beside(bound):
                result = await something
        return result

    async def fetch(self, reader: Reader, most: int, wait: float = IDLE) -> list[Record]:
        """The next records, waiting ``wait`` (a few) seconds for the first; none as soon as draining is requested."""
        return await self.unless(reader.fetch(most, wait)) or []
