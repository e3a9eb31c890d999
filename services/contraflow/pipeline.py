"""Wires an experiment's services to a log and runs them: the whole ring in one process."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import numpy as np

from contraflow.clusterer.core import ClustererConfig
from contraflow.clusterer.service import ClustererService
from contraflow.configuration import Resolved
from contraflow.decoder.generator import Generator, build
from contraflow.decoder.replay import ReplayTexts
from contraflow.decoder.service import Decoder
from contraflow.embedder import encoder as encoders
from contraflow.embedder.batcher import Batcher, open_batcher
from contraflow.embedder.cache import EmbeddingCache
from contraflow.embedder.neighbours import nearest_prompts
from contraflow.embedder.service import EmbedderService
from contraflow.events import Control, ControlAction, decode
from contraflow.experiment import Experiment
from contraflow.log.protocol import Log
from contraflow.prompts import Prompt, load_prompts
from contraflow.runtime.drain import Drain
from contraflow.runtime.lanes import run_lanes
from contraflow.runtime.supervisor import RunStopped, Service, Supervisor
from contraflow.sampler.core import Sampler, SamplerConfig
from contraflow.sampler.pool import EndlessPool, Pool, ReplayPool
from contraflow.sampler.service import SamplerService
from contraflow.sampler.value import Neighbours
from contraflow.topics import specs
from contraflow.validator import judges
from contraflow.validator.core import ValidatorConfig
from contraflow.validator.service import ValidatorService
from contraflow.wire import Wire

if TYPE_CHECKING:
    from contraflow.embedder.encoder import Encoder

__all__ = ["Asked", "Ring", "asked_by", "drain_on_signals", "open_ring"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What an experiment asks: its prompts, which of them are held out, and what was wrong with stored texts."""

    prompts: Sequence[Prompt]
    held_out: np.ndarray | None = None
    unpaired: dict[str, int] | None = None

    @property
    def stored(self) -> int | None:
        """How many pairs are stored, where texts are replayed."""
        return None if self.held_out is None else sum(prompt.draws or 0 for prompt in self.prompts)

    @property
    def digest(self) -> str:
        """A fingerprint of the prompts: a run is not resumed with others."""
        digest = blake2b(digest_size=16)
        for prompt in self.prompts:
            digest.update(repr(tuple(prompt)).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def asked_by(experiment: Experiment, base_dir: Path) -> Asked:
    """The prompts of an experiment.

    :raises ConfigurationError: if their file cannot be used.
    """
    if experiment.generator.backend == "replay":
        assert experiment.replay is not None, "checked when the experiment was read"
        texts = ReplayTexts.load(experiment.replay, tuple(experiment.arms), base_dir)
        return Asked(texts.prompts, texts.held_out, texts.unpaired)
    if experiment.prompts is not None:
        return Asked(load_prompts(experiment.prompts, base_dir))
    from contraflow.decoder.scripted import load_world

    world = load_world(experiment.generator.world, base_dir)
    return Asked([Prompt(f"p{i}", text, category) for i, (text, category) in enumerate(world.prompts())])


def _pool(resolved: Resolved, asked: Asked) -> Pool:
    seed = resolved.experiment.seed
    if asked.held_out is not None:
        return ReplayPool([prompt.draws or 0 for prompt in asked.prompts], asked.held_out, seed)
    if resolved.greedy:  # every draw would be the same text: each prompt is asked and counted once
        return ReplayPool([1] * len(asked.prompts), np.zeros(len(asked.prompts), np.bool_), seed)
    return EndlessPool(len(asked.prompts))


class Ring:
    """An experiment on a log, ready to run. ``sources`` says where encoder and generators come from."""

    def __init__(
        self,
        log: Log,
        run: str,
        resolved: Resolved,
        asked: Asked,
        base_dir: Path,
        cache: EmbeddingCache,
        batcher: Batcher,
        drain: Drain,
    ) -> None:
        self.log = log
        self.wire = Wire(run, resolved.experiment.partitions)
        self.resolved = resolved
        self.drain = drain
        self.supervisor = Supervisor(drain)
        self._asked = asked
        self._base_dir = base_dir
        self._cache = cache
        self._batcher = batcher
        self._explore_population: int | None = None

    async def run(self) -> None:
        """Run until the run is done, or draining is requested.

        :raises RunStopped: if a service failed for good.
        """
        await self.log.create_topics(specs(self.wire.run, self.wire.partitions))
        pool = _pool(self.resolved, self._asked)
        self._explore_population = getattr(pool, "explore_population", None)
        neighbours = await self._neighbours()
        services: dict[str, Service] = {
            "sampler": lambda: self._sampler(_pool(self.resolved, self._asked), neighbours).run(),
            "embedder": self._embed,
            "clusterer": lambda: self._clusterer().run(),
            "validator": lambda: self._validator().run(),
        }
        for arm in self.resolved.arms:
            services[f"decoder of {arm}"] = self._decode(arm)
        stopped: RunStopped | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._drain_when_done)
            tasks.start_soon(self._keep_house)
            try:
                await self.supervisor.run(services)
            except RunStopped as error:
                stopped = error  # raised below: the task group would wrap it
            tasks.cancel_scope.cancel()
        if stopped is not None:
            raise stopped

    async def _drain_when_done(self) -> None:
        reader = await self.log.reader(dict.fromkeys(self.wire.all("control")))
        while not self.drain.requested:
            for record in await self.drain.fetch(reader, 100):
                if decode(record.value or b"", Control).action is ControlAction.DONE:
                    self.drain.request("done")

    async def _keep_house(self) -> None:
        while True:
            await anyio.sleep(_HOUSEKEEPING)
            await self.log.clean({}, await self.log.groups())

    async def _neighbours(self) -> Neighbours:
        prompts = self._asked.prompts
        if self.resolved.experiment.sampling.rule == "uniform" or len(prompts) < 2:
            return Neighbours.none(len(prompts))
        embedded = await self._batcher.embed([prompt.text for prompt in prompts])
        return Neighbours(*await anyio.to_thread.run_sync(nearest_prompts, embedded.vectors))

    def _sampler(self, pool: Pool, neighbours: Neighbours) -> SamplerService:
        experiment, resolved = self.resolved.experiment, self.resolved
        stop = {name: value for name in _CRITERIA if (value := getattr(experiment.stop, name)) is not None}
        config = SamplerConfig(
            run=self.wire.run,
            epoch=resolved.epoch,
            in_flight=resolved.in_flight,
            warm_start=resolved.warm_start,
            pairs=resolved.pairs,
            arms=len(resolved.arms),
            uniform=experiment.sampling.uniform,
            rule=experiment.sampling.rule,
            seed=experiment.seed,
            tokens=experiment.budget.tokens,
            stop=stop,
        )
        sampler = Sampler(config, self._asked.prompts, pool, neighbours)
        return SamplerService(self.log, self.wire, sampler, self.drain, minutes=experiment.budget.minutes)

    def _decode(self, arm: str) -> Service:
        generator: list[Generator] = []

        async def decode_arm() -> None:
            if not generator:
                generator.append(build(arm, self.resolved.experiment, self._base_dir))
            tries = self.resolved.experiment.generator.tries
            await Decoder(self.log, self.wire, arm, generator[0], self.drain, tries=tries).run()

        return decode_arm

    async def _embed(self) -> None:
        service = EmbedderService(self.wire, self._batcher, self._cache.fingerprint)
        await run_lanes(self.log, f"{self.wire.run}.embedder", self.wire.topic("texts"), service, self.drain)

    def _clusterer(self) -> ClustererService:
        experiment, resolved = self.resolved.experiment, self.resolved
        config = ClustererConfig(
            arms=resolved.arms,
            reference=resolved.reference,
            dim=self._cache.dim,
            warm_start=resolved.warm_start,
            start=resolved.clusters_start,
            max_clusters=experiment.clusters.max,
            epoch=resolved.epoch,
            alpha=experiment.alpha,
            seed=experiment.seed,
            stop={name: value for name in _CRITERIA if (value := getattr(experiment.stop, name)) is not None},
            explore_population=self._explore_population,
        )
        return ClustererService(self.log, self.wire, config, self.drain)

    def _validator(self) -> ValidatorService:
        experiment = self.resolved.experiment
        config = ValidatorConfig(
            arms=self.resolved.arms,
            reference=self.resolved.reference,
            alpha=experiment.alpha,
            min_accuracy=experiment.validation.min_accuracy,
            borderline=experiment.validation.borderline,
            pairs=experiment.validation.pairs,
            seed=experiment.seed,
            held_out=self._asked.held_out is not None and bool(self._asked.held_out.any()),
        )
        tiers = judges.build(experiment.validation.tiers, self._vectors)
        return ValidatorService(self.log, self.wire, config, tiers, self.drain)

    async def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        return (await self._batcher.embed(texts)).vectors


_HOUSEKEEPING = 30.0
"""Seconds between compactions: the state of a long run must not outgrow its texts."""
_CRITERIA = ("unseen", "completeness", "stability", "decided")


@asynccontextmanager
async def open_ring(
    log: Log, run: str, resolved: Resolved, asked: Asked, base_dir: Path, drain: Drain
) -> AsyncIterator[Ring]:
    """A ring with its encoder and cache open."""

    def open_cache() -> EmbeddingCache:
        embedder = resolved.experiment.embedder
        encoder: Encoder = encoders.build(embedder)
        return EmbeddingCache(encoder, Path(embedder.cache) if embedder.cache else None)

    cache = await anyio.to_thread.run_sync(open_cache)
    try:
        async with open_batcher(cache.embed) as batcher:
            yield Ring(log, run, resolved, asked, base_dir, cache, batcher, drain)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(cache.close)


@asynccontextmanager
async def drain_on_signals(drain: Drain, force: Callable[[], None]) -> AsyncIterator[None]:
    """The first SIGINT or SIGTERM drains; the second calls ``force``."""

    async def watch() -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                if drain.requested:
                    force()
                drain.request(signal.Signals(number).name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()
