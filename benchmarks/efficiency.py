"""Pairs until a planted difference is claimed: steered by ``leads`` and its rivals against uniform sampling.

    python benchmarks/efficiency.py                  # every plant of worlds.yaml, 20 seeds, uniform and leads
    python benchmarks/efficiency.py --rules uniform leads margin balance schedule --only 0.01
    python benchmarks/efficiency.py --world sentences   # on embeddings of real sentences (worlds/sentences.py)
    QUICK=1 python benchmarks/efficiency.py          # a few plants, 5 seeds

Each run has a world and a stream of its own; the rules share the clusterer, the births, the evidence and the weights, so
only the choice of prompts differs. Beside each ratio stands its bound: with p the share of prompts, r the rate there,
H = 14.5 discordant pairs to found and decide a cluster and h hits before the focus,

    uniform = max(W, H / (p r)),   steered = max(W, h / (.7 p r)) + H / ((1 - u) r) + 2 B.

*Spare* is, of the last rule's pairs, what went neither into seeing the behaviour for the first time nor into the H pairs that
decide: the most that anything which acts on a lead could save, such as forcing an answer to begin as an exemplar does. Such
answers count in no claim, and there is no exemplar before the first answer that shows the behaviour by itself.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple, get_args

from rich.console import Console
from rich.table import Table

from contraflow.errors import ConfigurationError
from contraflow.pairs import BLOCK
from contraflow.sampler.rules import RuleName
from worlds.loading import WORLDS, Bar, build, load_setups
from worlds.mixture import Plant
from worlds.simulation import Settings, Simulation

_DECIDE = 14.5
_BEFORE = ((1.0, 1.0), (0.3, 1.2), (0.1, 2.4), (0.02, 4.0))
_FOUND = 0.7
EIGHT = 25
"""Seeds of the worlds with eight behaviours: with two rules 50 runs."""
_LONGEST = 3.0
"""Times the pairs that uniform sampling is expected to need, after which a run is given up."""


class Outcome(NamedTuple):
    """Of one run: the pairs until its plant was claimed (infinite if it never was), false claims, seconds a pair.

    ``spare`` is the share of those pairs that went neither into seeing the behaviour once nor into deciding.
    """

    pairs: float
    false_claims: int
    seconds: float
    spare: float = 0.0


def expected(plant: Plant, settings: Settings) -> tuple[float, float]:
    """Uniform's pairs and the bound of the ratio."""
    pr = plant.share * plant.rate
    before = next(h for rate, h in _BEFORE if plant.rate >= rate)
    plain = max(settings.warm_start, _DECIDE / pr)
    found = max(settings.warm_start, before / (_FOUND * pr))
    return plain, plain / (found + _decided(plant, settings))


def run(world: str, plant: Plant, rule: RuleName, seed: int) -> Outcome:
    """One run, given up when it takes far longer than uniform sampling should."""
    settings = load_setups()[world].settings
    longest = plant.from_pair + max(6000, round(_LONGEST * expected(plant, settings)[0]))
    here = build(world, seed, [plant])
    started = time.perf_counter()
    done = Simulation(here, rule, seed, longest, settings).until_all_are_claimed()
    seconds = time.perf_counter() - started
    pairs = done.claimed.get(0, math.inf)
    first = max(settings.warm_start, done.shown.get(0, settings.warm_start))
    spare = max(0.0, 1 - (first + _decided(plant, settings)) / pairs)
    return Outcome(pairs, done.false_claims, seconds / done.clusterer.processed, spare)


def _decided(plant: Plant, settings: Settings) -> float:
    """Pairs from the focus to the claim."""
    return _DECIDE / ((1 - settings.uniform) * plant.rate) + 2 * BLOCK


