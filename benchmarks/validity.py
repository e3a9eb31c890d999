"""How often a model is claimed to differ from itself, however it is steered, looked at, slowed down or decoded.

    python benchmarks/validity.py            # every case (about a quarter of an hour on two cores)
    QUICK=1 python benchmarks/validity.py    # a tenth of the runs

A claim stays once it is made, so what the last look of a run shows is what any look showed. ``at most`` is the 97.5 %
quantile of the binomial distribution at the level of .05: a run with a claim more often than that is a fault.

The rules of ``statistics`` are then switched off one at a time, here and nowhere else, under the same steering.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from contraflow.clusterer.core import Clusterer, Step
from contraflow.clusterer.pairing import Pairing
from contraflow.events import Embedding, Origin, Regions, Request
from contraflow.pairs import BLOCK, Pair
from contraflow.sampler.pool import EndlessPool, Pool, ReplayPool
from screen import screen
from workers import workers
from worlds.mixture import MixtureWorld, Plant, World
from worlds.simulation import Settings, Simulation

PAIRS = 2000
SETTINGS = Settings(in_flight=3)
"""Two epochs behind the newest regions, so that 64 requests an arm are always under way."""
SLOTS = 64
SECONDS_A_TOKEN = 0.02
LATE = 300.0


class Case(NamedTuple):
    """A kind of run, how many of them, and whether claims must be as rare as alpha (or are expected, a rule being off)."""

    name: str
    claims: Callable[[int], bool]
    runs: int
    valid: bool = True


def world(seed: int, **options: Any) -> MixtureWorld:
    """A model against itself: nothing is planted."""
    return MixtureWorld(seed, **{"prompts": 1000, "topics": 80, **options})


def simulation(of: MixtureWorld, seed: int, pairs: int = PAIRS, **options: Any) -> Simulation:
    """A steered run on a world."""
    return Simulation(of, "leads", seed, pairs, SETTINGS, **options)


def any_claim(steps: Iterator[Step]) -> bool:
    """Whether a run claims anything by its end."""
    return any(step.regions.claims for step in steps if step.regions is not None)


def generalises(steps: Iterator[Step]) -> bool:
    """Whether a run claims of anything that it generalises."""
    return any(claim.generalises for step in steps if step.regions is not None for claim in step.regions.claims)


# cases in which every rule holds


def against_itself(seed: int, **options: Any) -> bool:
    """A model against itself, steered, with births, splits and weights, looked at after every epoch."""
    return any_claim(iter(simulation(world(seed, **options), seed)))


def greedily(seed: int) -> bool:
    """Greedy decoding, two models alike in all: an answer a prompt and arm, drawn once, and each prompt asked once."""
    nowhere = np.zeros(1000, np.bool_)
    return any_claim(iter(simulation(Greedy(seed), seed, 1000, pool=ReplayPool([1] * 1000, nowhere, seed))))


def cancelling(seed: int) -> bool:
    """A behaviour that one arm shows on a tenth of the prompts, and the other on another tenth, as often."""
    return generalises(iter(simulation(Cancelling(seed, prompts=1000, topics=80), seed)))


class Greedy(MixtureWorld):
    """A prompt's answer is always the same, and another one in the other arm."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, prompts=1000, topics=80, nuisance=0.1)
        self._drawn = super().answers(np.arange(1000), np.random.default_rng([seed, 3]))[0]

    def answers(self, prompts: Any, rng: np.random.Generator, first: int = 1) -> Any:
        """What was drawn once."""
        return self._drawn[prompts], np.full((len(prompts), self.arms), -1)


class Cancelling(MixtureWorld):
    """Of the prompts that one behaviour touches, half show it in the first arm and half in the second."""

    def __post_init__(self) -> None:
        self.plants = [Plant(share=0.1, rate=0.5, arm=0), Plant(share=0.1, rate=0.5, arm=1)]
        super().__post_init__()
        self.behaviours[1] = self.behaviours[0]
        order = np.random.default_rng([self.seed, 4]).permutation(self.prompts)
        tenth = self.prompts // 10
        for k, chosen in enumerate((order[:tenth], order[tenth : 2 * tenth])):
            self.planted[k][:] = False
            self.planted[k][chosen] = True


# arms that are slow, and answers that come out of order


def rambling(seed: int) -> MixtureWorld:
    """A third of the answers are of styles that take eight times as many tokens."""
    return world(seed, nuisance=0.3)


def tokens(of: World, pair: Pair) -> list[int]:
    """How long a pair's answers are."""
    assert pair.vectors is not None
    assert isinstance(of, MixtureWorld)
    odd = (pair.vectors @ of.outliers.T).max(axis=1) > 0.55
    return [160 if long else 20 for long in odd]


