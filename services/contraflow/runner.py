"""Runs an experiment from its file to its results: opens or resumes the run's folder, runs the ring, writes what it found."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from rich.console import Console

from contraflow.configuration import Loaded, experiment_from, load_experiment, resolve
from contraflow.experiment import Experiment
from contraflow.log.embedded import EmbeddedLog
from contraflow.monitor.live import watch
from contraflow.monitor.progress import Follower
from contraflow.pipeline import Asked, Ring, asked_by, drain_on_signals, open_ring
from contraflow.report.files import write_results
from contraflow.results import Results, read_results
from contraflow.runs import RunFolder, open_or_create, write_atomically
from contraflow.runtime.drain import Drain

__all__ = ["Outcome", "execute", "run"]

RUNS = Path("runs")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run stands when the command ends: ``done``, or drained and ``why``. ``seconds`` is of this process."""

    folder: RunFolder
    done: bool
    why: str
    seconds: float


def run(
    experiment: str | Path | Mapping[str, Any] | Experiment,
    *,
    runs: Path = RUNS,
    overrides: Sequence[str] = (),
    new: bool = False,
) -> Results:
    """Run an experiment (a file, a mapping or an Experiment) to its end and read its results.

    The newest unfinished run of the same experiment is resumed, unless ``new``.

    :raises ConfigurationError: if the experiment cannot be used.
    :raises RunConflict: if its unfinished run was started with another configuration.
    :raises RunStopped: if a service failed for good; what was done is kept.
    """
    if isinstance(experiment, str | Path):
        loaded = load_experiment(Path(experiment), overrides)
    else:
        loaded = Loaded(experiment_from(experiment), Path(), Path("experiment"))

    async def main() -> Results:
        outcome = await execute(loaded, runs, new=new, console=Console(quiet=True))
        return await read_results(outcome.folder.path)

    return anyio.run(main)


async def execute(loaded: Loaded, runs: Path, *, new: bool, console: Console) -> Outcome:
    """Run or resume, show progress on ``console``, write results and report."""
    asked = await anyio.to_thread.run_sync(asked_by, loaded.experiment, loaded.base_dir)
    batch = loaded.experiment.generator.batch
    resolved = resolve(loaded.experiment, generator_batch=batch, prompts=len(asked.prompts))
    folder, resolved = open_or_create(runs, resolved, asked.digest, new=new)
    started = time.monotonic()
    drain = Drain()
    with folder.locked():
        folder.note("started", pid=os.getpid())
        _warn_of_unpaired(asked, console)
        async with (
            await EmbeddedLog.open(folder.log) as log,
            open_ring(log, folder.run, resolved, asked, loaded.base_dir, drain) as ring,
            drain_on_signals(drain, force=lambda: os._exit(130)),
        ):
            console.print(f"{folder.run}: {_resuming(folder)}", highlight=False)
            failure = await _run_and_watch(ring, folder, console)
        seconds = time.monotonic() - started
        folder.note("stopped", why=drain.why, seconds=round(seconds, 3), restarted=ring.supervisor.restarted)
        if failure is not None:
            raise failure
        if drain.why == "done":
            await _finish(folder)
    return Outcome(folder, folder.done, drain.why, seconds)


def _resuming(folder: RunFolder) -> str:
    begun = sum(entry["event"] == "started" for entry in folder.journal())
    return f"resuming in {folder.path}" if begun > 1 else f"starting in {folder.path}"


def _warn_of_unpaired(asked: Asked, console: Console) -> None:
    missing = {arm: count for arm, count in (asked.unpaired or {}).items() if count}
    if missing:
        counts = ", ".join(f"{count} of {arm}" for arm, count in missing.items())
        console.print(f"texts without a partner are left out: {counts}", highlight=False)


async def _run_and_watch(ring: Ring, folder: RunFolder, console: Console) -> Exception | None:
    texts = None if ring.resolved.pairs is None else ring.resolved.pairs * len(ring.resolved.arms)
    follower = Follower(ring.log, ring.wire, ring.resolved.arms, texts)
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch, follower, console, folder.run)
        try:
            await ring.run()
        except Exception as error:  # told after everything is closed
            failure = error
        tasks.cancel_scope.cancel()
    return failure


async def _watch(follower: Follower, console: Console, name: str) -> None:
    await watch(follower, console, name=name)


async def _finish(folder: RunFolder) -> None:
    results = await read_results(folder.path)
    await anyio.to_thread.run_sync(write_results, results)
    times = [entry for entry in folder.journal() if entry["event"] == "stopped"]
    timing = {"seconds": round(sum(entry["seconds"] for entry in times), 3), "sessions": len(times)}
    write_atomically(folder.path / "timing.json", json.dumps(timing, indent=1) + "\n")
    write_atomically(folder.path / "done", results.why + "\n")
