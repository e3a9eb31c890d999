"""The online clusters on real sentences: beside offline k-means and scikit-learn's, with a new topic, and under steering.

    python benchmarks/clustering.py            # up to 200,000 texts of worlds/corpus.py, one BLAS thread, about 15 minutes
    python benchmarks/clustering.py --part speed
    QUICK=1 python benchmarks/clustering.py    # a tenth of the texts; the bars are those of the full form

- *quality*: explained variance (EV) after one pass, divided by that of scikit-learn's KMeans on everything (k-means++, one
  start, 25 Lloyd rounds). Online: a warm start on the first tenth, then ``OnlineKMeans`` in batches, the mean of three
  warm starts. The rival is MiniBatchKMeans.partial_fit, started on the same tenth.
- *speed*: assigning and updating, beside the bare product of vectors and centroids, and beside partial_fit.
- *births*: a whole clusterer on pairs of unrelated texts. After half of the stream a new topic appears, 1 % of the vectors.
  It is found when most of the topic is in clusters that hold more of it than of anything else.
- *steered*: a tenth of the texts of a two-arm world with eight behaviours, chosen by ``leads`` and uniformly. Both
  clusterings are judged on all its texts; the ceiling is a second offline clustering of all of them, with another seed.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator

import numpy as np
from rich.table import Table
from threadpoolctl import threadpool_limits

from clusters.judging import Row
from clusters.newtopic import births
from clusters.onepass import quality, speed
from clusters.steered import RARE_WORLDS, steered
from contraflow.errors import ConfigurationError
from screen import screen
from worlds.corpus import Corpus, load_corpus

TEXTS = 200_000


def measure(part: str, corpus: Corpus, quick: bool) -> Iterator[Row]:
    texts = min(20_000 if quick else TEXTS, len(corpus.labels))
    order = np.random.default_rng(0).permutation(len(corpus.labels))[:texts]
    vectors = corpus.vectors[order].astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    if part == "quality":
        yield from quality(vectors, {100: 0.98} if quick else {100: 0.98, 1000: 0.96})
    elif part == "speed":
        yield from speed(vectors, {100: 0.45, 1000: 0.65}, 3 if quick else 9)
    elif part == "births":
        yield from births(vectors, 8_000 if quick else 40_000, 2 if quick else 10)
    else:
        yield from steered(corpus, texts, texts // 10, 300, *((1, 1) if quick else (3, RARE_WORLDS)))


def main() -> None:
    parts = ("quality", "speed", "births", "steered")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=parts, action="append", help="may be given again")
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="or hashed, without torch")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        corpus = load_corpus(options.model)
    except ConfigurationError as error:
        parser.error(str(error))
    figures: dict[str, float] = {"texts": min(TEXTS, len(corpus.labels))}
    console = screen(stderr=options.json)
    for part in options.part or parts:
        table = Table(part, box=None)
        for column in ("value", "bar", "holds"):
            table.add_column(column, justify="right")
        with threadpool_limits(1):
            for row in measure(part, corpus, options.quick):
                figures[row.name] = row.value
                bar = "" if row.bar is None else f"{'at most' if row.most else 'at least'} {row.bar:g}"
                table.add_row(row.what, _shown(row.value), bar, "" if row.bar is None else "yes" if row.holds else "NO")
        console.print(table)
    if options.json:
        print(json.dumps(figures))


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3f}"


if __name__ == "__main__":
    main()
