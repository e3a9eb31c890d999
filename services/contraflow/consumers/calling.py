"""Calls a user's function on an event loop of its own, in a thread of its own, and gives up where it hangs.

Whatever the function does there (an ``async`` one that blocks, too), our own loop goes on: it heartbeats, drains, and
notices that nothing comes back.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from contraflow.consumers.declaring import Consumer
from contraflow.errors import ConsumerError

__all__ = ["Caller", "TookTooLong", "open_caller"]

_LOOK = 0.5
"""Seconds between looks at whether the thread still answers."""


class TookTooLong(Exception):
    """An ``async`` function was cancelled at its limit."""


class Caller:
    """Calls a consumer's function, at most ``limit`` seconds; a plain function once at a time."""

    def __init__(self, consumer: Consumer[Any, Any]) -> None:
        self._consumer = consumer
        self._loop = asyncio.new_event_loop()
        self._answered = time.monotonic()
        # a daemon: a function that hangs for ever must not keep the process from ending
        self._thread = threading.Thread(target=self._serve, name=f"consumer {consumer.name}", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    async def call(self, argument: Any) -> Any:
        """What the function returns, or raises.

        :raises TookTooLong: if it was cancelled at its limit.
        :raises ConsumerError: if it can not be cancelled: it blocks its thread, and nothing more can be called.
        """
        answer = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._call(argument), self._loop))
        try:
            while not answer.done():
                self._loop.call_soon_threadsafe(self._beat)
                await asyncio.wait([answer], timeout=_LOOK)
                if not answer.done() and time.monotonic() - self._answered > self._consumer.limit + _LOOK:
                    raise ConsumerError(
                        f"consumer {self._consumer.name} blocks: it has not returned for {self._consumer.limit:g} seconds"
                    )
            return answer.result()
        finally:
            answer.cancel()

    def _beat(self) -> None:
        self._answered = time.monotonic()

    async def _call(self, argument: Any) -> Any:
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
            raise ConsumerError(f"consumer {self._consumer.name} ended itself ({type(error).__name__})") from error
        finally:
            self._beat()

    async def close(self) -> None:
        """End the thread, unless it hangs."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join, _LOOK)


@asynccontextmanager
async def open_caller(consumer: Consumer[Any, Any]) -> AsyncIterator[Caller]:
    """A caller for a consumer, until the end of the block."""
    caller = Caller(consumer)
    try:
        yield caller
    finally:
        await caller.close()
