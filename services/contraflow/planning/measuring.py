"""What this machine does with an experiment: its generators and its encoder at work for a few seconds, and what is free."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import anyio.to_thread

from contraflow.asked import Asked, pool_of
from contraflow.configuration import Loaded, Resolved
from contraflow.decoder.generator import Generator, build
from contraflow.embedder import encoder as encoders
from contraflow.events import Request
from contraflow.pipeline import pinned
from contraflow.planning.calibrating import Pace, calibrate
from contraflow.planning.reckoning import Measured, Planned, reckon
from contraflow.runner import prepare
from contraflow.runtime.beside import beside
from contraflow.runtime.peaks import Peaks, free_memory, gpu_peaks
from contraflow.sampler.core import Sampler, SamplerConfig

__all__ = ["plan"]

_NO_WAITING = 1 << 62
"""Epochs in flight: no plan then waits for what was found."""


async def plan(loaded: Loaded, runs: Path, *, seconds: float = 10.0) -> Planned:
    """What a run of the experiment takes here, with its generators measured on its prompts for ``seconds`` (0: not at all).

    :raises GeneratorError: if one cannot be started, or answers nothing but errors.
    :raises ConfigurationError: if nothing bounds the run.
    """
    asked, resolved = await prepare(loaded)
    free = free_memory()
    paces: Mapping[str, Pace] = {}
    peaks = Peaks("")
    if seconds and asked.texts is None:
        generators = {arm: _generator(arm, loaded.base_dir, resolved) for arm in resolved.arms}
        ahead = resolved.epoch * resolved.in_flight
        async with beside(peaks.watch):
            paces = await calibrate(generators, _requests(resolved, asked), ahead=ahead, seconds=seconds)
    texts = _examples(asked, resolved.arms, paces)
    embedding = await anyio.to_thread.run_sync(_seconds_to_embed, resolved, texts) if seconds else None
    peak = peaks.look().get("") if seconds else None
    memory = None if free is None else free / 2**20
    gpus = gpu_peaks() | peaks.gpus
    return reckon(resolved, asked, Measured(paces, embedding, texts, _disk_free(runs), memory, peak, gpus))


def _generator(arm: str, base_dir: Path, resolved: Resolved) -> Generator:
    """As a decoder of the arm's first device has it; but vLLM's arms share an engine here where one process may."""
    here = resolved.experiment
    if here.generator.backend != "vllm":
        here = pinned(here, arm, next(iter(here.arms[arm].devices), None))
    return build(arm, here, base_dir, resolved.arms)


def _requests(resolved: Resolved, asked: Asked) -> Iterator[Request]:
    """What a run would ask if nothing was ever found, for as long as somebody wants more and there is more."""
    config = SamplerConfig(
        "plan",
        resolved.epoch,
        _NO_WAITING,
        resolved.warm_start,
        None,
        len(resolved.arms),
        seed=resolved.experiment.seed,
    )
    sampler = Sampler(config, asked.prompts, pool_of(resolved, asked))
    while sampler.complete is None:
        yield from sampler.plan(None).requests


def _examples(asked: Asked, arms: Sequence[str], paces: Mapping[str, Pace], most: int = 512) -> list[str]:
    if asked.texts is None:
        return [text for pace in paces.values() for text in pace.texts]
    prompts = asked.prompts[:: -(-len(asked.prompts) // most)]
    return [asked.texts.text(prompt.prompt_id, arm, 0) for prompt in prompts for arm in arms]


def _seconds_to_embed(resolved: Resolved, texts: Sequence[str], most: float = 5.0) -> float:
    """A text, on average. The cache is not asked: it knows these prompts' texts, and none of those that will come."""
    embedder = resolved.experiment.embedder
    encoder, size = encoders.build(embedder), 4 * embedder.batch
    encoder.encode(texts[:size])  # the first is slower
    started, done = time.perf_counter(), 0
    while done < len(texts) and time.perf_counter() - started < most:
        done += len(encoder.encode(texts[done : done + size])[0])
    return (time.perf_counter() - started) / done


def _disk_free(folder: Path) -> float:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free / 2**20
