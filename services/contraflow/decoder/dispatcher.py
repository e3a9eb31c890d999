"""Keeps a generator full: what it is asked next, how often, and what happens when its engine dies."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import anyio
import anyio.lowlevel

from contraflow.decoder.generator import Completion, Generator
from contraflow.errors import ConfigurationError, GeneratorError
from contraflow.events import Request
from contraflow.runtime.clock import Clock
from contraflow.runtime.drain import Drain

__all__ = ["Dispatcher"]

logger = logging.getLogger(__name__)

_GATHER = 0.01
"""Seconds without a new request after which a batch is as large as it will be."""


@dataclass(eq=False, slots=True)
class _Job:
    """A request, whose it is and what to call with its answer; ``suspect`` if it was asked when the engine died."""

    request: Request
    owner: object
    finish: Callable[[Completion], None]
    place: tuple[Any, ...]
    tries: int = 0
    suspect: bool = False

    def __lt__(self, other: _Job) -> bool:
        return (not self.suspect, self.place) < (not other.suspect, other.place)


class Dispatcher:
    """Asks a generator; each request ends in one call of its ``finish``.

    A continuous generator is asked as requests arrive, up to its capacity at once: epoch by epoch, and within one those
    that begin alike together, for its prefix cache. Another is asked batch by batch in the order of ``seq``. A request
    that fails ``tries`` times is finished with an ``error``. An engine that dies is restarted ``restarts`` times in a
    row without an answer, then GeneratorError. What it was asked when it died is asked again apart from the rest: a few
    at once, if it dies again one by one. So a request that kills the engine is found, and it alone is blamed.
    """

    def __init__(
        self, arm: str, generator: Generator, drain: Drain, *, tries: int = 3, restarts: int = 5, clock: Clock | None
    ) -> None:
        self._arm = arm
        self._generator = generator
        self._drain = drain
        self._tries = tries
        self._restarts = restarts
        self._clock = clock or Clock()
        self._pending: list[_Job] = []
        self._asked: set[_Job] = set()
        self._asked_suspects: set[_Job] = set()
        self._few = 1
        self._answers = 0
        self._changed = anyio.Event()

    def submit(self, request: Request, owner: object, finish: Callable[[Completion], None]) -> None:
        """Ask this when there is room."""
        self._push(_Job(request, owner, finish, self._place(request)))

    def _place(self, request: Request) -> tuple[Any, ...]:
        if not self._generator.continuous:
            return (request.seq,)
        return request.epoch, tuple(message.content for message in request.messages), request.seq

    def forget(self, owner: object) -> None:
        """Ask nothing more of what ``owner`` submitted."""
        self._pending = [job for job in self._pending if job.owner is not owner]
        heapq.heapify(self._pending)

    async def run(self) -> None:
        """Ask until draining is requested; what is open then gets the drain's grace.

        :raises GeneratorError: if the engine keeps dying.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._ask_forever)
            await self._drain.wait()
            with anyio.move_on_after(self._drain.grace):
                while self._asked:
                    await self._clock.sleep(0.02)
            tasks.cancel_scope.cancel()

    async def _ask_forever(self) -> None:
        deaths = 0
        while True:
            self._answers = 0
            try:
                await (self._ask_as_they_come() if self._generator.continuous else self._ask_a_batch())
            except (ConfigurationError, GeneratorError):
                raise
            except Exception as error:  # whatever an engine raises, it is dead
                deaths = await self._revive(1 if self._answers else deaths + 1, error)
                self._suspect(f"the engine died: {error!r}")
            else:
                deaths = 0

    async def _ask_a_batch(self) -> None:
        while not self._has_room():
            await self._change()
        # an epoch arrives partition by partition, and an engine wants it whole
        waiting = 0
        while waiting < len(self._pending) < self._generator.capacity:
            waiting = len(self._pending)
            await self._clock.sleep(_GATHER)
        jobs = []
        while self._has_room():
            jobs.append(self._take())
        if jobs:
            await self._ask(jobs)
            # a generator may never wait, and others want their turn
            await anyio.lowlevel.checkpoint()

    async def _ask_as_they_come(self) -> None:
        died: list[Exception] = []

        async def ask(job: _Job) -> None:
            try:
                await self._ask([job])
            except Exception as error:
                died.append(error)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            while True:
                while self._has_room():
                    tasks.start_soon(ask, self._take())
                await self._change()
        raise died[0]

    async def _change(self) -> None:
        """Return when a request has come or an answer has made room."""
        self._changed = anyio.Event()
        await self._changed.wait()

    def _has_room(self) -> bool:
        """Whether the first that waits may be asked now."""
        if not self._pending or self._drain.requested:
            return False
        if self._pending[0].suspect:
            return len(self._asked) < self._few
        return len(self._asked) < max(1, self._generator.capacity) and not self._asked_suspects

    def _take(self) -> _Job:
        job = heapq.heappop(self._pending)
        self._asked.add(job)
        if job.suspect:
            self._asked_suspects.add(job)
        return job

    def _push(self, job: _Job) -> None:
        heapq.heappush(self._pending, job)
        self._changed.set()

    async def _ask(self, jobs: Sequence[_Job]) -> None:
        left = {job.request.request_id: job for job in jobs}
        async for completion in self._generator.generate([job.request for job in jobs]):
            job = left.pop(completion.request.request_id, None)
            if job is None:
                continue  # answered twice: the first answer stays
            if completion.error is None:
                job.finish(completion)  # first: what cannot be told of is not answered
                self._ended(job)
            else:
                self._ended(job)
                self._retry(job, completion.error)
        for job in left.values():
            self._ended(job)
            self._retry(job, "the generator returned no answer")

    def _ended(self, job: _Job) -> None:
        """The engine has lived through it."""
        self._asked.discard(job)
        self._asked_suspects.discard(job)
        job.suspect = False
        self._answers += 1
        self._changed.set()

    def _suspect(self, error: str) -> None:
        """One request may be what killed the engine; it is to blame only if it was alone."""
        jobs, self._asked = self._asked, set()
        again, self._asked_suspects = bool(self._asked_suspects), set()
        self._few = 1 if again else max(1, isqrt(len(jobs)))
        for job in jobs:
            job.suspect = True
            if len(jobs) == 1:
                self._retry(job, error)
            else:
                self._push(job)

    def _retry(self, job: _Job, error: str) -> None:
        job.tries += 1
        if job.tries < self._tries:
            self._push(job)
        else:
            job.finish(Completion(job.request, "", "error", error=error))

    async def _revive(self, deaths: int, error: Exception) -> int:
        """Start the engine again; one that dies while it starts has died once more. How often it has died in a row."""
        while deaths <= self._restarts:
            logger.warning("generator of arm %s died (%d of %d): %r", self._arm, deaths, self._restarts, error)
            await self._generator.close()
            await self._clock.sleep(min(0.1 * 2**deaths, 5.0))
            try:
                await self._drain.unless(self._generator.start())
                return deaths
            except ConfigurationError:
                raise
            except Exception as again:
                deaths, error = deaths + 1, again
        raise GeneratorError(
            f"the generator of arm {self._arm!r} died {deaths} times in a row, the last time with: {error!r}. What was "
            "decoded is kept; mend the cause and run the same command again."
        ) from error
