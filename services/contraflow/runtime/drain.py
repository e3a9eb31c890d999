"""How a run stops: first drain what is open, for a bounded time, then leave."""

from __future__ import annotations

import anyio

__all__ = ["Drain"]


class Drain:
    """A request to stop, seen by every service. ``why`` says who asked."""

    def __init__(self, grace: float = 10.0) -> None:
        self.grace = grace
        self.why = ""
        self._event = anyio.Event()

    def request(self, why: str) -> None:
        """Ask every service to finish what it holds, commit and return; the first reason stays."""
        if not self._event.is_set():
            self.why = why
            self._event.set()

    @property
    def requested(self) -> bool:
        """Whether services should stop taking new work."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Return when draining is requested."""
        await self._event.wait()
