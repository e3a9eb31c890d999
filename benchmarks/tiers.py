"""What statements cost to settle in tiers, and how often the settled ones are wrong, with judges of known accuracy.

    python benchmarks/tiers.py                # 500 statements, 4 runs of each kind (some minutes)
    QUICK=1 python benchmarks/tiers.py        # fewer statements, one run
    python benchmarks/tiers.py --pairs 100 300 500 --together 1

A cheap judge is right of true statements at .75, a dear one at .90, both of false ones at .50; the dear one's calls cost 16
times as much. The validator's core judges all statements on one stream of pairs, placebo and weights as in a run. Beside it:
100 dear calls a statement, accepted by an exact binomial test at alpha. ``pairs`` is how many both tiers together may judge
for one statement, and all that there are of it (300 is the default of an experiment with language models).

A judge who is asked about the placebo may toss a coin, or say that neither text shows it; ``placebo`` says which. The second
is cheaper: then each pick of the arm counts for the statement.

Then every statement is false, and the judges recognise the intervened arm under any statement at .80: with the placebo; with
the placebo switched off, here and nowhere else; and with judges who recognise the arm, but admit of a part of the pairs that
neither text shows the placebo. The larger that part, the fewer of those are caught.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from contraflow.events import VerdictStatus
from contraflow.validator.core import Step, Validator, ValidatorConfig
from screen import screen
from workers import workers
from worlds.statements import ARMS, FALSE, Statements, StubJudge, WithoutPlacebo, judged, pair, word

CHEAP, DEAR = 0.75, 0.90
PRICE, RATIO = 0.0001, 16
RATIOS = (4, 8, 16, 32)
CALLS = 100
"""Dear calls a statement that the tiers are compared with."""
RECOGNISED = 0.8
SHY = (0.25, 0.5, 0.75)
"""How often such a judge may say that neither text shows the placebo: the more often, the less the placebo is a help."""
ALPHA = 0.05
CHEAPER, WITHIN = 10.0, 0.02
"""The bars: how many times cheaper, and how much power may be lost."""
ROW = ("false", "pairs", "placebo")
STATUSES = ("accepted", "rejected", "undecided")


class Kind(NamedTuple):
    """A kind of run. ``false`` is the share of false statements, under which judges recognise the arm at ``recognised``.

    Of a share ``neither`` of the pairs they say that neither text shows the placebo.
    """

    statements: int
    false: float
    pairs: int = 300
    together: int = 10_000
    recognised: float = FALSE
    neither: float = 0.0
    placebo: bool = True

    @property
    def row(self) -> tuple[str, str, str]:
        """False statements, pairs a statement, and what judges say of the placebo."""
        return f"{self.false:.0%}", str(self.pairs), "neither" if self.neither else "a coin"

    @property
    def name(self) -> str:
        """Of its figures."""
        return f"false_{self.false:g}_pairs_{self.pairs}{'_neither' * bool(self.neither)}"


class Outcome(NamedTuple):
    """Of one run: statements by (true, status, last tier), calls by (tier, placebo), what 100 dear calls accept."""

    ended: Counter[tuple[bool, VerdictStatus, str]]
    calls: Counter[tuple[str, bool]]
    reference: Counter[bool]

    def accepted(self, true: bool) -> int:
        """Accepted statements that are true, or false."""
        return sum(n for (is_true, status, _), n in self.ended.items() if (is_true, status) == (true, "accepted"))


def run(kind: Kind, seed: int) -> Outcome:
    """One run of the validator, and the reference on statements of the same truth."""
    of = Statements(kind.statements, kind.false, seed, kind.together)
    otherwise = {"recognised": kind.recognised, "neither": kind.neither}
    cheap = of.judge("cheap", PRICE, CHEAP, **otherwise)
    dear = of.judge("dear", PRICE * RATIO, DEAR, **otherwise)
    config = ValidatorConfig(ARMS, "base", alpha=ALPHA, pairs=kind.pairs, seed=seed)
    step = asyncio.run(judged(of, [cheap, dear], config, Validator if kind.placebo else WithoutPlacebo))
    return Outcome(ended(of, step), Counter((j.tier, j.placebo) for j in step.judgments), reference(of, dear))


def ended(of: Statements, step: Step) -> Counter[tuple[bool, VerdictStatus, str]]:
    """How every statement ended."""
    last = {verdict.hypothesis_id: verdict for verdict in step.verdicts}
    verdicts = [(h.cluster_id in of.true, last[h.hypothesis_id]) for h in step.hypotheses]
    return Counter((true, verdict.status, verdict.tiers[-1].tier) for true, verdict in verdicts)


def reference(of: Statements, dear: StubJudge) -> Counter[bool]:
    """Statements (by their truth) that 100 dear calls each accept by an exact binomial test."""
    from scipy.stats import binom

    least = int(binom.isf(ALPHA, CALLS, 0.5)) + 1
    hits = Counter[int]()
    for seq in range(1, CALLS * of.count + 1):
        cluster = 1 + seq % of.count
        hits[cluster] += bool(dear.picks(word(cluster), pair(seq, cluster).texts["tuned"]))
    return Counter(cluster in of.true for cluster, s in hits.items() if s >= least)


class Summary:
    """What the runs of a kind show together."""

    def __init__(self, kind: Kind, outcomes: Sequence[Outcome]) -> None:
        self.kind = kind
        self.statements = kind.statements * len(outcomes)
        self.true = self.statements - len(outcomes) * round(kind.false * kind.statements)
        self.calls = sum((o.calls for o in outcomes), Counter[tuple[str, bool]]())
        self.ended = sum((o.ended for o in outcomes), Counter[tuple[bool, VerdictStatus, str]]())
        self.accepted = [(o.accepted(True), o.accepted(False)) for o in outcomes]
        self.reference = [(o.reference[True], o.reference[False]) for o in outcomes]

    def dollars(self, ratio: float = RATIO) -> float:
        """Of a statement, when a dear call costs ``ratio`` cheap ones: prices decide nothing."""
        price = {"cheap": PRICE, "dear": PRICE * ratio}
        return sum(n * price[tier] for (tier, _), n in self.calls.items()) / self.statements

    def cheaper(self, ratio: float = RATIO) -> float:
        """Times cheaper than 100 dear calls a statement."""
        return CALLS * PRICE * ratio / self.dollars(ratio)

    def power(self, accepted: Sequence[tuple[int, int]]) -> float:
        """The share of the true statements that were accepted."""
        return sum(true for true, _ in accepted) / max(1, self.true)

    def false(self, accepted: Sequence[tuple[int, int]]) -> float:
        """The share of the false statements that were accepted."""
        return sum(false for _, false in accepted) / max(1, self.statements - self.true)

    @staticmethod
    def discoveries(accepted: Sequence[tuple[int, int]]) -> float:
        """The share of false ones among the accepted, the mean of the runs."""
        return sum(false / max(1, true + false) for true, false in accepted) / len(accepted)

    def settled(self, tier: str, status: str) -> float:
        """The share of the statements that ended so in this tier."""
        return sum(n for (_, *how), n in self.ended.items() if how == [status, tier]) / self.statements

    def missed(self) -> list[str]:
        """The bars that do not hold."""
        held = {
            "cost": self.cheaper() >= CHEAPER,
            "power": self.power(self.accepted) >= self.power(self.reference) - WITHIN,
            "false": max(self.false(self.accepted), self.discoveries(self.accepted)) <= ALPHA,
        }
        return [bar for bar, holds in held.items() if not holds]


def summaries(kinds: Sequence[Kind], runs: int) -> list[Summary]:
    """Every kind, run with seeds from 0 on."""
    with workers() as pool:
        started = [[pool.submit(run, kind, seed) for seed in range(runs)] for kind in kinds]
        return [Summary(kind, [one.result() for one in of]) for kind, of in zip(kinds, started, strict=True)]


def money(found: Sequence[Summary], console: Console) -> dict[str, float]:
    """Tiers against 100 dear calls; prints the tables, returns their figures."""
    console.print(bars(found))
    console.print(by_tier(found))
    console.print(by_price(found))
    return {name: value for summary in found for name, value in figures(summary).items()}


def bars(found: Sequence[Summary]) -> Table:
    """What the benchmark must show: what is accepted of the true and of the false, and what of the accepted is false."""
    table = Table(*ROW, box=None, title=f"against {CALLS} dear calls a statement (in brackets), 1 : {RATIO}")
    for name in ("cheaper", "power", "false accepted", "accepted false"):
        table.add_column(name, justify="right")
    table.add_column("")
    for of in found:
        ours, theirs = of.accepted, of.reference
        missed = of.missed()
        table.add_row(
            *of.kind.row,
            f"{of.cheaper():.1f} x",
            f"{of.power(ours):.1%} ({of.power(theirs):.1%})",
            f"{of.false(ours):.2%} ({of.false(theirs):.2%})",
            f"{of.discoveries(ours):.2%} ({of.discoveries(theirs):.2%})",
            f"MISSED: {', '.join(missed)}" if missed else "holds",
        )
    return table


def by_tier(found: Sequence[Summary]) -> Table:
    """Calls, cents and verdicts of each tier, a statement."""
    table = Table(*ROW, "tier", box=None, title="by tier: calls and cents a statement, and how statements ended there")
    for name in ("calls", "placebo's", "cents", *STATUSES):
        table.add_column(name, justify="right")
    for of in found:
        for tier, price in (("cheap", PRICE), ("dear", PRICE * RATIO)):
            own, placebo = (of.calls[tier, which] / of.statements for which in (False, True))
            shares = [of.settled(tier, status) for status in STATUSES]
            table.add_row(
                *of.kind.row,
                tier,
                f"{own:.1f}",
                f"{placebo:.1f}",
                f"{100 * price * (own + placebo):.3f}",
                *(f"{share:.0%}" for share in shares),
            )
    return table


def by_price(found: Sequence[Summary]) -> Table:
    """Times cheaper by what a dear call costs."""
    table = Table(*ROW, box=None, title="times cheaper, by what a dear call costs")
    for ratio in RATIOS:
        table.add_column(f"1 : {ratio}", justify="right")
    for of in found:
        table.add_row(*of.kind.row, *(f"{of.cheaper(ratio):.1f} x" for ratio in RATIOS))
    return table


def figures(of: Summary) -> dict[str, float]:
    """A summary's figures by name."""
    name = of.kind.name
    return {
        f"{name}_statements": of.statements,
        f"{name}_power": of.power(of.accepted),
        f"{name}_power_reference": of.power(of.reference),
        f"{name}_false_accepted": of.false(of.accepted),
        f"{name}_false_accepted_reference": of.false(of.reference),
        f"{name}_false_discoveries": of.discoveries(of.accepted),
        f"{name}_false_discoveries_reference": of.discoveries(of.reference),
        f"{name}_bars_missed": len(of.missed()),
        **{f"{name}_cheaper_{ratio}": of.cheaper(ratio) for ratio in RATIOS},
        **{
            f"{name}_{tier}_{'placebo' if placebo else 'calls'}": of.calls[tier, placebo] / of.statements
            for tier in ("cheap", "dear")
            for placebo in (False, True)
        },
    }


