"""What one service counts while it runs: records, commits, and the state that each second of it was spent in.

It is noted on the event loop in plain numbers, once a batch, and published when somebody asks.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import TYPE_CHECKING, Literal, get_args

from contraflow.errors import Fenced
from contraflow.log.protocol import Appended, Partition, Record
from contraflow.runtime.supervisor import Service, cause_of
from contraflow.topics import dead_letters

if TYPE_CHECKING:
    from contraflow.runtime.metrics import Metrics

__all__ = ["Meter", "State", "Status"]

State = Literal["waiting", "processing", "blocked", "committing"]
Status = Literal["starting", "running", "failed", "fenced", "ended"]

_topic = itemgetter(0)
_DEAD = dead_letters("")


class Meter:
    """Counts for one service, by the name that the ring knows it by.

    A service of several lanes is in one state at a time: processing if any lane is, else committing if any is. The
    sampler, which waits for nothing but the ring, is blocked when it waits.
    """

    def __init__(self, metrics: Metrics, service: str) -> None:
        self.service, _, self.arm = service.partition(" of ")
        self.status: Status = "starting"
        self.why = ""
        self._metrics = metrics
        self._commits = metrics.commit_seconds.labels(self.service, self.arm)
        self._restarts = metrics.restarts.labels(self.service, self.arm)
        self._idle: State = "blocked" if service == "sampler" else "waiting"
        self._holding = self._committing = self._generating = 0
        self._state: State = self._idle
        self._since = self._progressed = time.monotonic()
        self._seconds: dict[State, float] = dict.fromkeys(get_args(State), 0.0)
        self._read: Counter[str] = Counter()
        self._delays: dict[str, float] = {}
        self._written: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()

    @property
    def state(self) -> State:
        """What the service does now."""
        return self._state

    @property
    def idle(self) -> float:
        """Seconds since the service has last read or committed a record."""
        return time.monotonic() - self._progressed

    async def run(self, service: Service) -> None:
        """Run the service; its start and its end are noted here, and a start after a failure is a restart."""
        if self.status != "starting":
            self._restarts.inc()
        self.status, self.why, self._since = "starting", "", time.monotonic()
        try:
            await service()
        except Exception as error:
            cause = cause_of(error)
            self._ended("fenced" if isinstance(cause, Fenced) else "failed", str(cause) or repr(cause))
            raise
        self._ended("ended")

    def _ended(self, status: Status, why: str = "") -> None:
        self._account()
        self.status, self.why = status, why

    # what the log tells

    def answered(self) -> None:
        """The log has answered the service: from now on it runs."""
        if self.status == "starting":
            self.status = "running"

    def holds(self, records: Sequence[Record]) -> None:
        """A reader has returned records; they are being processed until it ``releases`` them."""
        self._holding += 1
        self._turn()
        self._progressed = self._since
        self._read.update(map(_topic, records))
        newest = records[-1]
        self._delays[newest.topic] = time.time() - newest.timestamp / 1000

    def releases(self) -> None:
        """A reader has nothing in hand any more."""
        self._holding -= 1
        self._turn()

    @contextmanager
    def committing(self) -> Iterator[None]:
        """A commit is under way; it counts if it succeeds."""
        self._committing += 1
        self._turn()
        started = self._since
        try:
            yield
        finally:
            self._committing -= 1
            self._turn()
        self._commits.observe(self._since - started)
        self._progressed = self._since

    def committed(self, appended: Mapping[Partition, Appended]) -> None:
        """A commit has appended records, as the log counts them."""
        for (topic, _), (records, size) in appended.items():
            self._written[topic] += records
            self._bytes[topic] += size

    # what the generator tells

    @contextmanager
    def generating(self) -> Iterator[None]:
        """The generator answers, whatever the readers and the commits beside it do."""
        self._generating += 1
        self._turn()
        try:
            yield
        finally:
            self._generating -= 1
            self._turn()

    def decoded(self, prompt: int, completion: int) -> None:
        """The generator has read and written tokens."""
        self._tokens["prompt"] += prompt
        self._tokens["completion"] += completion

    def _turn(self) -> None:
        """Change to the state that follows from what is going on."""
        self._account()
        if self._generating or self._holding > self._committing:
            self._state = "processing"
        else:
            self._state = "committing" if self._committing else self._idle

    def _account(self) -> None:
        now = time.monotonic()
        if self.status in ("starting", "running"):
            self._seconds[self._state] += now - self._since
        self._since = now

    def publish(self) -> None:
        """Bring the metrics up to now."""
        self._account()
        metrics, who = self._metrics, (self.service, self.arm)
        for state, seconds in self._seconds.items():
            metrics.seconds.labels(*who, state).inc(seconds)
            self._seconds[state] = 0.0
        for topic, delay in self._delays.items():
            metrics.read_delay.labels(*who, self._name(topic)).set(max(0.0, delay))
            metrics.dead_letters.labels(*who, self._name(topic))  # 0, and not unknown, until there is one
        for topic, count in self._written.items():
            if topic.endswith(_DEAD):
                metrics.dead_letters.labels(
                    *who, self._name(topic.removesuffix(_DEAD).removesuffix(f".{self.service}"))
                ).inc(count)
        for counts, series, name in (
            (self._read, metrics.records_in, self._name),
            (self._written, metrics.records_out, self._name),
            (self._bytes, metrics.bytes_out, self._name),
            (self._tokens, metrics.tokens, str),
        ):
            for topic, count in counts.items():
                series.labels(*who, name(topic)).inc(count)
            counts.clear()

    def _name(self, topic: str) -> str:
        return topic.removeprefix(f"{self._metrics.run}.")
