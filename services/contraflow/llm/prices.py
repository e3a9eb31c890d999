"""What models cost, as their vendors published it, and what each needs in a request to answer briefly."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any, NamedTuple

__all__ = ["AS_OF", "PICO", "Known", "Price", "known", "models", "pico", "price_of"]

AS_OF = "2026-11-26"
"""When the table below was compared with what the vendors published (by way of the package genai-prices 0.2.3)."""

PICO = 10**12
"""Money is counted in whole picodollars, which no sum rounds: a price of $0.075 per million tokens is 75,000 a token."""


def pico(dollars: float | Decimal) -> int:
    """Dollars as picodollars, rounded up."""
    return int((Decimal(str(dollars)) * PICO).to_integral_value(ROUND_CEILING))


class Price(NamedTuple):
    """Picodollars a token, read and written. What a model thinks is charged as written."""

    read: int
    written: int

    @classmethod
    def per_million(cls, read: float, written: float) -> Price:
        """From dollars per million tokens, as vendors write it."""
        return cls(*(pico(Decimal(str(dollars)) / 1_000_000) for dollars in (read, written)))

    def of(self, prompt_tokens: int, completion_tokens: int) -> int:
        """What a call costs, in picodollars."""
        return prompt_tokens * self.read + completion_tokens * self.written


class Known(NamedTuple):
    """A model: its price, options that keep it from thinking at length, and the tokens it may think nevertheless."""

    price: Price
    options: Mapping[str, Any]
    thinking: int


_UNTHINKING = {"thinking_config": {"thinking_budget": 0}}
_MINIMAL = {"thinking_config": {"thinking_level": "minimal"}}
_LOW = {"thinking_config": {"thinking_level": "low"}}
_EFFORT = {"reasoning_effort": "minimal", "temperature": None}  # these take no temperature but 1
_NO_EFFORT = {"reasoning_effort": "none"}

_Table = dict[str, tuple[list[tuple[str, float, float]], dict[str, Any], int]]
# model: (from when, dollars per million read, written), options, tokens for thinking
_GEMINI: _Table = {
    "gemini-2.5-flash-lite": ([("", 0.10, 0.40)], _UNTHINKING, 0),
    "gemini-2.5-flash": ([("", 0.30, 2.50)], _UNTHINKING, 0),
    "gemini-2.5-pro": ([("", 1.25, 10.00)], {"thinking_config": {"thinking_budget": 128}}, 128),
    "gemini-3.1-flash-lite": ([("", 0.25, 1.50)], _MINIMAL, 1024),
    "gemini-3.5-flash-lite": ([("", 0.30, 2.50)], _MINIMAL, 1024),
    "gemini-3.5-flash": ([("", 1.50, 9.00)], _MINIMAL, 1024),
    "gemini-3.8-flash": ([("", 0.75, 3.75), ("2027-01-01", 1.50, 7.50)], _MINIMAL, 1024),
    "gemini-3.1-pro-preview": ([("", 2.00, 12.00)], _LOW, 4096),
}
_OPENAI: _Table = {
    "gpt-4.1-nano": ([("", 0.10, 0.40)], {}, 0),
    "gpt-4.1-mini": ([("", 0.40, 1.60)], {}, 0),
    "gpt-4.1": ([("", 2.00, 8.00)], {}, 0),
    "gpt-4o-mini": ([("", 0.15, 0.60)], {}, 0),
    "gpt-4o": ([("", 2.50, 10.00)], {}, 0),
    "gpt-5-nano": ([("", 0.05, 0.40)], _EFFORT, 1024),
    "gpt-5-mini": ([("", 0.25, 2.00)], _EFFORT, 1024),
    "gpt-5": ([("", 1.25, 10.00)], _EFFORT, 1024),
    "gpt-5.4-nano": ([("", 0.20, 1.25)], _NO_EFFORT, 0),
    "gpt-5.4-mini": ([("", 0.75, 4.50)], _NO_EFFORT, 0),
}
# the older package cannot ask for less thinking: what thinks by default gets the room
_OLDER: _Table = {
    name: (prices, {}, 0 if name == "gemini-2.5-flash-lite" else 8192) for name, (prices, _, _) in _GEMINI.items()
}
_TABLES = {"gemini": _GEMINI, "google-generativeai": _OLDER, "openai": _OPENAI}


def known(provider: str, model: str, day: datetime.date | None = None) -> Known | None:
    """What the table says of a model on that day (today), or None."""
    if (row := _TABLES.get(provider, {}).get(model)) is None:
        return None
    prices, options, thinking = row
    today = (day or datetime.date.today()).isoformat()
    _, read, written = [price for price in prices if price[0] <= today][-1]
    return Known(Price.per_million(read, written), options, thinking)


def price_of(provider: str, model: str, base_url: str | None, declared: tuple[float, float] | None) -> Price | None:
    """The price that an experiment declares, else the table's, which is for the vendors' own addresses; or None."""
    if declared is not None:
        return Price.per_million(*declared)
    entry = None if base_url else known(provider, model)
    return entry.price if entry else None


def models(provider: str) -> list[str]:
    """The models of a provider that have a price in the table."""
    return list(_TABLES.get(provider, {}))
