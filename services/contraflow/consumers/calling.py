"""Calls a user's function on an event loop of its own, in a thread of its own, and gives up where it hangs.

Whatever the function does there (an ``async`` one that blocks, too), our own loop goes on: it heartbeats, drains, and
notices that nothing comes back.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread

from contraflow.consumers.declaring import Consumer
from contraflow.errors import ConsumerError

__all__ = ["Caller", "TookTooLong", "open_caller"]

_LOOK = 0.5
"""Seconds between looks at whether the thread still answers."""
_GRACE = 2.0
"""Seconds that a cancelled function has to clean up at the end."""


class TookTooLong(Exception):
    """An ``async`` function was cancelled at its limit."""


class Caller:
    """Calls a consumer's function, at most ``limit`` seconds; a plain function once at a time."""

    def __init__(self, consumer: Consumer[Any, Any]) -> None:
        self._consumer = consumer
        self._beats = 0
        ready: Future[asyncio.AbstractEventLoop] = Future()
        # a daemon: a function that hangs for ever must not keep the process from ending
        self._thread = threading.Thread(target=_serve, args=(ready,), name=f"consumer {consumer.name}", daemon=True)
        self._thread.start()
        self._loop = ready.result()

    async def call(self, argument: Any) -> Any:
        """What the function returns, or raises.

        :raises TookTooLong: if it was cancelled at its limit.
        :raises ConsumerError: if it can not be cancelled: it blocks its thread, and nothing more can be called, or it goes on
            all the same.
        """
        begun = threading.Event()
        answer = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._call(argument, begun), self._loop))
        silent = waited = 0.0  # by looks, and not by the clock: a process that was frozen has not hung
        limit = self._consumer.limit
        try:
            while not answer.done():
                before = self._beats
                self._loop.call_soon_threadsafe(self._beat)
                await asyncio.wait([answer], timeout=_LOOK)
                silent = silent + _LOOK if self._beats == before else 0.0
                waited += _LOOK if begun.is_set() else 0.0
                # an async one was cancelled at its limit, and had as long again to clean up
                if not answer.done() and (silent > limit or waited > 2 * limit + _GRACE):
                    raise ConsumerError(
                        f"consumer {self._consumer.name} blocks: it has not returned for {limit:g} seconds"
                    )
            return answer.result()
        finally:
            answer.cancel()

    def _beat(self) -> None:
        self._beats += 1

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
        self._loop.call_soon_threadsafe(self._loop.stop)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._thread.join, _GRACE)


def _serve(ready: Future[asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner() as runner:  # at its end it cancels what still runs
        loop = runner.get_loop()
        ready.set_result(loop)
        loop.run_forever()


@asynccontextmanager
async def open_caller(consumer: Consumer[Any, Any]) -> AsyncIterator[Caller]:
    """A caller for a consumer, until the end of the block."""
    caller = Caller(consumer)
    try:
        yield caller
    finally:
        await caller.close()
