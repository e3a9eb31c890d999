"""Looking at a log that may be away for a while."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from contraflow.errors import LogError, LogUnusable
from contraflow.runtime.clock import Clock

__all__ = ["patiently"]

logger = logging.getLogger(__name__)

_PAUSE = 2.0


async def patiently(look: Callable[[], Awaitable[None]], name: str, clock: Clock | None = None) -> None:
    """Run what only looks at a run, and begin it again whenever the log does not answer.

    It ends no run: for how long a log may be away is for the services to say, which stop when it is too long.
    """
    clock = clock or Clock()
    while True:
        try:
            await look()
            return
        except LogUnusable:
            raise
        except LogError as error:
            logger.warning("%s looks again in %.0f s: %s", name, _PAUSE, error)
            await clock.sleep(_PAUSE)
