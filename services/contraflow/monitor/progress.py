"""Where a run stands, read from its log: phase, texts by arm, clusters, claims, verdicts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from contraflow.events import Control, Criterion, Regions, Steering, Verdict, VerdictStatus, decode
from contraflow.llm.spending import read_spending
from contraflow.log.protocol import Log, Partition, Reader, Record
from contraflow.wire import Wire

__all__ = ["Follower", "Standing"]

_NEWEST_COUNTS = (".regions", ".steering")
_LAST = 16
"""Offsets before the end in which there is a record for certain: on Kafka some are no record, but never many in a row."""
_ENDING = ("finishing", "done")
_WINDOW = 30.0
"""Seconds that a rate covers: a local model answers a batch every few seconds, and nothing in between."""


@dataclass(slots=True)
class Standing:
    """A run at one moment. ``rate`` is texts per second of late, ``eta`` seconds at the mean rate, ``cost`` dollars.

    ``may_cost`` is the budget of ``cost``, None where no language model of this machine was asked.
    """

    phase: str = "starting"
    texts: dict[str, int] = field(default_factory=dict)
    budget: int = 0
    rate: float | None = None
    eta: float | None = None
    clusters: int = 0
    births: int = 0
    claims: int = 0
    pairs: int = 0
    accepted: int = 0
    verdicts: int = 0
    cost: float = 0.0
    may_cost: float | None = None
    criteria: Mapping[str, Criterion] = field(default_factory=dict)
    why: str = ""


class Follower:
    """Follows a run. ``look`` may be called as often as somebody wants to see.

    A ``resident`` one keeps its reader, which goes on fetching whatever is appended; another reads when it looks.
    ``spender`` is under what name the run's judges keep what they spend.
    """

    def __init__(
        self,
        log: Log,
        wire: Wire,
        arms: Sequence[str],
        budget: int | None,
        *,
        resident: bool = True,
        spender: str | None = None,
    ) -> None:
        self._log = log
        self._wire = wire
        self._arms = arms
        self._resident = resident
        self._spender = spender
        self._reader: Reader | None = None
        self._at: dict[Partition, int | None] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._first: tuple[float, int] | None = None
        self._seen: deque[tuple[float, int]] = deque()
        self.standing = Standing(budget=budget or 0)

    async def look(
        self, now: float, texts: dict[str, int] | None = None, ends: Mapping[Partition, int] | None = None
    ) -> Standing:
        """Where the run stands at ``now`` (seconds of any steady clock).

        ``texts`` are the requests that each arm has answered, and ``ends`` the ends of its partitions, if they are known.
        """
        if self._reader is None:
            topics = ("regions", "steering", "verdicts", "control")
            self._at = self._at or {p: None for topic in topics for p in self._wire.all(topic)}
            self._skip(ends or {})
            self._reader = await self._log.reader(self._at)
        while records := await self._reader.fetch(1000, wait=0.0):
            self._at.update({Partition(record.topic, record.partition): record.offset + 1 for record in records})
            for record in _that_count(records):
                self._take(record.topic.removeprefix(f"{self._wire.run}."), record.value or b"")
        if not self._resident:
            await self.close()
        self.standing.texts = texts or await answered(self._log, self._wire, self._arms)
        self._add_up()
        self._time(now)
        return self.standing

    def _skip(self, ends: Mapping[Partition, int]) -> None:
        """Go straight to the last regions and steering: a long run has many, and only the newest counts."""
        for partition, at in self._at.items():
            if partition.topic.endswith(_NEWEST_COUNTS) and partition in ends:
                self._at[partition] = max(at or 0, ends[partition] - _LAST)

    def _take(self, topic: str, value: bytes) -> None:
        standing = self.standing
        if topic == "regions":
            regions = decode(value, Regions)
            standing.clusters, standing.births = regions.clusters, regions.births
            standing.claims, standing.pairs = len(regions.claims), regions.pairs
            standing.criteria = {} if regions.warm else regions.criteria
        elif topic == "steering":
            # topics are read side by side: the end may be read before the last plan
            if standing.phase not in _ENDING:
                standing.phase = decode(value, Steering).phase
        elif topic == "verdicts":
            verdict = decode(value, Verdict)
            self._verdicts[verdict.hypothesis_id] = verdict
            standing.verdicts = sum(v.status is not VerdictStatus.OPEN for v in self._verdicts.values())
            standing.accepted = sum(v.status is VerdictStatus.ACCEPTED for v in self._verdicts.values())
        else:
            control = decode(value, Control)
            if control.action in ("complete", "done") and standing.phase != "done":
                standing.phase = "done" if control.action == "done" else "finishing"
            standing.why = control.why if control.action == "complete" else standing.why

    def _add_up(self) -> None:
        """The ledger knows what was spent at this moment; verdicts tell of it when they are settled, and to other machines."""
        standing = self.standing
        spending = read_spending(self._spender) if self._spender else None
        if spending is not None:
            standing.cost, standing.may_cost = spending.dollars, spending.budget
        else:
            standing.cost = sum(verdict.cost for verdict in self._verdicts.values())

    def _time(self, now: float) -> None:
        standing, total = self.standing, sum(self.standing.texts.values())
        if self._first is None:
            self._first = now, total
        self._seen.append((now, total))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _WINDOW:
            self._seen.popleft()
        since, before = self._seen[0]
        if now > since:
            standing.rate = (total - before) / (now - since)
        elapsed, made = now - self._first[0], total - self._first[1]
        if standing.budget and made > 0:
            standing.eta = max(0, standing.budget - total) * elapsed / made

    async def close(self) -> None:
        """Stop following."""
        if self._reader is not None:
            await self._reader.close()
            self._reader = None


def _that_count(records: Sequence[Record]) -> Iterator[Record]:
    """All but regions and steering that newer ones have superseded: a long run has many, and they are large."""
    newest = {record.topic: record.offset for record in records}
    for record in records:
        if record.offset == newest[record.topic] or not record.topic.endswith(_NEWEST_COUNTS):
            yield record


async def answered(log: Log, wire: Wire, arms: Sequence[str]) -> dict[str, int]:
    """How many requests each arm has answered, as its decoder's committed positions count."""
    found = {}
    for arm in arms:
        at = await log.positions(f"{wire.run}.decoder.{arm}", wire.all("requests"))
        found[arm] = sum(position.records or 0 for position in at.values())
    return found
