"""When is it enough? The stopping criteria (statistics section 4) as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from contraflow.events import Criterion

__all__ = ["Shown", "in_words"]


class Shown(NamedTuple):
    """A criterion in words, and whether it has a target that holds."""

    text: str
    holds: bool


def in_words(criteria: Mapping[str, Criterion]) -> Iterator[Shown]:
    """Each criterion with its value, and the target if the experiment stops there; a dash if the value is not known."""
    for name, criterion in criteria.items():
        target = "" if criterion.target is None else f" (stop {_value(name, criterion.target)})"
        said = _undecided(criterion.value) if name == "decided" else f"{name} {_value(name, criterion.value)}"
        yield Shown(said + target, criterion.holds)


def _value(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if name in ("stability", "decided") else f"{100 * value:.3g} %"


def _undecided(value: float | None) -> str:
    """The criterion is 1 / (1 + how many clusters are not decided)."""
    return "- undecided" if value is None else f"{1 / value - 1:,.0f} undecided"