def timed(run: Simulation, speed: float, late: float = 0.0, *, in_order: bool = True) -> Iterator[Step]:
    """A run whose second arm takes ``speed`` times as long a token and whose texts come ``late`` seconds after that.

    Each arm works on 64 requests at once. Pairs are processed by ``seq``, or without rule 2 as they are completed.
    """
    sampler, arms = run.sampler, run.clusterer.arms
    inbox = Inbox(arms, run.clusterer, in_order=in_order)
    free, order = [[0.0] * SLOTS for _ in arms], count()
    under_way: list[tuple[float, int, int, Pair]] = []
    regions: dict[int, Regions] = {}
    now = 0.0
    while True:
        while sampler.complete is None and ((needs := sampler.needs()) is None or needs in regions):
            requests = sampler.plan(regions.pop(needs) if needs is not None else None).requests
            for pair in _answers(run, requests):
                for arm, length in enumerate(tokens(run.world, pair)):
                    ends = max(now, heapq.heappop(free[arm])) + SECONDS_A_TOKEN * length * (speed if arm else 1.0)
                    heapq.heappush(free[arm], ends)
                    heapq.heappush(under_way, (ends + (late if arm else 0.0), next(order), arm, pair))
        inbox.last = sampler.seq if sampler.complete else None
        if not under_way:
            break
        now, _, arm, pair = heapq.heappop(under_way)
        for block in inbox.blocks(arm, pair):
            step = run.clusterer.process(block)
            if step.regions is not None:
                regions[step.regions.epoch] = step.regions
            yield step
    yield run.clusterer.finish()


def _answers(run: Simulation, requests: Sequence[Request]) -> list[Pair]:
    """Drawn in blocks cut by ``seq``, as an untimed run draws them."""
    starts = range(0, len(requests), BLOCK)
    return [pair for start in starts for pair in run.ask(requests[start : start + BLOCK])]


class Inbox:
    """What has come: by ``seq`` as the clusterer's service takes it, or, with rule 2 off, as pairs are completed."""

    def __init__(self, arms: Sequence[str], clusterer: Clusterer, *, in_order: bool) -> None:
        self._arms = arms
        self._pairing = Pairing(arms, clusterer.config.dim)
        self._clusterer = clusterer
        self._in_order = in_order
        self._came: dict[int, int] = {}
        self._ready: list[Pair] = []
        self.last: int | None = None

    def blocks(self, arm: int, pair: Pair) -> Iterator[list[Pair]]:
        """Take one arm's answer; what can be processed now."""
        if self._in_order:
            self._pairing.last_seq = self.last
            self._pairing.add(_embedding(pair, arm, self._arms[arm]))
            yield from iter(self._pairing.next_block, None)
            return
        self._came[pair.seq] = self._came.get(pair.seq, 0) + 1
        if self._came[pair.seq] == len(self._arms):
            self._ready.append(pair)
        done = self._clusterer.processed
        if len(self._ready) == BLOCK or (
            self.last is not None and self._ready and done + len(self._ready) == self.last
        ):
            block, self._ready = self._ready, []
            yield [late._replace(seq=done + 1 + i) for i, late in enumerate(block)]


def _embedding(pair: Pair, arm: int, name: str) -> Embedding:
    assert pair.vectors is not None
    vector = pair.vectors[arm]
    return Embedding(
        seq=pair.seq,
        request_id=pair.request_id,
        text_id=f"{pair.request_id}:{name}",
        arm=name,
        prompt_id=pair.prompt_id,
        text=pair.texts[arm],
        origin=pair.origin,
        finish_reason="stop",
        vector=vector.astype("<f4").tobytes(),
        dim=len(vector),
        encoder="world",
        completion_tokens=pair.tokens[arm],
    )


def slowly(seed: int, speed: float, late: float = 0.0, *, in_order: bool = True) -> bool:
    """A model against itself where the second arm is slow or late."""
    return any_claim(timed(simulation(rambling(seed), seed), speed, late, in_order=in_order))


def same_as_untimed(seed: int, speed: float, late: float = 0.0) -> bool:
    """Whether a slow arm leaves everything bit for bit as it is without time."""
    ends = []
    for steps in (lambda run: iter(run), lambda run: timed(run, speed, late)):
        run = simulation(rambling(seed), seed, 1000)
        *_, last = steps(run)
        ends.append((last.regions, run.clusterer.kmeans.means.tobytes(), run.clusterer.ledger.s.tobytes()))
    return ends[0] == ends[1]


# the rules, each switched off


class Unpaired(Simulation):
    """Rule 1 off: what is steered to is asked of the second arm alone; the first is asked something else."""

    def ask(self, block: Sequence[Request]) -> list[Pair]:
        """Answers to two prompts, as if they were a pair."""
        pairs = super().ask(block)
        rng = np.random.default_rng([self.seed, block[0].seq])
        elsewhere, _ = self.world.answers(rng.integers(self.world.prompts, size=len(block)), rng)
        return [
            pair._replace(vectors=np.stack([other[0], pair.vectors[1]]))
            if pair.vectors is not None and request.origin is not Origin.EXPLORE
            else pair
            for pair, request, other in zip(pairs, block, elsewhere, strict=True)
        ]


