"""Engines on one card start one after the other, whatever process they are in."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.to_thread

from contraflow.weights import cache_folder

__all__ = ["in_turn"]

logger = logging.getLogger(__name__)

_EVERY = 0.2


@asynccontextmanager
async def in_turn() -> AsyncIterator[None]:
    """Be the only one of this user, on this machine, that starts an engine on the first of the visible GPUs.

    vLLM takes for its own what is allocated on the card while it measures, and gives up if memory is freed meanwhile.
    """
    card = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip().replace(os.sep, "-") or "0"
    file = cache_folder() / f"vllm-starts-on-{card}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with await anyio.to_thread.run_sync(file.open, "a") as lock:
        waited = False
        while not _taken(lock.fileno()):  # whoever holds it starts an engine or dies, and may be waited for
            if not waited:
                logger.warning("waiting until another vLLM engine has started on GPU %s", card)
            waited = True
            await anyio.sleep(_EVERY)
        try:
            yield
        finally:
            with suppress(OSError):  # where there are no locks
                fcntl.flock(lock, fcntl.LOCK_UN)  # not by closing alone: an engine that was forked has the file too


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        logger.warning("engines may start at the same time: the cache folder has no locks (%s)", error)
    return True
