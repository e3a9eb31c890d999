"""The one GPU that an engine sees which chooses for itself, as vLLM does."""

from __future__ import annotations

import os

from contraflow.errors import ConfigurationError

__all__ = ["show_only"]

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def show_only(device: str) -> None:
    """Hide all GPUs but ``device`` (``cuda:1``, counted among those that are visible now), before CUDA is first used.

    :raises ConfigurationError: if fewer are visible.
    """
    number = int(device.partition(":")[2])
    there = [one.strip() for one in os.environ.get(_VISIBLE, "").split(",") if one.strip()]
    if _VISIBLE in os.environ and number >= len(there):
        raise ConfigurationError(
            f"--device: {device} is not visible: {_VISIBLE} shows {len(there)} GPUs ({', '.join(there) or 'none'})"
        )
    os.environ[_VISIBLE] = there[number] if there else str(number)
