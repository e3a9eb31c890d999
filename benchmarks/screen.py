"""Where the benchmarks print."""

from __future__ import annotations

from rich.console import Console

__all__ = ["screen"]


def screen(*, stderr: bool = False) -> Console:
    """A console on which no table is folded: a file is at least 120 wide."""
    return Console(stderr=stderr, highlight=False, width=max(120, Console().width))
