"""Which numbers a model computes with where nobody said."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["native"]

_PROCESSOR = Path("/proc/cpuinfo")


def native(device: str) -> Literal["bfloat16", "float32"]:
    """bfloat16 on a GPU and where the processor computes with it, else float32: emulated, it takes several times as long."""
    if not device.startswith("cpu"):
        return "bfloat16"
    try:
        return "bfloat16" if "avx512_bf16" in _PROCESSOR.read_text(encoding="utf-8") else "float32"
    except OSError:
        return "float32"
