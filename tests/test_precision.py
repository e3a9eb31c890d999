"""Which numbers a model computes with where nobody said."""

from __future__ import annotations

from pathlib import Path

import pytest

from contraflow import precision


@pytest.mark.parametrize(
    ("flags", "device", "expected"),
    [
        ("fma avx2 avx512f avx512_bf16 amx_bf16", "cpu", "bfloat16"),
        ("fma avx2", "cpu", "float32"),
        ("fma avx2", "cuda:1", "bfloat16"),
        (None, "cpu", "float32"),
    ],
)
def test_a_processor_without_bfloat16_computes_with_float32_and_a_gpu_with_bfloat16(
    flags: str | None, device: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = tmp_path / "cpuinfo"
    if flags is not None:
        processor.write_text(f"flags : {flags}\n", encoding="utf-8")
    monkeypatch.setattr(precision, "_PROCESSOR", processor)
    assert precision.native(device) == expected
