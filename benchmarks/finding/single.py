"""One plant at a time: pairs until it is claimed, under every rule."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from contraflow.pairs import BLOCK
from contraflow.sampler.rules import RuleName
from workers import workers
from worlds.loading import Bar, build, load_setups
from worlds.mixture import Plant
from worlds.simulation import Settings, Simulation

__all__ = ["Median", "Outcome", "expected", "measure", "ratio"]

_DECIDE = 14.5
_BEFORE = ((1.0, 1.0), (0.3, 1.2), (0.1, 2.4), (0.02, 4.0))
_FOUND = 0.7
_LONGEST = 3.0
"""Times the pairs that uniform sampling is expected to need, after which a run is given up."""


class Outcome(NamedTuple):
    """Of one run: the pairs until its plant was claimed (infinite if it never was), false claims, seconds a pair.

    ``looked`` are the pairs that were looked at in all. ``spare`` is the share of the pairs until the claim that went
    neither into seeing the behaviour once nor into deciding.
    """

    pairs: float
    looked: int
    false_claims: int
    seconds: float
    spare: float = 0.0


class Median(NamedTuple):
    """The median pairs until a claim; if half of the runs were given up, ``pairs`` is only the least that it can be."""

    pairs: float
    exact: bool

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Median:
        """A run that was given up would have needed more pairs than it looked at."""
        exact = math.isfinite(statistics.median(outcome.pairs for outcome in outcomes))
        return cls(statistics.median(min(outcome.pairs, outcome.looked) for outcome in outcomes), exact)

    def __str__(self) -> str:
        return f"{'' if self.exact else '>= '}{self.pairs:,.0f}"

    def figures(self, name: str) -> dict[str, float | None]:
        """As JSON has it: null where there is only a bound, and the bound beside."""
        return {name: self.pairs} if self.exact else {name: None, f"{name}_at_least": self.pairs}


def ratio(plain: Median, steered: Median, name: str) -> tuple[str, dict[str, float | None]]:
    """How many times fewer pairs: as the table shows it, and as JSON has it."""
    value = plain.pairs / steered.pairs
    if plain.exact and steered.exact:
        return f"{value:.1f}", {name: value}
    if plain.exact:
        return f"<= {value:.1f}", {name: None, f"{name}_at_most": value}
    if steered.exact:
        return f">= {value:.1f}", {name: None, f"{name}_at_least": value}
    return "-", {name: None}


def expected(plant: Plant, settings: Settings) -> tuple[float, float]:
    """Uniform's pairs and the bound of the ratio."""
    pr = plant.share * plant.rate
    before = next((h for rate, h in _BEFORE if plant.rate >= rate), _BEFORE[-1][1])
    plain = max(settings.warm_start, _DECIDE / pr)
    found = max(settings.warm_start, before / (_FOUND * pr))
    return plain, plain / (found + _decided(plant, settings))


def run(world: str, plant: Plant, rule: RuleName, seed: int) -> Outcome:
    """One run, given up when it takes far longer than uniform sampling should."""
    settings = load_setups()[world].settings
    longest = plant.from_pair + max(6000, round(_LONGEST * expected(plant, settings)[0]))
    here = build(world, seed, [plant])
    started = time.perf_counter()
    done = Simulation(here, rule, seed, longest, settings).until_claimed([0])
    seconds = time.perf_counter() - started
    pairs = done.claimed.get(0, math.inf)
    first = max(settings.warm_start, done.shown.get(0, settings.warm_start))
    spare = max(0.0, 1 - (first + _decided(plant, settings)) / pairs)
    looked = done.clusterer.processed
    return Outcome(pairs, looked, done.false_claims, seconds / looked, spare)


def _decided(plant: Plant, settings: Settings) -> float:
    """Pairs from the focus to the claim."""
    return _DECIDE / ((1 - settings.uniform) * plant.rate) + 2 * BLOCK


def measure(
    world: str, chosen: Sequence[Bar], rules: Sequence[RuleName], seeds: int, console: Console
) -> dict[str, float | None]:
    """Every plant under every rule; prints the table, returns its figures."""
    table = Table("plant", "share", "rate", *rules, box=None, title="median pairs until claimed")
    for rule in rules[1:]:
        table.add_column(f"{rules[0]} / {rule}", justify="right")
    for name in ("bound", "at least", "spare"):
        table.add_column(name, justify="right")
    figures: dict[str, float | None] = {}
    every: dict[RuleName, list[Outcome]] = {rule: [] for rule in rules}
    with workers() as pool:
        for plant in chosen:
            outcomes = {rule: list(pool.map(partial(run, world, plant, rule), range(seeds))) for rule in rules}
            for rule, some in outcomes.items():
                every[rule] += some
            bound = expected(plant, load_setups()[world].settings)[1]
            cells, row = _row(plant, outcomes)
            table.add_row(*cells[:-1], f"{bound:.1f}", f"{plant.at_least:g}", cells[-1])
            figures |= row
    console.print(table)
    micro = {rule: 1e6 * statistics.median(o.seconds for o in some) for rule, some in every.items()}
    cost = ", ".join(f"{rule} {us:.0f}" for rule, us in micro.items())
    false_claims = sum(o.false_claims for some in every.values() for o in some)
    runs = sum(map(len, every.values()))
    console.print(f"false claims: {false_claims} in {runs} runs; microseconds a pair, world included: {cost}")
    return figures | {"false_claims": false_claims, "runs": runs} | {f"us_{rule}": us for rule, us in micro.items()}


def _row(plant: Bar, outcomes: dict[RuleName, list[Outcome]]) -> tuple[list[str], dict[str, float | None]]:
    """The cells of a plant, *spare* last, and its figures."""
    medians = {rule: Median.of(some) for rule, some in outcomes.items()}
    first, *others = medians
    where = plant.where.replace("_", " ") + ", close" * plant.close
    where += f", after {plant.from_pair}" * bool(plant.from_pair)
    cells = [plant.name or where, f"{plant.share:.1%}", f"{plant.rate:g}", *map(str, medians.values())]
    name = f"{plant.name or plant.where}_p{plant.share:g}_r{plant.rate:g}"
    name += "_close" * plant.close + "_late" * bool(plant.from_pair)
    figures: dict[str, float | None] = {}
    for rule, median in medians.items():
        figures |= median.figures(f"{name}_{rule}")
    for rule in others:
        shown, values = ratio(medians[first], medians[rule], f"{name}_ratio_{rule}")
        cells.append(shown)
        figures |= values
    spare = statistics.median(o.spare for o in outcomes[[*medians][-1]])
    return [*cells, f"{spare:.0%}"], figures | {f"{name}_spare": spare}
