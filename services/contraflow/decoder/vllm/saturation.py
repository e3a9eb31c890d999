"""How many requests an engine is given at once, measured while it answers."""

from __future__ import annotations

from dataclasses import dataclass

from contraflow.runtime.clock import Clock

__all__ = ["Begun", "Saturation"]

_GAIN = 1.1
"""Twice as many must bring a tenth more tokens a second; with less the engine is as good as saturated."""
_NEAR = 0.25
"""A text counts for a level if what was held, on average, while it was written was so near to it."""
_LEAST = 16
"""Texts that a level is measured by, at least; as many as the level if that is more."""
_PATIENCE = 24
"""Measurements at a level before it is questioned."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The moment at which a request was given to the engine."""

    seconds: float
    area: float


class Saturation:
    """Finds the fewest requests at once from which twice as many would bring less than a tenth more tokens a second.

    Each text that ends tells a rate (Little's law): the requests held while it was written, on average, times its tokens
    by its seconds. From ``start`` the ``capacity`` doubles as long as that pays, up to ``most``; what it has settled at is
    measured again from time to time, with its double and its half. Below ``start`` it never goes: fewer spare nothing, and
    a busy machine makes any level look as good as another. Where fewer requests come than a level takes, it is not
    measured: ``starved`` then says so.
    """

    def __init__(self, *, start: int = 64, most: int = 1024, clock: Clock | None = None) -> None:
        self.capacity = self._least = min(start, most)
        self.starved = False
        self._most = most
        self._clock = clock or Clock()
        self._held = 0
        self._area = 0.0
        self._moved = self._clock.now()
        self._rates: dict[int, float] = {}
        self._stay = 0
        self._fresh()

    def bound(self, most: int) -> None:
        """The engine takes no more than this at once."""
        self._most = most
        self._least, self.capacity = min(self._least, most), min(self.capacity, most)

    def begin(self) -> Begun:
        """A request is given to the engine."""
        self._hold(+1)
        return Begun(self._moved, self._area)

    def end(self, begun: Begun, tokens: int | None) -> None:
        """A text of so many tokens has come; None if none came."""
        self._hold(-1)
        seconds = self._moved - begun.seconds
        if tokens is None or seconds <= 0:
            return
        held = (self._area - begun.area) / seconds / self.capacity
        if begun.seconds < self._since or held > 1 + _NEAR:
            return  # it belongs to the level before
        if held < 1 - _NEAR:
            self._thin += 1
            self.starved = self._thin > 4 * self._enough
            return
        self._texts += 1
        self._tokens += held * self.capacity * tokens
        self._seconds += seconds
        if self._texts >= self._enough:
            self._judge(self._tokens / self._seconds)

    @property
    def _enough(self) -> int:
        return max(_LEAST, self.capacity)

    def _hold(self, more: int) -> None:
        now = self._clock.now()
        self._area += self._held * (now - self._moved)
        self._moved = now
        self._held += more

    def _judge(self, rate: float) -> None:
        """What a measurement of the present level leads to."""
        if self._stay:
            self._stay -= 1
            if not self._stay:
                self._rates.clear()
        if not self._stay:
            self._rates[self.capacity] = rate
            self.capacity, settled = self._next()
            self._stay = _PATIENCE if settled else 0
        self._fresh()

    def _next(self) -> tuple[int, bool]:
        """The level to measure next, or to stay at: its double does not pay, and it pays over its half."""
        best, rates = self.capacity, self._rates
        while best // 2 in rates and rates[best] < _GAIN * rates[best // 2]:
            best //= 2
        while 2 * best in rates and rates[2 * best] >= _GAIN * rates[best]:
            best *= 2
        for level in (2 * best, best // 2):
            if self._least <= level <= self._most and level not in rates:
                return level, False
        return best, True

    def _fresh(self) -> None:
        self.starved = False
        self._since = self._moved
        self._texts = self._thin = 0
        self._tokens = self._seconds = 0.0
