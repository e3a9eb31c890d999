"""Time as a dependency, so that a test can drive it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

__all__ = ["Clock"]


@dataclass(frozen=True, slots=True)
class Clock:
    """Monotonic seconds and a sleep; tests give their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
