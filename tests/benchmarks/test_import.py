"""The benchmark of an import: its texts are the scripted world's, and the ring finds in them what was planted."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

from rings.measuring import measure


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "import.py"  # a name that cannot be imported by
    spec = importlib.util.spec_from_file_location("benchmark_of_import", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_every_text_goes_through_the_ring(benchmark: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "texts.parquet"
    benchmark.write_texts(path, 1_000)
    rows = pq.read_table(path).to_pylist()
    assert [row["arm"] for row in rows[:4]] == ["base", "tuned", "base", "tuned"]
    assert len({row["text"] for row in rows}) > 1_900
    figures = await measure(benchmark.experiment(path, 30), (1_000, 2_000))
    assert figures["texts"] == 2_000
    assert figures["log_records"] > 2 * 2_000 + 2 * 1_000
