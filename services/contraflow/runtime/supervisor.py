"""Runs services side by side; restarts one that fails, a bounded number of times, then says why the run stopped."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

import anyio

from contraflow.errors import (
    ConfigurationError,
    ContraflowError,
    Fenced,
    GeneratorError,
    JudgeAway,
    LogError,
    LogUnusable,
)
from contraflow.runtime.clock import Clock
from contraflow.runtime.deadletters import TooManyDeadLetters
from contraflow.runtime.drain import Drain

__all__ = ["RunStopped", "Service", "Supervisor", "cause_of", "may_pass"]

logger = logging.getLogger(__name__)

Service = Callable[[], Awaitable[None]]

_HOPELESS = (ConfigurationError, Fenced, GeneratorError, JudgeAway, LogUnusable, TooManyDeadLetters)
"""What a restart cannot mend."""


class RunStopped(ContraflowError):
    """A service failed more often than it may be restarted, or in a way that a restart cannot mend."""


class Supervisor:
    """Starts each service from its factory, again after a failure, up to ``restarts`` times within ``window`` seconds.

    What a restart cannot mend (a fenced owner, a wrong configuration, a dead generator) stops the run at once: the
    other services drain, and RunStopped says which service failed and why.
    """

    def __init__(self, drain: Drain, *, restarts: int = 3, window: float = 600.0, clock: Clock | None = None) -> None:
        self._drain = drain
        self._restarts = restarts
        self._window = window
        self._clock = clock or Clock()
        self._failure: RunStopped | None = None
        self.restarted: dict[str, int] = {}

    async def run(self, services: Mapping[str, Service]) -> None:
        """Run until every service has returned.

        :raises RunStopped: if one failed for good; the others have drained by then.
        """
        async with anyio.create_task_group() as tasks:
            for name, service in services.items():
                tasks.start_soon(self._keep_running, name, service, name=name)
        if self._failure is not None:
            raise self._failure

    async def _keep_running(self, name: str, service: Service) -> None:
        failures: deque[float] = deque()
        while True:
            try:
                await service()
                return
            except Exception as error:
                cause = cause_of(error)
                while failures and failures[0] < self._clock.now() - self._window:
                    failures.popleft()
                tries = len(failures)
                if isinstance(cause, _HOPELESS) or tries >= self._restarts or self._drain.requested:
                    self._stop(name, cause, tries)
                    return
                failures.append(self._clock.now())
                self.restarted[name] = self.restarted.get(name, 0) + 1
                logger.warning("%s failed and is restarted (%d of %d): %r", name, tries + 1, self._restarts, cause)
                await self._clock.sleep(0.2 * 2**tries)

    def _stop(self, name: str, cause: BaseException, tries: int) -> None:
        if self._failure is None:
            again = f" after {tries} restarts" if tries else ""
            said = str(cause) if isinstance(cause, ContraflowError) else repr(cause)
            self._failure = RunStopped(f"the {name} stopped{again}: {said}")
            self._failure.__cause__ = cause
        # what we raise says it all; anything else is a bug, and its traceback is what a report needs
        expected = isinstance(cause, ContraflowError)
        logger.error("%s stopped: %s", name, cause, exc_info=None if expected else cause)
        self._drain.request(f"the {name} failed")


def may_pass(error: ContraflowError) -> bool:
    """Whether a later start may go well: a broker that is not there now, however long it was waited for."""
    cause = error.__cause__ if isinstance(error, RunStopped) else error
    return isinstance(cause, LogError) and not isinstance(cause, _HOPELESS)


def cause_of(error: BaseException) -> BaseException:
    """The first error inside nested groups; task groups wrap what their tasks raise."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
