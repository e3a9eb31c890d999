"""Texts per second through the whole embedded ring: scripted generator, hashed encoder, two arms, evidence on.

    python benchmarks/pipeline.py            # 200,000 texts, K = 100
    python benchmarks/pipeline.py --quick    # 20,000 texts

What bounds the figure: Python's work on each record (about four records a text are made, written, read and decoded), on
one core for the event loop and what the other threads leave of the second.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import anyio
from rich.console import Console
from rich.table import Table

STAGES: dict[str, float] = {}
_lock = threading.Lock()


def timed(owner: Any, name: str, stage: str) -> None:
    """Add the CPU seconds of a method, in whatever thread it runs, to a stage."""
    inner: Callable[..., Any] = getattr(owner, name)

    def outer(*arguments: Any, **keywords: Any) -> Any:
        started = time.thread_time()
        try:
            return inner(*arguments, **keywords)
        finally:
            with _lock:
                STAGES[stage] = STAGES.get(stage, 0.0) + time.thread_time() - started

    setattr(owner, name, outer)


def instrument() -> None:
    from contraflow.clusterer.core import Clusterer
    from contraflow.decoder.scripted import ScriptedGenerator
    from contraflow.embedder.cache import EmbeddingCache
    from contraflow.log.embedded.reader import EmbeddedReader
    from contraflow.log.embedded.writer import Writer
    from contraflow.sampler.core import Sampler

    timed(ScriptedGenerator, "complete", "generate")
    timed(EmbeddingCache, "embed", "embed")
    timed(Clusterer, "process", "cluster")
    timed(Clusterer, "dump", "cluster: state")
    timed(Sampler, "plan", "sample")
    timed(Writer, "_transaction", "log: write")
    timed(EmbeddedReader, "_read", "log: read")


def anonymous() -> float:
    """Anonymous memory of the process in MB."""
    for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def measure(texts: int, clusters: int, marks: tuple[int, int]) -> dict[str, float]:
    from contraflow.asked import asked_by
    from contraflow.conductor import conduct, fingerprint
    from contraflow.configuration import experiment_from, resolve
    from contraflow.log.embedded import EmbeddedLog
    from contraflow.monitor.progress import answered
    from contraflow.pipeline import open_ring
    from contraflow.runtime.drain import Drain
    from contraflow.runtime.supervisor import Supervisor

    experiment = experiment_from(
        {
            "experiment": "benchmark",
            "arms": {"base": {}, "tuned": {"plants": ["loud", "gloomy"]}},
            "generator": {"backend": "scripted", "world": "everyday", "batch": 1024},
            "embedder": {"model": "hashed"},
            "clusters": {"start": clusters, "max": clusters},
            "sampling": {"epoch": 1024, "in_flight": 4, "warm_start": 1024},
            "budget": {"texts": texts},
        }
    )
    asked = asked_by(experiment, Path())
    resolved = resolve(experiment, generator_batch=1024, prompts=len(asked.prompts))
    memory: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CONTRAFLOW_CACHE"] = folder
        drain = Drain()
        async with (
            await EmbeddedLog.open(Path(folder) / "log") as log,
            open_ring(log, "benchmark-1", resolved, asked, Path(), drain) as ring,
        ):
            started, cpu = time.perf_counter(), time.process_time()

            async def watch() -> None:
                while True:
                    await anyio.sleep(0.25)
                    done = sum((await answered(log, ring.wire, resolved.arms)).values())
                    memory.append((done, anonymous()))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch)
                await conduct(log, ring.wire, ring.services, drain, Supervisor(drain), fingerprint(resolved, asked))
                tasks.cancel_scope.cancel()
            seconds, busy = time.perf_counter() - started, time.process_time() - cpu
            described = await log.describe()
    # what is in flight comes and goes: the median over the tenth of the run before each mark
    early, late = (median(mb for done, mb in memory if 0.9 * mark <= done <= mark) for mark in marks)
    return {
        "texts": texts,
        "seconds": seconds,
        "texts_per_second": texts / seconds,
        "cpu_seconds": busy,
        "log_records": sum(info.records or 0 for info in described.values()),
        "log_bytes": sum(info.bytes or 0 for info in described.values()),
        f"anonymous_mb_at_{marks[0]}": early,
        f"anonymous_mb_at_{marks[1]}": late,
        "memory_ratio": late / early,
        **{f"share_{stage.replace(': ', '_')}": value / busy for stage, value in sorted(STAGES.items())},
        "share_events_and_loop": 1 - sum(STAGES.values()) / busy,
    }


def main() -> None:
    from contraflow.runtime.memory import share_one_arena

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    texts = 20_000 if options.quick else options.texts
    instrument()
    share_one_arena()
    figures = anyio.run(measure, texts, options.clusters, (texts // 4, texts))
    if options.json:
        print(json.dumps(figures))
        return
    table = Table("figure", box=None)
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(
            name, f"{100 * value:.1f} %" if name.startswith("share_") else f"{value:,.2f}".removesuffix(".00")
        )
    Console().print(table)


if __name__ == "__main__":
    main()
