"""A process for each core, with one BLAS thread: with two on every core a run takes several times as long."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

__all__ = ["for_each", "workers"]

Shared = TypeVar("Shared")
Result = TypeVar("Result")

_held: Any = None


def workers(shared: object = None) -> ProcessPoolExecutor:
    """The pool. Its processes are forked, and so have what is ``shared`` without a copy."""
    return ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("fork"), initializer=_begin, initargs=(shared,))


def for_each(task: Callable[[Shared, int], Result], shared: Shared, seeds: Iterable[int]) -> list[Result]:
    """``task(shared, seed)`` of each seed, with data that is too large to be sent to each."""
    with workers(shared) as pool:
        return list(pool.map(partial(_run, task), seeds))


def _begin(shared: Any) -> None:
    global _held
    _held = shared
    threadpool_limits(1)


def _run(task: Callable[[Any, int], Result], seed: int) -> Result:
    return task(_held, seed)
