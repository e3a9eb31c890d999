"""How many calls may be in flight: additive increase, multiplicative decrease, as TCP does (Chiu & Jain, 1989)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from contraflow.runtime.clock import Clock

__all__ = ["Concurrency"]


class Concurrency:
    """Grows from ``start`` by one for each round of successes up to ``most``; halves when asked to slow down.

    ``limit`` is what it stands at.
    """

    def __init__(self, most: int, clock: Clock | None = None, start: float = 4.0) -> None:
        self.most = most
        self.limit = min(start, float(most))
        self._clock = clock or Clock()
        self._in_flight = 0
        self._freed = anyio.Event()
        self._cut = -1.0
        self._paused_until = -1.0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a place among the calls in flight."""
        while self._in_flight >= int(self.limit):
            await self._freed.wait()
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            self._wake()

    def succeeded(self) -> None:
        """A call was answered."""
        if self.limit < self.most:
            self.limit = min(float(self.most), self.limit + 1 / self.limit)
            self._wake()

    def slow_down(self, started: float, retry_after: float | None) -> None:
        """A call that began at ``started`` was turned away; nobody calls for the next ``retry_after`` seconds.

        Those that were in flight together are turned away together, and count once.
        """
        now = self._clock.now()
        if started >= self._cut:
            self.limit, self._cut = max(1.0, self.limit / 2), now
        if retry_after is not None:
            self._paused_until = max(self._paused_until, now + retry_after)

    @property
    def pause(self) -> float:
        """Seconds until the provider wants to be called again."""
        return max(0.0, self._paused_until - self._clock.now())

    def _wake(self) -> None:
        self._freed.set()
        self._freed = anyio.Event()
