"""Figures as a screen shows them: short, with units, and ``unknown`` for what is not known."""

from __future__ import annotations

from contraflow.monitor.live import duration

__all__ = ["UNKNOWN", "age", "count", "per_second", "rate"]

UNKNOWN = "unknown"


def count(value: float | None) -> str:
    """A count: every digit up to a million."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value < 1e6 else _scaled(value)


def rate(value: float | None) -> str:
    """A rate, in three digits."""
    if value is None:
        return UNKNOWN
    return _scaled(value) if value >= 999.5 else f"{value:.0f}" if value >= 99.95 else f"{value:.1f}"


def per_second(value: float | None) -> str:
    """A rate with its unit."""
    return UNKNOWN if value is None else f"{rate(value)}/s"


def age(seconds: float | None) -> str:
    """Seconds that somebody has waited."""
    if seconds is None:
        return UNKNOWN
    if 0 < seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.05 else "<0.1 s"
    return duration(seconds)


def _scaled(value: float) -> str:
    units = iter("KMGT")
    unit = ""
    while value >= 999.5:
        value, unit = value / 1000, next(units)
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}{unit}"
