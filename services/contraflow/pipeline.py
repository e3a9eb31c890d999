"""Wires an experiment's services to a log. What only one of them needs is imported there: each may be a process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio
import anyio.to_thread
import numpy as np
from msgspec.structs import replace

from contraflow.asked import Asked, pool_of
from contraflow.configuration import Resolved
from contraflow.configuration.tiers import judged_pairs
from contraflow.decoder.generator import Generator, build
from contraflow.decoder.metered import MeteredGenerator
from contraflow.decoder.replay import ReplayGenerator
from contraflow.embedder import encoder as encoders
from contraflow.embedder.batcher import Batcher, open_batcher
from contraflow.embedder.cache import EmbeddingCache
from contraflow.embedder.metered import metered
from contraflow.experiment import Arm, Experiment
from contraflow.log.metered import MeteredLog
from contraflow.log.protocol import Log
from contraflow.runtime.drain import Drain
from contraflow.runtime.lanes import run_lanes
from contraflow.runtime.supervisor import Service
from contraflow.wire import Wire

if TYPE_CHECKING:
    from contraflow.clusterer.service import ClustererService
    from contraflow.embedder.encoder import Encoder
    from contraflow.runtime.metrics import Metrics
    from contraflow.sampler.service import SamplerService
    from contraflow.sampler.value import Neighbours
    from contraflow.validator.core import Author, Judge
    from contraflow.validator.service import ValidatorService

__all__ = ["Ring", "decoder_of", "open_ring", "pinned", "processes_of", "services_of"]

_DECODER = "decoder of "
_PIECE = 2048
"""Prompts that are embedded at once."""
_CRITERIA = ("unseen", "completeness", "stability", "decided")


def decoder_of(arm: str) -> str:
    """The name of an arm's decoder among the services."""
    return _DECODER + arm


def services_of(arms: Iterable[str]) -> tuple[str, ...]:
    """The names of a ring's services."""
    return _with_decoders(map(decoder_of, arms))


def processes_of(arms: Mapping[str, Arm]) -> tuple[str, ...]:
    """The names of a ring's processes: a decoder for each device of an arm, ``decoder of tuned on cuda:1``."""
    return _with_decoders(
        decoder_of(name) + (f" on {device}" if device else "")
        for name, arm in arms.items()
        for device in arm.devices or ("",)
    )


def _with_decoders(decoders: Iterable[str]) -> tuple[str, ...]:
    return ("sampler", *decoders, "embedder", "clusterer", "validator")


class Encoding(NamedTuple):
    """The encoder's cache, and what gathers batches for it."""

    cache: EmbeddingCache
    batcher: Batcher


