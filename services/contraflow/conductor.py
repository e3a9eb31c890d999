"""Runs services of a ring, all of them or a few, from the first request to the end of the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from hashlib import blake2b

import anyio
import msgspec

from contraflow.asked import Asked
from contraflow.configuration import Resolved
from contraflow.configuration.resolved import anywhere, tiers_apart
from contraflow.errors import RunConflict
from contraflow.events import Control, ControlAction, decode
from contraflow.log.protocol import Log
from contraflow.results import read_topic
from contraflow.runtime.drain import Drain
from contraflow.runtime.ending import until_done
from contraflow.runtime.patience import patiently
from contraflow.runtime.supervisor import RunStopped, Service, Supervisor
from contraflow.topics import SERVICES, qualified, specs
from contraflow.wire import Wire

__all__ = ["conduct", "fingerprint", "refuse_a_taken_name"]

logger = logging.getLogger(__name__)

_HOUSEKEEPING = 30.0
"""Seconds between compactions: the state of a long run must not outgrow its texts."""
_WAIT = 0.2


def fingerprint(resolved: Resolved, asked: Asked) -> str:
    """What all services of a run must agree on.

    That is everything but its budgets, where its log, its caches and its devices are, and how patiently a tier is asked.
    """
    plain = resolved.plain()
    experiment = {k: v for k, v in anywhere(tiers_apart(plain["experiment"])).items() if k not in ("budget", "log")}
    experiment["embedder"] = {k: v for k, v in experiment["embedder"].items() if k != "cache"}
    agreed = {**plain, "experiment": experiment, "pairs": None, "asked": asked.digest}
    return blake2b(msgspec.json.encode(agreed, order="sorted"), digest_size=16).hexdigest()


async def refuse_a_taken_name(log: Log, run: str) -> None:
    """Let no new run go on from the records of an older one of the same name.

    :raises RunConflict: if the log holds some.
    """
    topics = sorted({at.topic for at, info in (await log.describe(qualified(run, ""))).items() if info.records != 0})
    if topics:
        raise RunConflict(
            f"{run} would be a new run, and the log holds {len(topics)} topics with records of an older run of that name "
            f"(such as {topics[0]}), whose folder is not here. Name the experiment differently, set another log.prefix, or "
            f"delete the topics that begin with {qualified(run, '')} (after log.prefix). To go on with the older run, bring "
            "its folder back."
        )


async def conduct(
    log: Log, wire: Wire, services: Mapping[str, Service], drain: Drain, supervisor: Supervisor, config: str
) -> None:
    """Run services of a ring until the run is done, or draining is requested.

    The process that runs the sampler declares the run's ``config``, a ``fingerprint``; the others wait for that.

    :raises RunConflict: if the run was declared with another one.
    :raises RunStopped: if a service failed for good.
    """
    await log.create_topics(specs(wire.run, wire.partitions))
    await _agree(log, wire, drain, config, declares="sampler" in services)
    stopped: RunStopped | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(patiently, partial(_drain_when_done, log, wire, drain), f"who waits for the end of {wire.run}")
        if "clusterer" in services:  # one process of the ring is enough
            tasks.start_soon(patiently, partial(_keep_house, log, wire), "the cleaner")
        try:
            await supervisor.run(services)
        except RunStopped as error:
            stopped = error  # raised below: the task group would wrap it
        tasks.cancel_scope.cancel()
    if stopped is not None:
        raise stopped


async def _agree(log: Log, wire: Wire, drain: Drain, config: str, *, declares: bool) -> None:
    declared = await _declared(log, wire)
    if declared is None and declares:
        control = Control(run=wire.run, action=ControlAction.RUN, config=config)
        await log.append([wire.out("control", f"{wire.run}:config", control)])
        return
    if declared is None:
        logger.warning("waiting for the sampler of %s to start the run", wire.run)
    while declared is None and not drain.requested:
        await drain.unless(anyio.sleep(_WAIT))
        declared = await _declared(log, wire)
    if declared is not None and declared != config:
        raise RunConflict(
            f"{wire.run} was started with another configuration than this service's. Start every service of a run with "
            "the same experiment file, the same prompts and the same --set options, or start another run."
        )


async def _declared(log: Log, wire: Wire) -> str | None:
    controls = [decode(record.value or b"", Control) for record in await read_topic(log, wire, "control")]
    return next((c.config for c in controls if c.action is ControlAction.RUN), None)


async def _drain_when_done(log: Log, wire: Wire, drain: Drain) -> None:
    await drain.unless(until_done(log, wire))
    drain.request("done")


async def _keep_house(log: Log, wire: Wire) -> None:
    ours = qualified(wire.run, "")
    while True:
        await anyio.sleep(_HOUSEKEEPING)
        # a plug-in that is behind holds nothing back
        await log.clean({}, [g for g in await log.groups(ours) if g.removeprefix(ours).partition(".")[0] in SERVICES])
