"""Runs an experiment from its file to its results: opens or resumes the run's folder, runs the ring, writes what it found."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
from rich.console import Console

from contraflow.configuration import Loaded, experiment_from, load_experiment, resolve
from contraflow.events import Control, ControlAction, decode
from contraflow.experiment import Experiment
from contraflow.log.opening import open_log
from contraflow.monitor.live import watch
from contraflow.monitor.progress import Follower
from contraflow.pipeline import Asked, Ring, asked_by, drain_on_signals, open_ring
from contraflow.report.files import write_results
from contraflow.results import Results, read_results, read_topic
from contraflow.runs import RUNS, RunFolder, open_or_create, write_atomically
from contraflow.runtime.drain import Drain

__all__ = ["Outcome", "execute", "run"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run stands when the command ends: ``done``, with its ``results``, or drained and ``why``.

    ``seconds`` is of this process.
    """

    folder: RunFolder
    done: bool
    why: str
    seconds: float
    results: Results | None = None


def run(
    experiment: str | Path | Mapping[str, Any] | Experiment,
    *,
    runs: Path = RUNS,
    overrides: Sequence[str] = (),
    new: bool = False,
) -> Results:
    """Run an experiment (a file, a mapping or an Experiment) to its end and read its results.

    The newest unfinished run of the same experiment is resumed, unless ``new``. It may be called anywhere: in a script,
    a notebook or a thread. An interrupt drains the run; its results are then those of what was done.

    :raises ConfigurationError: if the experiment cannot be used.
    :raises RunConflict: if its unfinished run was started with another configuration.
    :raises RunStopped: if a service failed for good; what was done is kept.
    """
    if isinstance(experiment, str | Path):
        loaded = load_experiment(Path(experiment), overrides)
    else:
        loaded = Loaded(experiment_from(experiment), Path(), Path("experiment"))

    async def main(drain: Drain) -> Results:
        outcome = await execute(loaded, runs, new=new, console=Console(quiet=True), drain=drain)
        return outcome.results or await read_results(outcome.folder.path)

    return _in_a_thread(main) if _loop_is_running() else anyio.run(lambda: main(Drain()))


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_a_thread(main: Callable[[Drain], Awaitable[Results]]) -> Results:
    """Jupyter runs its cells inside an event loop, and a thread can have only one."""
    with anyio.from_thread.start_blocking_portal() as portal:
        drain = portal.call(Drain)
        running = portal.start_task_soon(main, drain)
        try:
            return running.result()
        except KeyboardInterrupt:  # heard by the thread that waits here, not by the one that runs
            portal.call(drain.request, "SIGINT")
            return running.result()


async def execute(loaded: Loaded, runs: Path, *, new: bool, console: Console, drain: Drain | None = None) -> Outcome:
    """Run or resume, show progress on ``console``, write the result files."""
    asked = await anyio.to_thread.run_sync(asked_by, loaded.experiment, loaded.base_dir)
    batch = loaded.experiment.generator.batch
    resolved = resolve(loaded.experiment, generator_batch=batch, prompts=len(asked.prompts), stored=asked.stored)
    folder, resolved = open_or_create(runs, resolved, asked.digest, new=new)
    started = time.monotonic()
    drain = drain or Drain()
    with folder.locked():
        grew = _budget(folder.resolved) != _budget(resolved.plain())
        folder.keep(resolved, asked.digest)
        folder.note("started", pid=os.getpid())
        _warn_of_unpaired(asked, console)
        async with (
            open_log(folder) as log,
            open_ring(log, folder.run, resolved, asked, loaded.base_dir, drain) as ring,
            _signals(drain),
        ):
            console.print(f"{folder.run}: {_resuming(folder)}", highlight=False)
            if grew:
                await _say_if_it_is_too_late(ring, console)
            failure = await _run_and_watch(ring, folder, console)
        seconds = time.monotonic() - started
        folder.note("stopped", why=drain.why, seconds=round(seconds, 3), restarted=ring.supervisor.restarted)
        if failure is not None:
            raise failure
        results = await _finish(folder) if drain.why == "done" else None
    return Outcome(folder, folder.done, drain.why, seconds, results)


def _signals(drain: Drain) -> AbstractAsyncContextManager[None]:
    """Signals drain the run in the main thread; no other thread of a process hears them."""
    if threading.current_thread() is threading.main_thread():
        return drain_on_signals(drain, force=lambda: os._exit(130))
    return nullcontext()


def _budget(resolved: Mapping[str, Any]) -> list[Any]:
    """What bounds the requests; dollars bound the judges alone."""
    budget = resolved["experiment"]["budget"]
    return [budget.get(name) for name in ("texts", "tokens", "minutes")]


async def _say_if_it_is_too_late(ring: Ring, console: Console) -> None:
    """A budget that grew is of no use to a run that has asked its last request."""
    for record in await read_topic(ring.log, ring.wire, "control"):
        control = decode(record.value or b"", Control)
        if control.action is ControlAction.COMPLETE:
            console.print(
                f"{ring.wire.run} had already asked its last request ({control.why}); "
                "the larger budget starts with a new run",
                highlight=False,
            )


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


async def _finish(folder: RunFolder) -> Results:
    results = await read_results(folder.path)
    await anyio.to_thread.run_sync(write_results, results)
    times = [entry for entry in folder.journal() if entry["event"] == "stopped"]
    timing = {"seconds": round(sum(entry["seconds"] for entry in times), 3), "sessions": len(times)}
    write_atomically(folder.path / "timing.json", json.dumps(timing, indent=1) + "\n")
    write_atomically(folder.path / "done", results.why + "\n")
    return results
