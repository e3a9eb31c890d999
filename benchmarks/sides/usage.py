"""What a way needs of the machine, by stage."""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from rings import measuring

__all__ = ["Clock", "Usage"]


class Usage(msgspec.Struct, frozen=True):
    """``texts`` used, wall and processor seconds by stage, those of the whole process, the most memory it held (MB)."""

    texts: int
    stages: dict[str, float]
    busy: dict[str, float]
    cpu: float
    memory: float
    clusters: int


class Clock:
    """Wall seconds and processor seconds by stage; those of the ring's stages, which overlap, are counted apart."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self.busy: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Times a stage."""
        started, busy = time.perf_counter(), time.process_time()
        yield
        self.stages[stage] = time.perf_counter() - started
        self.busy[stage] += time.process_time() - busy

    @contextmanager
    def ring(self) -> Iterator[None]:
        """Times a run of the ring, once in a process."""
        measuring.instrument()
        with self("ring"):
            yield
        for stage, seconds in measuring.stages.items():
            self.busy[_IN_RING[stage]] += seconds
            self.busy["ring"] -= seconds
        self.busy["events and loop"] = self.busy.pop("ring")

    def usage(self, texts: int, clusters: int) -> Usage:
        """What was used until now, for that many texts and clusters."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Usage(texts, self.stages, dict(self.busy), used.ru_utime + used.ru_stime, _peak(), clusters)


_IN_RING = {
    "embed": "embedding",
    "cluster": "clustering",
    "cluster: state": "clustering",
    "sample": "sampling",
    "log: read": "log",
    "log: write": "log",
}


def _peak() -> float:
    # ru_maxrss would begin with what the parent held when it started us
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
