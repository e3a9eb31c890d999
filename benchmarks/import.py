"""Texts per second through the embedded ring where all are there already: hashed encoder, K = 100, evidence on.

    python benchmarks/import.py            # 400,000 texts: 200,000 pairs of the scripted world
    python benchmarks/import.py --quick    # 20,000 texts

No budget, and no prompts held out: every pair is embedded, clustered and counted. The bar is 5,000 texts a second, and
anonymous memory that does not grow, nor while result files and report are written. First in one process, by stage; reading the
file comes before, and is shown apart. Then with each service in a process of its own (*apart*), as ``contraflow run
--processes`` does it: its seconds hold the start of the processes, which read the file, those of the command also the result
files and the report.

What bounds the figures: Python's work on each record, of which there are four a text, then the clusterer's on each block of 32
pairs; in one process both are under one interpreter's lock, apart the cores are full. Decoding is nothing here.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pyarrow.parquet as pq

from rings.apart import measure_apart
from rings.measuring import instrument, measure, show

ARMS = {"base": (), "tuned": ("loud", "gloomy")}


def write_texts(path: Path, pairs: int) -> None:
    """A row a text, as a decoder finished them: the prompts in turn, one answer an arm."""
    schema = pa.schema([(name, pa.string()) for name in ("prompt", "arm", "text")])
    with pq.ParquetWriter(path, schema) as writer:
        for rows in said(pairs):
            writer.write_table(pa.Table.from_pylist(rows, schema))


def said(pairs: int, size: int = 10_000) -> Iterator[list[dict[str, str]]]:
    from contraflow.decoder.scripted import load_world

    world = load_world("everyday", Path())
    prompts = world.prompts()
    for start in range(0, pairs, size):
        yield [
            {"prompt": prompt, "arm": arm, "text": world.answer(prompt, category, plants, 2 * number + column)}
            for number in range(start, min(start + size, pairs))
            for prompt, category in [prompts[number % len(prompts)]]
            for column, (arm, plants) in enumerate(ARMS.items())
        ]


def experiment(path: Path, clusters: int) -> dict[str, Any]:
    from contraflow.importing import Columns, described

    return {
        **described(str(path), list(ARMS), Columns(), name="benchmark"),
        "embedder": {"model": "hashed"},
        "clusters": {"start": clusters, "max": clusters},
        "sampling": {"warm_start": 1024},
        "replay": {"path": str(path), "holdout": 0.0},
    }


def main() -> None:
    from contraflow.runtime.memory import share_one_arena

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=400_000)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    texts = 20_000 if options.quick else options.texts
    instrument()
    share_one_arena()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.parquet"
        write_texts(path, texts // 2)
        described = experiment(path, options.clusters)
        apart = measure_apart(described, texts, Path(folder))
        figures = {**anyio.run(measure, described, (texts // 4, texts)), **apart}
    show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