class CountsFounders(Clusterer):
    """Rule 3 off: the labels that founded a cluster count as its evidence."""

    def _born(self, mean: Any, size: int, **life: Any) -> int:
        slot = super()._born(mean, size, **life)
        founders = life.get("founders") or (0,) * len(self.arms)
        for j, arm in enumerate(self.ledger.compared):
            self.ledger.n[slot, j] += founders[arm] + founders[self.reference]
            self.ledger.s[slot, j] += founders[arm]
        return slot


def unpaired(seed: int) -> bool:
    """Rule 1 off."""
    return any_claim(iter(Unpaired(rambling(seed), "leads", seed, PAIRS, SETTINGS)))


def founders_count(seed: int) -> bool:
    """Rule 3 off."""
    return any_claim(iter(simulation(world(seed), seed, kind=CountsFounders)))


def repeated(seed: int) -> bool:
    """Rule 4 off: greedy decoding, and the same answers counted as often as a prompt is asked."""
    pool: Pool = EndlessPool(1000)
    return any_claim(iter(simulation(Greedy(seed), seed, pool=pool)))


def cases(runs: int) -> list[Case]:
    """Every case; ``runs`` of the first, fewer of those that repeat it under other circumstances."""
    some, few = max(10, runs // 4), max(10, runs // 10)
    return [
        Case("a model against itself", against_itself, runs),
        Case("prompts that differ wildly", partial(against_itself, nuisance=0.3, pure_noise=0.1), runs),
        Case("three arms", partial(against_itself, arms=3), some),
        Case("an arm 1.5 x as slow", partial(slowly, speed=1.5), some),
        Case("an arm 2 x as slow", partial(slowly, speed=2.0), some),
        Case("an arm 5 x as slow", partial(slowly, speed=5.0), some),
        Case("an arm five minutes behind", partial(slowly, speed=1.0, late=LATE), some),
        Case("greedy decoding, each prompt once", greedily, runs),
        Case("differences that cancel: generalises", cancelling, some),
        Case("rule 1 off: each arm asked its own", unpaired, few, valid=False),
        Case(
            "rule 2 off: as completed, an arm 2 x as slow", partial(slowly, speed=2.0, in_order=False), few, valid=False
        ),
        Case("rule 3 off: founders count", founders_count, runs, valid=False),
        Case("rule 4 off: greedy draws repeated", repeated, few, valid=False),
    ]


def most(runs: int, alpha: float = SETTINGS.alpha) -> int:
    """How many of ``runs`` runs may claim something: the 97.5 % quantile at ``alpha``."""
    from scipy.stats import binom

    return int(binom.ppf(0.975, runs, alpha))


def measure(chosen: Sequence[Case], console: Console) -> dict[str, float]:
    """Run every case; prints the table, returns its figures."""
    table = Table("case", box=None, title=f"runs of {PAIRS:,} pairs that claim something, alpha {SETTINGS.alpha:g}")
    for name in ("runs", "with a claim", "share", "at most"):
        table.add_column(name, justify="right")
    table.add_column("")
    figures: dict[str, float] = {}
    with workers() as pool:
        for case in chosen:
            claimed = sum(pool.map(case.claims, range(case.runs)))
            limit = most(case.runs)
            said = (
                ("holds" if claimed <= limit else "FAILS") if case.valid else "breaks" if claimed > limit else "slack"
            )
            table.add_row(case.name, str(case.runs), str(claimed), f"{claimed / case.runs:.1%}", str(limit), said)
            figures |= {f"{case.name}: runs": case.runs, f"{case.name}: claimed": claimed}
        slow = {"2 x": (2.0, 0.0), "5 x": (5.0, 0.0), "five minutes behind": (1.0, LATE)}
        seeds = max(3, chosen[0].runs // 40)
        same = {
            name: sum(pool.map(partial(same_as_untimed, speed=s, late=late), range(seeds)))
            for name, (s, late) in slow.items()
        }
    console.print(table)
    console.print(
        "a slow arm changes nothing, bit for bit: "
        + ", ".join(f"{n} of {seeds} seeds ({name})" for name, n in same.items())
    )
    return figures | {f"bit for bit, {name}": n for name, n in same.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int)
    parser.add_argument("--only", help="the cases whose name has this in it")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = screen(stderr=options.json)
    chosen = [
        case for case in cases(options.runs or (40 if options.quick else 400)) if (options.only or "") in case.name
    ]
    if not chosen:
        parser.error(f"no case has {options.only!r} in its name")
    figures = measure(chosen, console)
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
