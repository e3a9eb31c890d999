"""Everything that a screen shows of a run, looked up again and again."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from contraflow.log.protocol import Log
from contraflow.monitor.held import Held, Shape, held, waiting
from contraflow.monitor.progress import Follower, Standing
from contraflow.monitor.topics import GroupFlow, Sample, TopicFlow, flows, sample
from contraflow.runs import RunFolder
from contraflow.wire import Wire

__all__ = ["State", "View", "Watcher"]

State = Literal["not started", "running", "quiet", "stopped", "done"]

_WINDOW = 10.0
"""Seconds that rates cover: commits come in bursts."""
_QUIET = 60.0
"""Seconds without a commit after which nobody may be running it; a local model takes 15 s for a batch."""
_FOLLOWED = ("regions", "steering", "verdicts", "control")


@dataclass(frozen=True, slots=True)
class View:
    """A run at one moment. ``idle`` is seconds without a commit, since the watcher came."""

    state: State
    idle: float = 0.0
    standing: Standing = field(default_factory=Standing)
    topics: list[TopicFlow] = field(default_factory=list)
    groups: list[GroupFlow] = field(default_factory=list)
    held: Held | None = None


class Watcher:
    """Looks at a run from outside; it writes nothing. ``look`` may be called as often as somebody wants to see."""

    def __init__(self, log: Log, folder: RunFolder) -> None:
        resolved = folder.resolved
        self._log = log
        self._folder = folder
        self._shape = msgspec.convert(resolved, Shape)
        self._wire = Wire(folder.run, resolved["experiment"]["partitions"])
        pairs, arms = self._shape.pairs, self._shape.arms
        budget = None if pairs is None else pairs * len(arms)
        self._follower = Follower(log, self._wire, arms, budget, resident=False, spender=folder.identity)
        self._samples: deque[Sample] = deque()
        self._waits: deque[dict[str, float]] = deque(maxlen=10)
        self._came = time.monotonic()
        self._moved: float | None = None

    async def look(self) -> View:
        """How the run stands now.

        :raises LogError: if its log cannot be read.
        """
        now = await sample(self._log, self._folder.run)
        topics = {partition.topic for partition in now.partitions}
        if not topics.issuperset(map(self._wire.topic, _FOLLOWED)):
            return View("not started")
        self._note(now)
        ends = {partition: info.end for partition, info in now.partitions.items()}
        standing = await self._follower.look(now.at, self._answered(now), ends)
        waits = waiting(now, self._folder.run, self._shape, complete=standing.phase == "finishing")
        if waits is not None:
            self._waits.append(waits)
        flowing = await flows(self._log, self._samples[0], now, self._folder.run)
        idle = now.at - (self._moved or self._came)
        state = self._state(standing, idle)
        return View(state, idle, standing, *flowing, held(self._waits) if state == "running" else None)

    def _note(self, now: Sample) -> None:
        if self._samples and _ends(self._samples[-1]) != _ends(now):
            self._moved = now.at
        self._samples.append(now)
        while len(self._samples) > 2 and self._samples[1].at <= now.at - _WINDOW:
            self._samples.popleft()

    def _answered(self, now: Sample) -> dict[str, int]:
        groups = {arm: now.groups.get(f"{self._folder.run}.decoder.{arm}", {}) for arm in self._shape.arms}
        return {arm: sum(position.records or 0 for position in at.values()) for arm, at in groups.items()}

    def _state(self, standing: Standing, idle: float) -> State:
        if standing.phase == "done":
            return "done"
        rests = self._moved is None or idle > _WINDOW
        if rests and (journal := self._folder.journal()) and journal[-1]["event"] == "stopped":
            return "stopped"
        return "quiet" if idle > _QUIET else "running"

    async def close(self) -> None:
        """Stop watching."""
        await self._follower.close()


def _ends(of: Sample) -> int:
    return sum(info.end for info in of.partitions.values())
