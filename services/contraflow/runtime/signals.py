"""What asks a process to drain: a signal, or the end of the process that started it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from contraflow.runtime.beside import beside
from contraflow.runtime.drain import Drain

__all__ = ["drain_at_end_of_input", "drain_on_signals"]


@asynccontextmanager
async def drain_on_signals(drain: Drain) -> AsyncIterator[None]:
    """The first SIGINT or SIGTERM drains, the second ends the process at once; heard by a process's main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    async def watch() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                if drain.requested:
                    os._exit(130)
                drain.request(signal.Signals(number).name)

    async with beside(watch):
        yield


@asynccontextmanager
async def drain_at_end_of_input(drain: Drain) -> AsyncIterator[None]:
    """Drain when standard input, a pipe, is closed: by the parent, or with it, however it dies."""

    async def watch() -> None:
        await anyio.wait_readable(sys.stdin)
        drain.request("the end of the process that started this one")

    async with beside(watch):
        yield
