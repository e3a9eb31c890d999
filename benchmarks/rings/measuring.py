"""A whole embedded ring from its first request to its end: texts a second, CPU by stage, memory on the way."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from rich.table import Table

from screen import screen

if TYPE_CHECKING:
    from contraflow.runs import RunFolder

__all__ = ["anonymous", "instrument", "measure", "show", "stages"]

stages: dict[str, float] = {}
"""CPU seconds by stage."""
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
                stages[stage] = stages.get(stage, 0.0) + time.thread_time() - started

    setattr(owner, name, outer)


def instrument() -> None:
    """Time the stages of every ring that this process runs from now on."""
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


def anonymous(pid: str = "self") -> float:
    """Anonymous memory of a process in MB; 0 if it is gone."""
    # the kernel keeps this number; smaps_rollup would walk through every page, 20 ms of the CPU that is measured here
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:"))


async def measure(described: Mapping[str, Any], marks: tuple[int, int]) -> dict[str, float]:
    """Run an experiment to its report; its memory is that at two ``marks``, in texts, and at most while it ends.

    Its folder and caches are new, and removed.
    """
    from contraflow.asked import asked_by
    from contraflow.conductor import conduct, fingerprint
    from contraflow.configuration import experiment_from, resolve
    from contraflow.log.embedded import EmbeddedLog
    from contraflow.monitor.progress import answered
    from contraflow.pipeline import open_ring
    from contraflow.runs import open_or_create
    from contraflow.runtime.drain import Drain
    from contraflow.runtime.memory import collect_rarely
    from contraflow.runtime.supervisor import Supervisor

    collect_rarely()
    experiment, begun = experiment_from(described), time.perf_counter()
    asked = asked_by(experiment, Path())
    batch = experiment.generator.batch
    resolved = resolve(experiment, generator_batch=batch, prompts=len(asked.prompts), stored=asked.stored)
    memory = [(0, anonymous())]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CONTRAFLOW_CACHE"] = folder
        drain = Drain()
        run, resolved = open_or_create(Path(folder), resolved, asked.digest)
        async with (
            await EmbeddedLog.open(run.log) as log,
            open_ring(log, run.run, resolved, asked, Path(), drain) as ring,
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
            texts = sum((await answered(log, ring.wire, resolved.arms)).values())
            described_log = await log.describe()
        ending = await _end(run)
    early, late = (_around(memory, mark) for mark in marks)
    return {
        "texts": texts,
        "seconds": seconds,
        "texts_per_second": texts / seconds,
        "seconds_to_read": started - begun,
        "cpu_seconds": busy,
        "log_records": sum(info.records or 0 for info in described_log.values()),
        "log_bytes": sum(info.bytes or 0 for info in described_log.values()),
        f"anonymous_mb_at_{marks[0]}": early,
        f"anonymous_mb_at_{marks[1]}": late,
        "anonymous_mb_while_ending": ending,
        "memory_ratio": late / early,
        **{f"share_{stage.replace(': ', '_')}": value / busy for stage, value in sorted(stages.items())},
        "share_events_and_loop": 1 - sum(stages.values()) / busy,
    }


async def _end(run: RunFolder) -> float:
    """Write the result files and the report; the anonymous memory of the process meanwhile, at most."""
    from contraflow.report.files import write_results
    from contraflow.report.page import write_report
    from contraflow.results import read_results

    looks = [anonymous()]

    async def watch() -> None:
        while True:
            await anyio.sleep(0.05)
            looks.append(anonymous())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        results = await read_results(run.path)
        await anyio.to_thread.run_sync(write_results, results)
        await anyio.to_thread.run_sync(write_report, results, run.report)
        tasks.cancel_scope.cancel()
    return max(looks)


def _around(memory: Sequence[tuple[int, float]], mark: int) -> float:
    """What is in flight comes and goes: the median over the quarter of the run before the mark, or the nearest look."""
    nearest = [min(memory, key=lambda look: abs(look[0] - mark))]
    return median(mb for _, mb in [look for look in memory if 0.75 * mark <= look[0] <= mark] or nearest)


def show(figures: Mapping[str, float], *, as_json: bool) -> None:
    """Print them as a table, or as one line of JSON."""
    if as_json:
        print(json.dumps(figures))
        return
    table = Table("figure", box=None)
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(
            name, f"{100 * value:.1f} %" if name.startswith("share_") else f"{value:,.2f}".removesuffix(".00")
        )
    screen().print(table)
