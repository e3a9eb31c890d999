"""Runs the three ways and holds what each found against the truth."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import anyio
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from contraflow.embedder import encoder as encoders
from contraflow.embedder.encoder import Encoder
from contraflow.experiment import Embedder
from contraflow.results import read_results
from sides.claims import Claimed, claims_of_ring, claims_of_tests, sources_of
from sides.judging import Bill, judged
from sides.pipelines import WAYS, Work, centroids_of, embed, run_apart
from sides.texts import Spec, Stored, read_stored
from sides.truth import Quality, confirms, plant_of, quality
from sides.usage import Usage

__all__ = ["Compared", "Costs", "Finding", "Side", "compare", "flat"]

CALLS = 100
"""Of the dear judge, for each statement of a way without tiers."""


class Costs(NamedTuple):
    """What is assumed, and how many ``fresh`` pairs a claim of no plant gets."""

    seconds_a_text: float
    dear: float
    fresh: int


class Finding(NamedTuple):
    """A claim of ``plant``, or of none: then ``true`` says whether fresh pairs confirmed it."""

    plant: str | None
    true: bool
    direction: int
    pairs: int
    words: str


@dataclass(frozen=True)
class Side:
    """One way: what it used, what it found. ``paid_alone`` is the bill of its judges without the free tiers."""

    name: str
    usage: Usage
    decoding: float
    bill: Bill
    paid_alone: Bill
    quality: Quality
    findings: list[Finding]

    @property
    def measured(self) -> float:
        """Seconds of all but decoding."""
        return sum(self.usage.stages.values())

    @property
    def seconds(self) -> float:
        """Until all is found: the ring works beside the decoder, the other ways after it."""
        return max(self.decoding, self.measured) if self.name == "contraflow" else self.decoding + self.measured

    @property
    def found(self) -> dict[str, int]:
        """Claims by plant."""
        return dict(Counter(finding.plant for finding in self.findings if finding.plant is not None))

    @property
    def confirmed(self) -> int:
        """Claims that are of no plant, and true all the same."""
        return sum(finding.true and finding.plant is None for finding in self.findings)

    @property
    def false(self) -> int:
        """Claims that are of no plant, and that fresh pairs did not confirm."""
        return sum(not finding.true for finding in self.findings)


@dataclass(frozen=True)
class Compared:
    """The three ways, and the ceiling: a clustering of everything with another seed."""

    stored: Stored
    embedder: str
    costs: Costs
    seed: int
    sides: dict[str, Side]
    ceiling: Quality

    @property
    def missed(self) -> list[str]:
        """The plants that batch found and contraflow did not."""
        return [plant for plant in self.sides["batch"].found if plant not in self.sides["contraflow"].found]

    def spent(self, figure: str, way: str) -> float:
        """What a way needs of ``texts``, ``seconds`` or ``dollars``."""
        side = self.sides[way]
        return {"texts": side.usage.texts, "seconds": side.seconds, "dollars": side.bill.dollars}[figure]

    def ratio(self, figure: str, way: str = "contraflow") -> float:
        """How many times more batch needs; infinite where the other needs none."""
        batch, other = (self.spent(figure, name) for name in ("batch", way))
        return batch / other if other else float("inf")


def compare(
    spec: Spec, folder: Path, scratch: Path, embedder: str, costs: Costs, seed: int, console: Console
) -> Compared:
    """Run each way in a process of its own, then judge all three."""
    arms, scale = list(spec.arms), spec.texts / Spec.fixed().texts
    usages = {}
    for way in WAYS:
        own = str(scratch / way)
        work = Work(str(folder), own, spec.texts, spec.draws, arms, spec.clusters, embedder, seed, scale)
        usages[way] = run_apart(way, work)
        console.print(f"{way}: {usages[way].texts:,} texts, {sum(usages[way].stages.values()):.1f} s without decoding")
    stored = read_stored(spec, folder)
    vectors, encoder = embed(stored.texts, embedder), encoders.build(Embedder(model=embedder))
    sides = {}
    for way, usage in usages.items():
        centroids, claims, bills = _found(way, scratch / way, stored, encoder, costs, seed)
        findings = [_finding(claim, stored, encoder, costs.fresh, seed) for claim in claims]
        good = quality(vectors, centroids, stored.sources, seed)
        sides[way] = Side(way, usage, usage.texts * costs.seconds_a_text, *bills, good, findings)
    console.print("clustering everything with another seed, for the ceiling")
    ceiling = quality(vectors, _ceiling(vectors, spec.clusters, seed + 1), stored.sources, seed)
    return Compared(stored, embedder, costs, seed, sides, ceiling)


def _ceiling(vectors: NDArray[np.float32], clusters: int, seed: int) -> NDArray[np.float32]:
    from sklearn.cluster import KMeans

    centroids: NDArray[np.float32] = KMeans(clusters, random_state=seed).fit(vectors).cluster_centers_
    return centroids


def _found(
    way: str, own: Path, stored: Stored, encoder: Encoder, costs: Costs, seed: int
) -> tuple[NDArray[np.float32], list[Claimed], tuple[Bill, Bill]]:
    if way == "contraflow":
        results = anyio.run(read_results, own / "contraflow-1")
        centroids = centroids_of(results)[1]
        sources = sources_of(results, stored)
        bills = [judged(results, encoder, sources, costs.dear, seed, free=free) for free in (True, False)]
        return centroids, claims_of_ring(results, stored, encoder), (bills[0], bills[1])
    kept = np.load(own / "found.npz")
    claims = claims_of_tests(kept, stored)
    bill = Bill({"dear": CALLS * len(claims)}, CALLS * len(claims) * costs.dear, 0, 0, 0)
    return kept["centroids"], claims, (bill, bill)


def _finding(claim: Claimed, stored: Stored, encoder: Encoder, fresh: int, seed: int) -> Finding:
    plant = plant_of(claim, {name: stored.planted[name] for name in stored.shown})
    true = plant is not None or confirms(claim, stored, encoder, fresh, seed)
    return Finding(plant, true, claim.direction, len(claim.prompts), claim.words)


def flat(compared: Compared) -> dict[str, float]:
    """Every figure, in one flat object."""
    figures: dict[str, float] = {"planted": len(compared.stored.shown), "missed": len(compared.missed)}
    figures |= {f"ceiling_{name}": value for name, value in compared.ceiling._asdict().items()}
    for way, side in compared.sides.items():
        figures |= {f"{way}_{name}": value for name, value in _figures(side, compared.ceiling).items()}
        figures |= {f"{way}_ratio_{figure}": compared.ratio(figure, way) for figure in ("texts", "seconds", "dollars")}
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def _figures(side: Side, ceiling: Quality) -> dict[str, float]:
    return {
        "texts": side.usage.texts,
        "seconds": side.seconds,
        "seconds_decoding": side.decoding,
        "seconds_without_decoding": side.measured,
        **{f"seconds_{stage}": seconds for stage, seconds in side.usage.stages.items()},
        "cpu_seconds": side.usage.cpu,
        **{f"cpu_{stage.replace(' ', '_')}": seconds for stage, seconds in side.usage.busy.items()},
        "memory_mb": side.usage.memory,
        "dollars": side.bill.dollars,
        "dollars_paid_tiers_alone": side.paid_alone.dollars,
        **{f"calls_{tier}": calls for tier, calls in side.bill.calls.items()},
        "clusters": side.usage.clusters,
        **side.quality._asdict(),
        "ev_of_ceiling": side.quality.ev / ceiling.ev,
        "nmi_of_ceiling": side.quality.nmi / ceiling.nmi,
        "claims": len(side.findings),
        "found": len(side.found),
        "confirmed": side.confirmed,
        "false": side.false,
    }
