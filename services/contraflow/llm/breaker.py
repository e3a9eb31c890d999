"""A circuit breaker (Nygard, Release It!, 2007): a provider that is down is left alone, and probed now and then."""

from __future__ import annotations

from contraflow.runtime.clock import Clock

__all__ = ["Breaker"]


class Breaker:
    """Opens after ``failures`` failed calls in a row, for ``pause`` seconds, each time twice as long up to ``longest``.

    After the pause it is half open: a single call goes through, whose end closes it or opens it again.
    """

    def __init__(
        self, failures: int = 5, pause: float = 5.0, longest: float = 300.0, clock: Clock | None = None
    ) -> None:
        self._failures = failures
        self._first, self._longest = pause, longest
        self._clock = clock or Clock()
        self._failed = 0
        self._pause = pause
        self._until: float | None = None
        self._probing = False

    @property
    def open(self) -> bool:
        """Whether calls are held back."""
        return self._until is not None

    def wait(self) -> float:
        """Seconds until a call may be tried; 0 admits the caller, who owes ``succeeded``, ``failed`` or ``gave_up``."""
        if self._until is None:
            return 0.0
        left = self._until - self._clock.now()
        if left > 0:
            return left
        if self._probing:
            return self._first
        self._probing = True
        return 0.0

    def succeeded(self) -> None:
        """The provider answered, be it with a refusal."""
        self._failed, self._pause, self._until, self._probing = 0, self._first, None, False

    def failed(self) -> None:
        """The provider did not answer."""
        self._failed += 1
        if self._until is None and self._failed < self._failures:
            return
        late = self._until is not None and not self._probing  # it began before the circuit opened
        if not late:
            self._until = self._clock.now() + self._pause
            self._pause, self._probing = min(2 * self._pause, self._longest), False

    def gave_up(self) -> None:
        """The call was cancelled, and says nothing."""
        self._probing = False
