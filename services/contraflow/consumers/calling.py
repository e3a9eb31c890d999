"""Calls a user's function on an event loop of its own, in a thread of its own, and gives up where it hangs.

Whatever the function does there (an ``async`` one that blocks, too), our own loop goes on: it heartbeats, drains, and
notices that nothing comes back.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from contraflow.consumers.declaring import Consumer
from contraflow.errors import ConsumerError
from contraflow.runtime.own_loop import GRACE, OwnLoop

__all__ = ["Caller", "TookTooLong", "open_caller"]

_LOOK = 0.5
"""Seconds between looks at whether the thread still answers."""


class TookTooLong(Exception):
    """An ``async`` function was cancelled at its limit."""


class Caller:
    """Calls a consumer's function, at most ``limit`` seconds; a plain function once at a time."""

    def __init__(self, consumer: Consumer[Any, Any]) -> None:
        self._consumer = consumer
        self._loop = OwnLoop(f"consumer {consumer.name}")

    async def call(self, argument: Any) -> Any:
        """What the function returns, or raises.

        :raises TookTooLong: if it was cancelled at its limit.
        :raises ConsumerError: if it can not be cancelled: it blocks its thread, and nothing more can be called, or it goes on
            all the same.
        """
        begun = threading.Event()
        answer = self._loop.start(self._call(argument, begun))
        silent = waited = 0.0  # by looks, and not by the clock: a process that was frozen has not hung
        limit = self._consumer.limit
        try:
            while not answer.done():
                before = self._loop.beats
                self._loop.beat()
                await asyncio.wait([answer], timeout=_LOOK)
                silent = silent + _LOOK if self._loop.beats == before else 0.0
                waited += _LOOK if begun.is_set() else 0.0
                # an async one was cancelled at its limit, and had as long again to clean up
                if not answer.done() and (silent > limit or waited > 2 * limit + GRACE):
                    raise ConsumerError(
                        f"consumer {self._consumer.name} blocks: it has not returned for {limit:g} seconds"
                    )
            return answer.result()
        finally:
            answer.cancel()

    async def _call(self, argument: Any, begun: threading.Event) -> Any:
        begun.set()
        limit = self._consumer.limit
        try:
            async with asyncio.timeout(limit) as deadline:
                answer = self._consumer.function(argument)
                return await answer if inspect.isawaitable(answer) else answer
        except TimeoutError:
            if deadline.expired():
                raise TookTooLong(f"it took longer than {limit:g} seconds") from None
            raise
        except (SystemExit, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # by us: nobody waits for the answer any more
            raise ConsumerError(f"consumer {self._consumer.name} ended itself ({type(error).__name__})") from error

    async def close(self) -> None:
        """End the thread, unless it hangs."""
        await self._loop.close()


@asynccontextmanager
async def open_caller(consumer: Consumer[Any, Any]) -> AsyncIterator[Caller]:
    """A caller for a consumer, until the end of the block."""
    caller = Caller(consumer)
    try:
        yield caller
    finally:
        await caller.close()