def specific(found: Mapping[str, Summary], console: Console) -> dict[str, float]:
    """False statements under judges who recognise the arm; prints the table, returns its figures."""
    title = f"every statement false, the arm recognised at {RECOGNISED:g} under any statement"
    table = Table("placebo", box=None, title=title)
    for name in ("runs", "statements", "accepted", "share", "runs with any"):
        table.add_column(name, justify="right")
    table.add_column("")
    figures: dict[str, float] = {}
    for name, of in found.items():
        share, with_any = of.false(of.accepted), of.discoveries(of.accepted)
        counts = len(of.accepted), of.statements, sum(false for _, false in of.accepted)
        holds = max(share, with_any) <= ALPHA
        table.add_row(name, *map(str, counts), f"{share:.2%}", f"{with_any:.0%}", "holds" if holds else "BREAKS")
        figures |= {f"placebo {name}: accepted": share, f"placebo {name}: runs with any": with_any}
    console.print(table)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, help="runs of each kind")
    parser.add_argument("--statements", type=int)
    parser.add_argument("--pairs", type=int, nargs="+", default=[150, 300], help="that may be judged for a statement")
    parser.add_argument("--together", type=int, default=Kind(0, 0).together, help="statements written at one time")
    parser.add_argument("--quick", action="store_true", default=bool(os.environ.get("QUICK")))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = screen(stderr=options.json)
    count, runs = options.statements or (100 if options.quick else 500), options.runs or (1 if options.quick else 4)
    money_kinds = [
        Kind(count, false, pairs, options.together, neither=neither)
        for false in (0.5, 0.9)
        for neither in (0.0, 1.0)
        for pairs in options.pairs
    ]
    console.print(f"{runs} x {count} statements of each kind")
    found = money(summaries(money_kinds, runs), console)
    few = Kind(10 if options.quick else 20, 1.0, recognised=RECOGNISED)
    placebos = {
        "on": few,
        "off": few._replace(placebo=False),
        **{f"on, neither shows it in {shy:.0%}": few._replace(neither=shy) for shy in SHY},
    }
    console.print()
    found |= specific(dict(zip(placebos, summaries(list(placebos.values()), 5 * runs), strict=True)), console)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
