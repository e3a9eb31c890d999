"""Runs an experiment from its file to its results: opens or resumes the run's folder, runs the ring, writes what it found."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from rich.console import Console

from contraflow.asked import Asked, asked_by
from contraflow.conductor import conduct, fingerprint, refuse_a_taken_name
from contraflow.configuration import Loaded, Resolved, resolve
from contraflow.decoder.checking import check_arms
from contraflow.errors import ContraflowError
from contraflow.events import Control, ControlAction, decode
from contraflow.llm.opening import check
from contraflow.log.opening import open_log
from contraflow.log.protocol import Log
from contraflow.monitor.endpoint import Address, open_metrics
from contraflow.monitor.live import watch
from contraflow.monitor.progress import Follower
from contraflow.pipeline import open_ring, processes_of
from contraflow.report.files import write_results
from contraflow.results import Results, read_results, read_topic
from contraflow.runs import RunFolder, list_runs, open_or_create, write_atomically
from contraflow.runtime.children import child
from contraflow.runtime.drain import Drain
from contraflow.runtime.patience import patiently
from contraflow.runtime.peaks import note_peaks
from contraflow.runtime.signals import drain_on_signals
from contraflow.runtime.supervisor import Service, Supervisor
from contraflow.wire import Wire

if TYPE_CHECKING:
    from contraflow.runtime.metrics import Metrics

__all__ = ["Command", "Outcome", "execute", "prepare"]

Command = Callable[[str, str], Sequence[str]]
"""The command line that runs a service, by its name, of a run, by its name."""


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


async def execute(
    loaded: Loaded,
    runs: Path,
    *,
    new: bool,
    console: Console,
    drain: Drain | None = None,
    command: Command | None = None,
    metrics: Address | None = None,
) -> Outcome:
    """Run or resume, show progress on ``console``, write the result files.

    Every service runs in this process, with ``metrics`` served there, or, with ``command``, in one of its own.
    """
    check(loaded.experiment.validation.tiers)
    check_arms(loaded.experiment, loaded.base_dir, processes=command is not None)
    asked, resolved = await prepare(loaded)
    known = {folder.run for folder in list_runs(runs)}
    folder, resolved = open_or_create(runs, resolved, asked.digest, new=new)
    started = time.monotonic()
    drain = drain or Drain()
    supervisor = Supervisor(drain)
    with folder.locked():
        grew = _budget(folder.resolved) != _budget(resolved.plain())
        folder.keep(resolved, asked.digest)
        folder.note("started", pid=os.getpid())
        _warn_of_unpaired(asked, console)
        async with (
            # first: without a log there may be no folder to note in
            _open_log(folder, new=folder.run not in known) as log,
            note_peaks(folder.note, "contraflow"),
            drain_on_signals(drain),
            _metrics(metrics, folder, log, console) as counted,
        ):
            wire = Wire(folder.run, resolved.experiment.partitions)
            async with _services(log, folder, resolved, asked, loaded.base_dir, drain, command, counted) as services:
                console.print(f"{folder.run}: {_resuming(folder)}", highlight=False)
                if grew:
                    await _say_if_it_is_too_late(log, wire, console)
                running = partial(conduct, log, wire, services, drain, supervisor, fingerprint(resolved, asked))
                failure = await _run_and_watch(running, _follower(log, wire, resolved, folder), folder, console)
        seconds = time.monotonic() - started
        folder.note("stopped", why=drain.why, seconds=round(seconds, 3), restarted=supervisor.restarted)
        if failure is not None:
            raise failure
        results = await _finish(folder) if drain.why == "done" else None
    return Outcome(folder, folder.done, drain.why, seconds, results)


@asynccontextmanager
async def _open_log(folder: RunFolder, *, new: bool) -> AsyncIterator[Log]:
    """The log of a run. A new run whose log cannot be had, or has its name already, leaves no folder behind."""
    async with AsyncExitStack() as stack:
        try:
            log = await stack.enter_async_context(open_log(folder))
            if new:
                await refuse_a_taken_name(log, folder.run)
        except ContraflowError:
            if new:
                await anyio.to_thread.run_sync(shutil.rmtree, folder.path)
            raise
        yield log


async def prepare(loaded: Loaded) -> tuple[Asked, Resolved]:
    """Read what an experiment asks, and settle what it leaves open."""
    asked = await anyio.to_thread.run_sync(asked_by, loaded.experiment, loaded.base_dir)
    batch = loaded.experiment.generator.batch
    return asked, resolve(loaded.experiment, generator_batch=batch, prompts=len(asked.prompts), stored=asked.stored)


def _metrics(
    address: Address | None, folder: RunFolder, log: Log, console: Console
) -> AbstractAsyncContextManager[Metrics | None]:
    return open_metrics(address, folder.run, log, lambda said: console.print(said, highlight=False))


@asynccontextmanager
async def _services(
    log: Log,
    folder: RunFolder,
    resolved: Resolved,
    asked: Asked,
    base_dir: Path,
    drain: Drain,
    command: Command | None,
    metrics: Metrics | None,
) -> AsyncIterator[Mapping[str, Service]]:
    if command is not None:
        names = processes_of(resolved.experiment.arms)
        yield {name: child(command(name, folder.run), folder.said_by(name), drain) for name in names}
        return
    opened = open_ring(
        log, folder.run, resolved, asked, base_dir, drain, metrics=metrics, identity=folder.identity, note=folder.note
    )
    async with opened as ring:
        yield ring.services


def _budget(resolved: Mapping[str, Any]) -> list[Any]:
    """What bounds the requests; dollars bound the judges alone."""
    budget = resolved["experiment"]["budget"]
    return [budget.get(name) for name in ("texts", "tokens", "minutes")]


async def _say_if_it_is_too_late(log: Log, wire: Wire, console: Console) -> None:
    """A budget that grew is of no use to a run that has asked its last request."""
    for record in await read_topic(log, wire, "control"):
        control = decode(record.value or b"", Control)
        if control.action is ControlAction.COMPLETE:
            console.print(
                f"{wire.run} had already asked its last request ({control.why}); "
                "the larger budget starts with a new run",
                highlight=False,
            )


def _resuming(folder: RunFolder) -> str:
    begun = sum(entry["event"] == "started" for entry in folder.journal())
    return f"resuming in {folder.path}" if begun > 1 else f"starting in {folder.path}"


def _warn_of_unpaired(asked: Asked, console: Console) -> None:
    missing = {arm: count for arm, count in asked.texts.unpaired.items() if count} if asked.texts else {}
    if missing:
        counts = ", ".join(f"{count} of {arm}" for arm, count in missing.items())
        console.print(f"texts without a partner are left out: {counts}", highlight=False)


def _follower(log: Log, wire: Wire, resolved: Resolved, folder: RunFolder) -> Follower:
    texts = None if resolved.pairs is None else resolved.pairs * len(resolved.arms)
    return Follower(log, wire, resolved.arms, texts, spender=folder.identity)


async def _run_and_watch(
    running: Callable[[], Awaitable[None]], follower: Follower, folder: RunFolder, console: Console
) -> Exception | None:
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch, follower, console, folder.run)
        try:
            await running()
        except Exception as error:  # told after everything is closed
            failure = error
        tasks.cancel_scope.cancel()
    return failure


async def _watch(follower: Follower, console: Console, name: str) -> None:
    try:
        await patiently(partial(watch, follower, console, name=name), "the progress")
    finally:
        await follower.close()


async def _finish(folder: RunFolder) -> Results:
    results = await read_results(folder.path)
    await anyio.to_thread.run_sync(write_results, results)
    times = [entry for entry in folder.journal() if entry["event"] == "stopped"]
    timing = {"seconds": round(sum(entry["seconds"] for entry in times), 3), "sessions": len(times)}
    write_atomically(folder.path / "timing.json", json.dumps(timing, indent=1) + "\n")
    write_atomically(folder.path / "done", results.why + "\n")
    return results
