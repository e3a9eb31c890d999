"""Texts per second through the whole embedded ring: scripted generator, hashed encoder, two arms, evidence on.

    python benchmarks/pipeline.py            # 200,000 texts, K = 100
    python benchmarks/pipeline.py --quick    # 20,000 texts

What bounds the figure: Python's work on each record (about four records a text are made, written, read and decoded), on
one core for the event loop and what the other threads leave of the second.
"""

from __future__ import annotations

import argparse

import anyio

from rings.measuring import instrument, measure, show


def main() -> None:
    from contraflow.runtime.memory import share_one_arena

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    texts = 20_000 if options.quick else options.texts
    experiment = {
        "experiment": "benchmark",
        "arms": {"base": {}, "tuned": {"plants": ["loud", "gloomy"]}},
        "generator": {"backend": "scripted", "world": "everyday", "batch": 1024},
        "embedder": {"model": "hashed"},
        "clusters": {"start": options.clusters, "max": options.clusters},
        "sampling": {"epoch": 1024, "in_flight": 4, "warm_start": 1024},
        "budget": {"texts": texts},
    }
    instrument()
    share_one_arena()
    show(anyio.run(measure, experiment, (texts // 4, texts)), as_json=options.json)


if __name__ == "__main__":
    main()
