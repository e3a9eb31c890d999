"""One service of a run, in a process of its own; others run the rest, on this machine or elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from contraflow.conductor import conduct, fingerprint
from contraflow.configuration import Loaded, Resolved
from contraflow.decoder.vllm.visible import show_only
from contraflow.errors import Fenced
from contraflow.experiment import Experiment
from contraflow.log.embedded import Share
from contraflow.log.opening import open_log
from contraflow.monitor.endpoint import Address, open_metrics
from contraflow.pipeline import decoder_of, open_ring
from contraflow.runner import prepare
from contraflow.runs import join_run
from contraflow.runtime.drain import Drain
from contraflow.runtime.peaks import note_peaks
from contraflow.runtime.signals import drain_at_end_of_input, drain_on_signals
from contraflow.runtime.supervisor import RunStopped, Supervisor

__all__ = ["gpu_of", "serve"]


async def serve(
    loaded: Loaded,
    runs: Path,
    run: str,
    service: str,
    *,
    with_parent: bool = False,
    metrics: Address | None = None,
    say: Callable[[str], None] = print,
    device: str | None = None,
) -> str:
    """Run a service until the run is done, draining is asked for, or another copy takes its place; returns why it ended.

    It drains when its standard input ends, if it runs ``with_parent``; serves its ``metrics`` at an address, which it says.

    :raises RunStopped: if it failed for good.
    """
    if (gpu := gpu_of(loaded.experiment, service, device)) is not None:
        show_only(gpu)
    drain = Drain()
    asked, resolved = await prepare(loaded)
    folder, resolved = join_run(runs, run, resolved, asked.digest)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(note_peaks(folder.note, f"{service} on {device}" if device else service))
        await stack.enter_async_context(drain_on_signals(drain))
        if with_parent:
            await stack.enter_async_context(drain_at_end_of_input(drain))
        log = await stack.enter_async_context(open_log(folder, _share(resolved, service, device)))
        counted = await stack.enter_async_context(open_metrics(metrics, run, log, say))
        opened = open_ring(
            log, run, resolved, asked, loaded.base_dir, drain, [service], counted, folder.identity, device, folder.note
        )
        ring = await stack.enter_async_context(opened)
        try:
            only = {service: ring.services[service]}
            await conduct(log, ring.wire, only, drain, Supervisor(drain), fingerprint(resolved, asked))
        except RunStopped as stopped:
            if not isinstance(stopped.__cause__, Fenced):
                raise
            return f"another {service} of {run} has taken over, and goes on; nothing is lost"
    return drain.why or "its work is done"


def gpu_of(experiment: Experiment, service: str, device: str | None) -> str | None:
    """What an engine that chooses its GPU by itself is shown of them: ``device``, or the only one that its arm names."""
    arm = experiment.arms.get(service.removeprefix(decoder_of("")))
    if experiment.generator.backend != "vllm" or arm is None:
        return None
    return device or (arm.devices[0] if len(arm.devices) == 1 else None)


def _share(resolved: Resolved, service: str, device: str | None) -> Share | None:
    """Which of an arm's decoders this is, where the log has no members that come and go."""
    if device is None:
        return None
    devices = resolved.experiment.arms[service.removeprefix(decoder_of(""))].devices
    return Share(devices.index(device), len(devices))
