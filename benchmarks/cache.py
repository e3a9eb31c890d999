"""The embedding cache: hits beside encoding, a matrix in one transaction beside one a text, a second run beside a first.

    python benchmarks/cache.py                 # all-MiniLM-L6-v2, 4,096 texts
    python benchmarks/cache.py --model hashed  # without torch
    python benchmarks/cache.py --quick

What bounds a hit: a hash of the text, a lookup in LMDB's tree, a checksum over 1.5 KB and a copy into the matrix.
The second run is a whole run of stored texts: log, clusters and results included.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
from rich.table import Table

import contraflow
from contraflow.embedder import encoder as encoders
from contraflow.embedder.cache import EmbeddingCache
from contraflow.experiment import Embedder
from screen import screen

WORDS = [
    "the",
    "model",
    "answers",
    "a",
    "question",
    "about",
    "cooking",
    "travel",
    "money",
    "pets",
    "and",
    "gardens",
    "with",
    "many",
    "different",
    "words",
]


def texts(count: int, words: int = 30) -> list[str]:
    rng = random.Random(0)
    return [f"{i} " + " ".join(rng.choices(WORDS, k=words)) for i in range(count)]


def best(work: Callable[[], object], times: int = 3) -> float:
    """The shortest of several seconds."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def hits(model: str, count: int, folder: Path) -> dict[str, float]:
    every, encoder = texts(count), encoders.build(Embedder(model=model))
    encoder.encode(every[:64])
    with EmbeddingCache(encoder, folder) as cache:
        started = time.perf_counter()
        cache.get_embeddings(every)
        first = time.perf_counter() - started
        encoding = best(lambda: encoder.encode(every[:512]), 1) * count / 512
        matrix = best(lambda: cache.get_embeddings(every))
        one_by_one = best(lambda: np.vstack([cache.get_embeddings([text]) for text in every]), 1)
    plain = best(lambda: _raw(folder, count))
    return {
        "texts": count,
        "encode_per_second": count / encoding,
        "miss_per_second": count / first,
        "hit_per_second": count / matrix,
        "hit_one_transaction_a_text_per_second": count / one_by_one,
        "lmdb_walk_per_second": count / plain,
        "hit_over_encode": encoding / matrix,
        "matrix_over_one_a_text": one_by_one / matrix,
        "lmdb_walk_over_hit": matrix / plain,
    }


def _raw(folder: Path, count: int) -> int:
    """What LMDB alone needs to walk over as many values: the rival that does nothing else."""
    with (
        lmdb.open(str(folder), readonly=True, lock=False) as environment,
        environment.begin(buffers=True) as transaction,
    ):
        return sum(len(bytes(value)) for _, value in transaction.cursor())


def whole_runs(model: str, count: int, folder: Path) -> dict[str, float]:
    rows = [
        {"prompt": f"prompt {i // 2 % (count // 8)}", "arm": ("base", "tuned")[i % 2], "text": text}
        for i, text in enumerate(texts(count, words=120))
    ]
    (folder / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    experiment = folder / "stored.yaml"
    experiment.write_text(
        json.dumps(
            {
                "experiment": "stored",
                "arms": {"base": {}, "tuned": {}},
                "generator": {"backend": "replay"},
                "replay": {"path": "texts.jsonl", "holdout": 0},
                "embedder": {"model": model, "cache": str(folder / "cache")},
            }
        )
    )
    seconds = []
    for name in ("first", "second"):
        started = time.perf_counter()
        contraflow.run(experiment, runs=folder / name)
        seconds.append(time.perf_counter() - started)
    return {
        "first_run_seconds": seconds[0],
        "second_run_seconds": seconds[1],
        "second_run_times_faster": seconds[0] / seconds[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--texts", type=int, default=4096)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    count = 1024 if options.quick else options.texts
    with tempfile.TemporaryDirectory() as name:
        figures = hits(options.model, count, Path(name) / "hits") | whole_runs(options.model, count, Path(name))
    if options.json:
        print(json.dumps(figures))
        return
    table = Table("figure", box=None)
    table.add_column("value", justify="right")
    for figure, number in figures.items():
        table.add_row(figure, f"{number:,.2f}".removesuffix(".00"))
    screen().print(table)


if __name__ == "__main__":
    main()
