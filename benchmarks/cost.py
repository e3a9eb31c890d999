"""What statistics and steering cost: microseconds a pair at 100 and at 1,000 clusters, by part.

    python benchmarks/cost.py            # about a minute
    QUICK=1 python benchmarks/cost.py    # a fifth of the pairs

The mixture world, one thread, epochs of 32 pairs, each stage of each block timed after the warm start. Beside it stands the
bare matrix product of a block's texts with the centroids, in which nothing of contraflow is.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.table import Table
from threadpoolctl import threadpool_limits

from contraflow.pairs import BLOCK
from screen import screen
from worlds.mixture import MixtureWorld, Plant
from worlds.simulation import Settings, Simulation

PAIRS = 6400
STAGES = {
    "assignment": ("clusterer.kmeans", "assign"),
    "evidence and claims": ("clusterer", "_count_evidence"),
    "samples, window, coverage": ("clusterer", "_describe"),
    "centroids, births, splits": ("clusterer", "_learn"),
    "clusters and regions": ("clusterer.publisher", "publish"),
    "planning": ("sampler", "plan"),
}


def timed(run: Simulation) -> dict[str, list[float]]:
    """The seconds of every call of every stage from now on."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for stage, (path, name) in STAGES.items():
        owner: Any = run
        for part in path.split("."):
            owner = getattr(owner, part)
        setattr(owner, name, _clocked(getattr(owner, name), seconds[stage]))
    return seconds


def _clocked(call: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    def clocked(*args: Any, **named: Any) -> Any:
        started = time.perf_counter()
        answer = call(*args, **named)
        seconds.append(time.perf_counter() - started)
        return answer

    return clocked


def measure(clusters: int, pairs: int) -> dict[str, float]:
    """Microseconds a pair by stage: the median block's, as a slow one is the machine's."""
    world = MixtureWorld(0, plants=[Plant(share=0.01, rate=0.3)])
    settings = Settings(warm_start=4 * clusters, start=clusters, max=2 * clusters)
    run = Simulation(world, "leads", 0, 4 * clusters + pairs, settings)
    steps = iter(run)
    while run.clusterer.warm is not None:
        next(steps)
    seconds = timed(run)
    for _ in range(pairs // BLOCK):
        next(steps)
    found = {stage: 1e6 * float(np.median(times)) / BLOCK for stage, times in seconds.items()}
    held = len(run.clusterer.lives)
    return {"clusters": held, **found, "in all": sum(found.values()), "the bare product": product(held, world.dim)}


def product(clusters: int, dim: int) -> float:
    """Microseconds a pair for the matrix product alone."""
    rng = np.random.default_rng(0)
    texts, centroids = (rng.standard_normal((n, dim), dtype=np.float32) for n in (2 * BLOCK, clusters))
    times = []
    for _ in range(200):
        started = time.perf_counter()
        _ = texts @ centroids.T
        times.append(time.perf_counter() - started)
    return 1e6 * float(np.median(times)) / BLOCK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = screen(stderr=options.json)
    with threadpool_limits(1):
        found = {k: measure(k, PAIRS // (5 if options.quick else 1)) for k in (100, 1000)}
    table = Table("", *(f"{k:,} to start" for k in found), box=None, title="microseconds a pair, median block")
    for row in found[100]:
        table.add_row(row, *(f"{figures[row]:,.0f}" for figures in found.values()))
    console.print(table)
    if options.json:
        print(json.dumps({f"{k}: {row}": value for k, figures in found.items() for row, value in figures.items()}))


if __name__ == "__main__":
    main()
