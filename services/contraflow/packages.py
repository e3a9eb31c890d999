"""Packages that may be missing."""

from __future__ import annotations

from importlib import util

__all__ = ["is_installed"]


def is_installed(package: str) -> bool:
    """Whether the package could be imported; it is not."""
    try:
        return util.find_spec(package) is not None
    except (ModuleNotFoundError, ValueError):  # what it would be a part of is not there either
        return False
