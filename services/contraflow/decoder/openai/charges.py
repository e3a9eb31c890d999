"""What the answers of the arms' servers cost, as far as their prices are known and they tell how many tokens they count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from contraflow.events import Text
from contraflow.llm.prices import PICO, Price, price_of

__all__ = ["Charge", "Charges", "prices"]


class Charge(NamedTuple):
    """Dollars for an arm's answers, None without a price, but for ``untold`` answers whose tokens its server did not tell."""

    dollars: float | None
    untold: int


def prices(experiment: Mapping[str, Any]) -> dict[str, Price | None]:
    """What the server of each arm charges, None where that is not known; no arms where no server answers.

    The experiment is as a run keeps it, which another version may have written.
    """
    if experiment["generator"]["backend"] != "openai":
        return {}
    return {
        name: price_of("openai", arm["model"], arm.get("base_url"), arm.get("price"))
        for name, arm in experiment["arms"].items()
    }


class Charges:
    """Adds up what texts cost, by arm. A request that failed counts as free: nobody knows what was charged for it."""

    def __init__(self, experiment: Mapping[str, Any]) -> None:
        self._prices = prices(experiment)
        self._spent, self._untold = dict.fromkeys(self._prices, 0), dict.fromkeys(self._prices, 0)

    @property
    def any(self) -> bool:
        """Whether a server answers at all."""
        return bool(self._prices)

    def add(self, text: Text) -> None:
        """Count a text."""
        if (price := self._prices.get(text.arm)) is None or text.error is not None:
            return
        if text.prompt_tokens:
            self._spent[text.arm] += price.of(text.prompt_tokens, text.completion_tokens)
        else:
            self._untold[text.arm] += 1

    def by_arm(self) -> dict[str, Charge]:
        """So far; no arms where no server answers."""
        return {
            arm: Charge(None if price is None else self._spent[arm] / PICO, self._untold[arm])
            for arm, price in self._prices.items()
        }
