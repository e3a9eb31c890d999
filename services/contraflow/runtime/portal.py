"""Runs coroutines for callers that are none, wherever they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from anyio.from_thread import start_blocking_portal

__all__ = ["blocking"]

T = TypeVar("T")


def blocking(function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """Run a coroutine to its end, in a thread: the caller's may have an event loop, as in a notebook."""
    with start_blocking_portal() as portal:
        return portal.call(function, *arguments)
