"""What one service counts while it runs: records, commits, and the state that each second of it was spent in.

All of it is noted on the event loop, once a batch; nothing here looks into a record.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import TYPE_CHECKING, Literal, get_args

from contraflow.errors import Fenced
from contraflow.log.protocol import Outgoing, Record
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
    """Counts for one service.

    A service of several lanes is in one state at a time: processing if any lane is, else committing if any is. The
    sampler, which waits for nothing but the ring, is blocked when it waits.
    """

    def __init__(self, metrics: Metrics, service: str) -> None:
        self.service, _, self.arm = service.partition(" of ")
        self.status: Status = "starting"
        self.why = ""
        self._metrics = metrics
        self._prefix = f"{metrics.run}."
        self._commits = metrics.commit_seconds.labels(self.service, self.arm)
        self._restarts = metrics.restarts.labels(self.service, self.arm)
        self._seconds = {state: metrics.seconds.labels(self.service, self.arm, state) for state in get_args(State)}
        self._idle: State = "blocked" if service == "sampler" else "waiting"
        self._holding = self._committing = self._generating = 0
        self._state: State = self._idle
        self._since = self._progressed = time.monotonic()

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
        self.account()
        self.status, self.why = status, why

    def account(self) -> None:
        """Bring the seconds of the state up to now."""
        now = time.monotonic()
        if self.status in ("starting", "running"):
            self._seconds[self._state].inc(now - self._since)
        self._since = now

    def _turn(self) -> None:
        """Change to the state that follows from what is going on."""
        self.account()
        if self._generating or self._holding > self._committing:
            self._state = "processing"
        else:
            self._state = "committing" if self._committing else self._idle

    def holds(self, records: Sequence[Record]) -> None:
        """A reader has returned records; they are being processed until it ``releases`` them."""
        self.answered()
        if not records:
            return
        self._holding += 1
        self._turn()
        self._progressed = self._since
        for topic, count in Counter(map(_topic, records)).items():
            self._metrics.records_in.labels(*self._labels(topic)).inc(count)
        newest = records[-1]
        delay = max(0.0, time.time() - newest.timestamp / 1000)
        self._metrics.read_delay.labels(*self._labels(newest.topic)).set(delay)

    def releases(self) -> None:
        """A reader has nothing in hand any more."""
        self._holding -= 1
        self._turn()

    def answered(self) -> None:
        """The log has answered the service: from now on it runs."""
        if self.status == "starting":
            self.status = "running"

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

    @contextmanager
    def committing(self, outputs: Sequence[Outgoing]) -> Iterator[None]:
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
        self.answered()
        self._wrote(outputs)

    def _wrote(self, outputs: Sequence[Outgoing]) -> None:
        self._progressed = self._since
        records: Counter[str] = Counter(map(_topic, outputs))
        size: Counter[str] = Counter()
        for output in outputs:
            size[output.topic] += len(output.key.encode()) + len(output.value or b"")
        for topic, count in records.items():
            labels = self._labels(topic)
            self._metrics.records_out.labels(*labels).inc(count)
            self._metrics.bytes_out.labels(*labels).inc(size[topic])
            if topic.endswith(_DEAD):
                origin = self._labels(topic.removesuffix(_DEAD))
                self._metrics.dead_letters.labels(*origin).inc(count)

    def _labels(self, topic: str) -> tuple[str, str, str]:
        return self.service, self.arm, topic.removeprefix(self._prefix)

    def decoded(self, prompt: int, completion: int) -> None:
        """The generator has read and written tokens."""
        self._metrics.tokens.labels(self.service, self.arm, "prompt").inc(prompt)
        self._metrics.tokens.labels(self.service, self.arm, "completion").inc(completion)
