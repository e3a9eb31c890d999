"""An event loop in a thread of its own, for functions that somebody else wrote: where those block, ours goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import anyio
import anyio.to_thread

__all__ = ["GRACE", "OwnLoop"]

T = TypeVar("T")

GRACE = 2.0
"""Seconds that a cancelled function has to clean up at the end."""


class OwnLoop:
    """Runs coroutines until ``close``. ``beats`` counts the ``beat`` calls that its thread was free to answer."""

    def __init__(self, name: str) -> None:
        self.beats = 0
        ready: Future[asyncio.AbstractEventLoop] = Future()
        # a daemon: a function that hangs for ever must not keep the process from ending
        self._thread = threading.Thread(target=_serve, args=(ready,), name=name, daemon=True)
        self._thread.start()
        self._loop = ready.result()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """What it gives, to be awaited in our own loop; it is cancelled with that."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def beat(self) -> None:
        """Have ``beats`` counted up as soon as the thread is free."""
        self._loop.call_soon_threadsafe(self._count)

    def _count(self) -> None:
        self.beats += 1

    async def close(self) -> None:
        """End the thread, unless it hangs."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._thread.join, GRACE)


def _serve(ready: Future[asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner() as runner:  # at its end it cancels what still runs
        loop = runner.get_loop()
        ready.set_result(loop)
        loop.run_forever()
