"""Where the ring is held back: which stage the requests in flight wait for.

At most L epochs of requests are in flight, so no queue grows without end and every stage soon runs at the pace of the
slowest. What tells that one is not its rate but that the others wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from contraflow.monitor.topics import Sample, processed, total
from contraflow.pairs import BLOCK

__all__ = ["Held", "Shape", "held", "waiting"]


class Shape(msgspec.Struct, frozen=True):
    """What a run's resolved configuration says of its ring (``contraflow.configuration.Resolved``)."""

    arms: tuple[str, ...]
    pairs: int | None
    epoch: int
    in_flight: int


class Held(NamedTuple):
    """The stage that most requests wait for (``decoder.<arm>`` for a decoder), how many do, and how many are in flight."""

    stage: str
    waiting: float
    in_flight: float


def held(waits: Sequence[Mapping[str, float]]) -> Held | None:
    """The stage that most requests waited for, on average over several looks; None if none waited."""
    if not waits:
        return None
    mean = {stage: sum(wait[stage] for wait in waits) / len(waits) for stage in waits[0]}
    in_flight = mean.pop("")
    stage = max(mean, key=mean.__getitem__)
    return Held(stage, mean[stage], in_flight) if mean[stage] >= 1 else None


def waiting(sample: Sample, run: str, shape: Shape, *, complete: bool) -> dict[str, float] | None:
    """How many requests wait for each stage, and under ``""`` how many are in flight; None if that is not known.

    The sampler holds back what might be in flight and is not, until the run is ``complete``. An epoch that is under way
    and a block that is not full are nobody's fault.
    """
    requests, texts, embeddings = (f"{run}.{topic}" for topic in ("requests", "texts", "embeddings"))
    decoders = {f"decoder.{arm}": _done(sample, f"{run}.decoder.{arm}", requests) for arm in shape.arms}
    counts = {
        "requests": _appended(sample, requests),
        "texts": _appended(sample, texts),
        "embedder": _done(sample, f"{run}.embedder", texts),
        "clusterer": _done(sample, f"{run}.clusterer", embeddings),
        **decoders,
    }
    known = {name: count for name, count in counts.items() if count is not None}
    if len(known) < len(counts):
        return None
    arms = len(shape.arms)
    in_flight = known["requests"] - known["clusterer"] / arms
    waits: dict[str, float] = {decoder: known["requests"] - known[decoder] for decoder in decoders}
    undecoded, unembedded = max(waits.values()), (known["texts"] - known["embedder"]) / arms
    waits["embedder"] = unembedded
    waits["clusterer"] = in_flight - undecoded - unembedded - (BLOCK - 1)
    waits["sampler"] = 0.0 if complete else (shape.in_flight - 1) * shape.epoch - in_flight
    return {"": in_flight, **waits}


def _appended(sample: Sample, topic: str) -> int | None:
    return total(info.records for partition, info in sample.partitions.items() if partition.topic == topic)


def _done(sample: Sample, group: str, topic: str) -> int | None:
    """What a group has processed of a topic; nothing where it has no position yet, as the ring begins at the beginning."""
    at = sample.groups.get(group, {})
    return total(processed(sample.partitions.get(p), position) for p, position in at.items() if p.topic == topic)
