"""How the process keeps its memory small."""

from __future__ import annotations

import contextlib
import ctypes

__all__ = ["share_one_arena"]

_M_ARENA_MAX = -8


def share_one_arena() -> None:
    """Let every thread take memory from one arena, on glibc; elsewhere nothing happens.

    glibc gives each thread its own, and what one gives back the others cannot use: through a ring, whose records are
    made in one thread and dropped in another, 200,000 texts held 430 MB so, and 250 MB with one arena, no slower.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
