"""A task for each of many seeds, on all cores, with data that is too large to be sent to each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any, TypeVar

__all__ = ["for_each"]

Shared = TypeVar("Shared")
Result = TypeVar("Result")

_held: Any = None


def for_each(task: Callable[[Shared, int], Result], shared: Shared, seeds: Iterable[int]) -> list[Result]:
    """``task(shared, seed)`` of each seed, in processes that were forked and so have ``shared`` without a copy."""
    with ProcessPoolExecutor(
        os.cpu_count(), mp_context=get_context("fork"), initializer=_hold, initargs=(shared,)
    ) as pool:
        return list(pool.map(partial(_run, task), seeds))


def _hold(shared: Any) -> None:
    global _held
    _held = shared


def _run(task: Callable[[Any, int], Result], seed: int) -> Result:
    return task(_held, seed)