def measure(
    world: str, chosen: Sequence[Bar], rules: Sequence[RuleName], seeds: int, console: Console
) -> dict[str, float]:
    """Every plant under every rule; prints the table, returns its figures."""
    table = Table(
        "share", "rate", "where", *(f"{rule}" for rule in rules), box=None, title="median pairs until claimed"
    )
    for rule in rules[1:]:
        table.add_column(f"{rules[0]} / {rule}", justify="right")
    for name in ("bound", "at least", "spare"):
        table.add_column(name, justify="right")
    figures: dict[str, float] = {}
    false_claims, runs, seconds = 0, 0, {rule: [0.0] for rule in rules}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for plant in chosen:
            medians = {}
            for rule in rules:
                outcomes = list(pool.map(partial(run, world, plant, rule), range(seeds)))
                medians[rule] = statistics.median(outcome.pairs for outcome in outcomes)
                false_claims += sum(outcome.false_claims for outcome in outcomes)
                seconds[rule] += [outcome.seconds for outcome in outcomes]
                runs += seeds
            spare = statistics.median(outcome.spare for outcome in outcomes)
            name = f"p{plant.share:g}_r{plant.rate:g}_{plant.where}{'_close' * plant.close}{'_late' * bool(plant.from_pair)}"
            ratios = [medians[rules[0]] / medians[rule] for rule in rules[1:]]
            figures |= {f"{name}_{rule}": pairs for rule, pairs in medians.items()}
            figures |= {f"{name}_ratio_{rule}": ratio for rule, ratio in zip(rules[1:], ratios, strict=True)}
            figures[f"{name}_spare"] = spare
            table.add_row(
                f"{plant.share:.1%}",
                f"{plant.rate:g}",
                plant.where + ", close" * plant.close + f", after {plant.from_pair}" * bool(plant.from_pair),
                *(f"{pairs:,.0f}" for pairs in medians.values()),
                *(f"{ratio:.1f}" for ratio in ratios),
                f"{expected(plant, load_setups()[world].settings)[1]:.1f}",
                f"{plant.at_least:g}",
                f"{spare:.0%}",
            )
    console.print(table)
    micro = {rule: 1e6 * statistics.median(times[1:]) for rule, times in seconds.items()}
    cost = ", ".join(f"{rule} {us:.0f}" for rule, us in micro.items())
    console.print(f"false claims: {false_claims} in {runs} runs; microseconds a pair, world included: {cost}")
    return figures | {"false_claims": false_claims, "runs": runs} | {f"us_{rule}": us for rule, us in micro.items()}


def eight(world: str, seeds: int, console: Console) -> dict[str, float]:
    """Eight behaviours in one world: pairs until three quarters of them are claimed."""
    figures: dict[str, float] = {}
    table = Table("rule", "pairs to 75 %", "false claims", box=None, title=f"eight behaviours at once, {seeds} seeds")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for rule in ("uniform", "leads"):
            outcomes = list(pool.map(partial(_eight, world, rule), range(seeds)))
            pairs, wrong = statistics.median(o.pairs for o in outcomes), sum(o.false_claims for o in outcomes)
            figures |= {f"eight_{rule}_pairs": pairs, f"eight_{rule}_false": wrong}
            table.add_row(rule, f"{pairs:,.0f}", str(wrong))
    console.print(table)
    return figures | {"eight_ratio": figures["eight_uniform_pairs"] / figures["eight_leads_pairs"]}


def _eight(world: str, rule: RuleName, seed: int) -> Outcome:
    setup = load_setups()[world]
    many = setup.eight
    done = Simulation(build(world, seed, many), rule, seed, 20_000, setup.settings)
    for _ in done:
        if len(done.claimed) >= 0.75 * len(many):
            break
    else:
        return Outcome(math.inf, done.false_claims, 0.0)
    return Outcome(done.clusterer.processed, done.false_claims, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", choices=WORLDS, default="mixture")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--rules", nargs="+", choices=get_args(RuleName), default=["uniform", "leads"])
    parser.add_argument("--only", type=float, help="only the plants on this share of the prompts")
    parser.add_argument("--part", choices=("single", "harder", "eight"), action="append", help="may be given again")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = Console(stderr=options.json, highlight=False)
    try:
        setup = load_setups()[options.world]
        build(options.world, 0)  # a corpus is encoded here, once, and not by every process
    except ConfigurationError as error:
        parser.error(str(error))
    seeds = options.seeds or (5 if options.quick else setup.seeds)
    figures: dict[str, float] = {}
    parts = options.part or (["single"] if options.quick else ["single", "harder", "eight"])
    for part in parts:
        if part == "eight":
            figures |= eight(options.world, seeds if options.quick or options.seeds else EIGHT, console)
            continue
        rows = setup.single if part == "single" else setup.harder
        chosen = [row for row in rows if options.only in (None, row.share)]
        if options.quick:
            chosen = [row for row in chosen if row.share * row.rate >= 0.002][::3]
        figures |= measure(options.world, chosen, options.rules, seeds, console)
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
