"""One question, asked until it is answered or until patience ends: retries, time limits, and leaving a provider alone."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_exponential_jitter

from contraflow.errors import ProviderDown, ProviderUnusable
from contraflow.llm.breaker import Breaker
from contraflow.llm.concurrency import Concurrency
from contraflow.llm.provider import Permanent, RateLimited, Refused, Transient
from contraflow.runtime.clock import Clock

__all__ = ["Limits", "Patience"]

T = TypeVar("T")

_BACKOFF = wait_exponential_jitter(initial=0.5, max=30, jitter=0.5)


@dataclass(frozen=True, slots=True)
class Limits:
    """``timeout`` seconds for a call, ``total`` for a question with its retries.

    ``tries`` bounds the calls that fail; being asked to slow down is no failure, and is bounded by time alone. There are
    ``start`` calls at once in the beginning, and up to ``concurrency``.
    """

    timeout: float = 30.0
    total: float = 120.0
    tries: int = 6
    concurrency: int = 16
    start: float = 4.0


class Patience:
    """Asks a provider, named ``name`` in messages, within ``limits``; all questions to it share one of these."""

    def __init__(self, name: str, limits: Limits, breaker: Breaker | None = None, clock: Clock | None = None) -> None:
        self._name = name
        self._limits = limits
        self._clock = clock or Clock()
        self._failure = ""
        self.breaker = breaker or Breaker(clock=self._clock)
        self.concurrency = Concurrency(limits.concurrency, self._clock, limits.start)

    async def ask(self, call: Callable[[float], Awaitable[T]]) -> T:
        """The answer of ``call``, which is told the seconds that it has, and is made as often as it takes.

        Waiting for a place does not count as time.

        :raises ProviderDown: if the provider did not answer in time; a later question may be answered.
        :raises ProviderUnusable: if no later one will be, until somebody mends what the message says.
        :raises Refused: as it comes.
        """
        deadline = math.inf

        def hopeless(state: RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome else None
            spent = isinstance(error, Transient) and state.attempt_number >= self._limits.tries
            return spent or self._clock.now() + state.upcoming_sleep > deadline

        retrying = AsyncRetrying(
            retry=retry_if_exception_type((RateLimited, Transient)),
            stop=hopeless,
            wait=_wait,
            sleep=self._clock.sleep,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    async with self.concurrency.slot():
                        deadline = min(deadline, self._clock.now() + self._limits.total)
                        await self._admission(deadline)
                        return await self._once(call, deadline)
        except (RateLimited, Transient) as error:
            raise ProviderDown(f"{self._name} does not answer: {error}") from None
        except Permanent as error:
            raise ProviderUnusable(f"{self._name}: {error}") from None
        raise AssertionError("the last attempt returns or raises")

    async def _admission(self, deadline: float) -> None:
        while wait := self.concurrency.pause or self.breaker.wait():
            if self._clock.now() + wait > deadline:
                raise ProviderDown(f"{self._name} is left alone for another {wait:.0f} s: {self._failure}")
            await self._clock.sleep(wait)

    async def _once(self, call: Callable[[float], Awaitable[T]], deadline: float) -> T:
        started = self._clock.now()
        try:
            answer = await call(max(0.001, min(self._limits.timeout, deadline - started)))
        except Transient as error:
            self._failure = str(error)
            self.breaker.failed()
            raise
        except RateLimited as error:
            self.breaker.succeeded()
            self.concurrency.slow_down(started, error.retry_after)
            raise
        except (Refused, Permanent):
            self.breaker.succeeded()
            raise
        except BaseException:
            self.breaker.gave_up()
            raise
        self.breaker.succeeded()
        self.concurrency.succeeded()
        return answer


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None)
    # all that were told the same time would come back at the same time
    return _BACKOFF(state) if asked is None else float(asked) + random.uniform(0, 0.5)
