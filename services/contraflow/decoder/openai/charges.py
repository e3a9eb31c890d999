"""What the answers of the arms' servers cost, as far as their prices are known and they tell how many tokens they count."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from typing import Any, NamedTuple

from contraflow.events import Text
from contraflow.llm.prices import PICO, Price, price_of

__all__ = ["Charge", "charges", "prices"]


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


async def charges(experiment: Mapping[str, Any], texts: AsyncIterable[Text]) -> dict[str, Charge]:
    """What the texts cost, by arm. A request that failed counts as free: nobody knows what was charged for it."""
    known = prices(experiment)
    if not known:
        return {}
    spent, untold = dict.fromkeys(known, 0), dict.fromkeys(known, 0)
    async for text in texts:
        if (price := known[text.arm]) is None or text.error is not None:
            continue
        spent[text.arm] += price.of(text.prompt_tokens, text.completion_tokens) if text.prompt_tokens else 0
        untold[text.arm] += not text.prompt_tokens
    return {arm: Charge(None if known[arm] is None else spent[arm] / PICO, untold[arm]) for arm in known}