class Ring:
    """Makes the services of an experiment on a log. Only decoders do without an ``encoding``."""

    def __init__(
        self,
        log: Log,
        run: str,
        resolved: Resolved,
        asked: Asked,
        base_dir: Path,
        drain: Drain,
        encoding: Encoding | None = None,
        metrics: Metrics | None = None,
        identity: str | None = None,
        only: Collection[str] = (),
        device: str | None = None,
        note: Callable[..., None] | None = None,
    ) -> None:
        self.log = log
        self.wire = Wire(run, resolved.experiment.partitions)
        self.resolved = resolved
        self.drain = drain
        self._asked = asked
        self._base_dir = base_dir
        self._encoding = encoding
        self._metrics = metrics
        self._identity = identity or run
        self._together = [arm for arm in resolved.arms if not only or decoder_of(arm) in only]
        self._device = device
        self._note = note

    @property
    def services(self) -> dict[str, Service]:
        """Every service of the ring by its name."""
        services: dict[str, Service] = {
            "sampler": self._sample,
            **{decoder_of(arm): self._decode(arm) for arm in self.resolved.arms},
            "embedder": self._embed,
            "clusterer": lambda: self._clusterer().run(),
            "validator": self._validate,
        }
        return {name: self._counted(name, service) for name, service in services.items()}

    def _counted(self, name: str, service: Service) -> Service:
        metrics = self._metrics
        return service if metrics is None else lambda: metrics.of(name).run(service)

    def _log_of(self, service: str) -> Log:
        return self.log if self._metrics is None else MeteredLog(self.log, self._metrics.of(service))

    @property
    def _encodes(self) -> Encoding:
        assert self._encoding is not None, "a ring is opened with an encoder for the services that need one"
        return self._encoding

    async def _sample(self) -> None:
        neighbours = await self.drain.unless(self._neighbours())
        if neighbours is not None:
            await self._sampler(neighbours).run()

    async def _neighbours(self) -> Neighbours:
        from contraflow.embedder.neighbours import MOST_PROMPTS, nearest_prompts
        from contraflow.sampler.value import Neighbours

        prompts = self._asked.prompts
        if self.resolved.experiment.sampling.rule == "uniform" or not 2 <= len(prompts) <= MOST_PROMPTS:
            return Neighbours.none(len(prompts))
        # in pieces: what a thread has begun is waited for, also by Ctrl-C
        pieces = [prompts[start : start + _PIECE] for start in range(0, len(prompts), _PIECE)]
        vectors = [await self._vectors([prompt.text for prompt in piece]) for piece in pieces]
        together = np.concatenate(vectors)
        return Neighbours(*await anyio.to_thread.run_sync(nearest_prompts, together, abandon_on_cancel=True))

    def _sampler(self, neighbours: Neighbours) -> SamplerService:
        from contraflow.sampler.core import Sampler, SamplerConfig
        from contraflow.sampler.service import SamplerService

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
        sampler = Sampler(config, self._asked.prompts, pool_of(resolved, self._asked), neighbours)
        return SamplerService(
            self._log_of("sampler"), self.wire, sampler, self.drain, minutes=experiment.budget.minutes
        )

    def _decode(self, arm: str) -> Service:
        generator: list[Generator] = []

        async def decode_arm() -> None:
            from contraflow.decoder.service import Decoder

            if not generator:
                generator.append(self._generator(arm))
            tries = self.resolved.experiment.generator.tries
            log = self._log_of(decoder_of(arm))
            try:
                await Decoder(log, self.wire, arm, generator[0], self.drain, tries=tries).run()
            finally:
                if self._note is not None and (usage := getattr(generator[0], "usage", "")):
                    self._note("engine", usage=usage)

        return decode_arm

    def _generator(self, arm: str) -> Generator:
        stored = self._asked.texts
        here = pinned(self.resolved.experiment, arm, self._device)
        generator = ReplayGenerator(arm, stored) if stored else build(arm, here, self._base_dir, self._together)
        return generator if self._metrics is None else MeteredGenerator(generator, self._metrics.of(decoder_of(arm)))

    async def _embed(self) -> None:
        from contraflow.embedder.service import EmbedderService

        service = EmbedderService(self.wire, self._encodes.batcher, self._encodes.cache.fingerprint)
        log = self._log_of("embedder")
        texts, output = self.wire.topic("texts"), self.wire.topic("embeddings")
        await run_lanes(log, f"{self.wire.run}.embedder", texts, service, self.drain, output=output)

    def _clusterer(self) -> ClustererService:
        from contraflow.clusterer.core import ClustererConfig
        from contraflow.clusterer.service import ClustererService

        experiment, resolved = self.resolved.experiment, self.resolved
        config = ClustererConfig(
            arms=resolved.arms,
            reference=resolved.reference,
            dim=self._encodes.cache.dim,
            warm_start=resolved.warm_start,
            start=resolved.clusters_start,
            max_clusters=experiment.clusters.max,
            epoch=resolved.epoch,
            alpha=experiment.alpha,
            seed=experiment.seed,
            stop={name: value for name in _CRITERIA if (value := getattr(experiment.stop, name)) is not None},
            explore_population=getattr(pool_of(resolved, self._asked), "explore_population", None),
            confirm=judged_pairs(experiment.validation),
        )
        return ClustererService(self._log_of("clusterer"), self.wire, config, self.drain)

    async def _validate(self) -> None:
        from contraflow.validator import judges

        experiment = self.resolved.experiment
        asked, dollars = experiment.validation, experiment.budget.dollars
        async with judges.open_judges(
            asked.tiers, self._vectors, self._identity, dollars, self._base_dir, author=asked.author
        ) as opened:
            await self._validator(*opened).run()

    def _validator(self, opened: Sequence[Judge], author: Author | None) -> ValidatorService:
        from contraflow.validator.core import ValidatorConfig
        from contraflow.validator.service import ValidatorService

        experiment = self.resolved.experiment
        config = ValidatorConfig(
            arms=self.resolved.arms,
            reference=self.resolved.reference,
            alpha=experiment.alpha,
            min_accuracy=experiment.validation.min_accuracy,
            borderline=experiment.validation.borderline,
            pairs=judged_pairs(experiment.validation),
            seed=experiment.seed,
            held_out=self._asked.held_out is not None and bool(self._asked.held_out.any()),
        )
        return ValidatorService(self._log_of("validator"), self.wire, config, opened, self.drain, author)

    async def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        return (await self._encodes.batcher.embed(texts)).vectors


def pinned(experiment: Experiment, arm: str, device: str | None) -> Experiment:
    """The experiment as a decoder of one device reads it: ``device``, or the only one that its arm names."""
    declared = experiment.arms[arm]
    if device is None and len(declared.devices) == 1:
        device = declared.devices[0]
    if device is None:
        return experiment
    return replace(
        experiment,
        generator=replace(experiment.generator, device=device),
        arms={**experiment.arms, arm: replace(declared, devices=(device,))},
    )


@asynccontextmanager
async def open_ring(
    log: Log,
    run: str,
    resolved: Resolved,
    asked: Asked,
    base_dir: Path,
    drain: Drain,
    only: Collection[str] = (),
    metrics: Metrics | None = None,
    identity: str | None = None,
    device: str | None = None,
    note: Callable[..., None] | None = None,
) -> AsyncIterator[Ring]:
    """A ring for all services or for ``only`` these; with its encoder and cache open, unless it only decodes.

    With ``metrics`` its services are counted. Decoders decode on ``device``, or on the one that their arm names. What its
    judges spend is kept under ``identity`` (the run's name by default). What engines say of their use is given to ``note``.
    """
    if only and all(name.startswith(_DECODER) for name in only):
        yield Ring(log, run, resolved, asked, base_dir, drain, metrics=metrics, only=only, device=device, note=note)
        return

    def open_cache() -> EmbeddingCache:
        embedder = resolved.experiment.embedder
        encoder: Encoder = encoders.build(embedder)
        return EmbeddingCache(encoder, Path(embedder.cache) if embedder.cache else None)

    cache = await anyio.to_thread.run_sync(open_cache)
    try:
        embed = cache.embed if metrics is None else metered(cache.embed, metrics)
        async with open_batcher(embed) as batcher:
            yield Ring(
                log, run, resolved, asked, base_dir, drain, Encoding(cache, batcher), metrics, identity, note=note
            )
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(cache.close)
