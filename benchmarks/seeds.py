"""The demo with several seeds, held against the measured truth of its organism.

    python benchmarks/seeds.py            # ten seeds, about half an hour on two cores
    python benchmarks/seeds.py --quick    # two

A claim is *of a plant* when at least 80 % of its discordant pairs come from the plant's prompts. Any other is false
unless a thousand fresh pairs on the prompts of its discordant pairs, its centroids frozen as they ended, confirm it at
p < .001 (adapters leak, and leakage is a true difference): those are listed as leaks. An e-process of 1,000 ends
that early (p < .001 by Ville's inequality); with the test at the end a wrong confirmation has a chance of .002 at most.
What bounds a run: decoding.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

import contraflow
from contraflow.decoder.asking import answers
from contraflow.decoder.transformers.generator import TransformersGenerator
from contraflow.embedder.sentence import SentenceEncoder
from contraflow.events import Claim, ClusterState, VerdictStatus
from contraflow.experiment import Arm, Generator
from contraflow.results import Finding, Results
from contraflow.statistics.eprocess import log_e_scalar
from screen import screen

BATCH = 64
FRESH = 10_000_019
"""The seed of the first fresh pair."""
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
TRUTH = json.loads((EXAMPLES / "organisms" / "kitchen" / "truth.json").read_text())["plants"]


def plant_of(results: Results, finding: Finding) -> dict[str, Any] | None:
    """The plant whose prompts at least 80 % of the claim's discordant pairs come from."""
    topics = Counter(results.requests[request].category for request in discordant(results, finding.claim))
    for plant in TRUTH:
        if topics[plant["topic"]] >= 0.8 * topics.total() > 0:
            return plant  # type: ignore[no-any-return]  # read from JSON
    return None


def discordant(results: Results, claim: Claim) -> list[str]:
    """The requests of the discordant pairs that a claim was made from."""
    born = next(c.born_at for c in results.clusters if c.cluster_id == claim.cluster_id)
    reference = results.reference
    return [
        a.request_id
        for a in results.assignments
        if born < a.seq <= claim.claimed_at
        and a.arms
        and (a.arms[claim.arm].cluster_id == claim.cluster_id) != (a.arms[reference].cluster_id == claim.cluster_id)
    ]


class Fresh:
    """Answers of both arms to more draws of some prompts, and which cluster each would fall into."""

    def __init__(self) -> None:
        self._encoder = SentenceEncoder("all-MiniLM-L6-v2")
        self._arms: dict[str, TransformersGenerator] = {}

    async def start(self, results: Results) -> None:
        """Load every arm as a run declared it."""
        section = Generator(**results.resolved["experiment"]["generator"])
        for name, declared in results.resolved["experiment"]["arms"].items():
            self._arms[name] = TransformersGenerator(name, Arm(**declared), section, EXAMPLES)
            await self._arms[name].start()

    async def confirms(self, results: Results, claim: Claim, pairs: int) -> bool:
        """Whether up to ``pairs`` fresh pairs on the prompts of a claim confirm it at p < .001."""
        prompts = [results.requests[r].messages[-1].content for r in discordant(results, claim)]
        n = leading = 0
        for start in range(0, pairs, BATCH):
            asked = [prompts[i % len(prompts)] for i in range(start, min(start + BATCH, pairs))]
            inside = {
                name: await self._inside(name, asked, FRESH + start, results, claim)
                for name in (results.reference, claim.arm)
            }
            more, fewer = inside[claim.arm] & ~inside[results.reference], inside[results.reference] & ~inside[claim.arm]
            n += int(more.sum() + fewer.sum())
            leading += int(more.sum() if claim.direction > 0 else fewer.sum())
            if 2 * leading > n and log_e_scalar(n, leading) >= math.log(1000):
                return True
        return n > 0 and binomtest(leading, n, 0.5, alternative="greater").pvalue < 0.001

    async def _inside(self, arm: str, prompts: list[str], seed: int, results: Results, claim: Claim) -> np.ndarray:
        texts = await answers(self._arms[arm], prompts, seed=seed)
        alive = [c for c in results.clusters if c.state is ClusterState.ACTIVE or c.cluster_id == claim.cluster_id]
        centroids = np.stack([np.frombuffer(c.centroid, "<f4") for c in alive])
        vectors = self._encoder.encode(texts)[0]
        nearest = (vectors @ centroids.T - (centroids**2).sum(axis=1) / 2).argmax(axis=1)
        ids = np.array([c.cluster_id for c in alive])
        inside: np.ndarray = ids[nearest] == claim.cluster_id
        return inside


def named(finding: Finding, plant: dict[str, Any]) -> bool:
    """Whether the statement contains a word of the truth file."""
    return bool(set(re.findall(r"[a-z']+", finding.statement.lower())) & set(plant["words"]))


async def judge(results: Results, fresh: Fresh, pairs: int) -> dict[str, Any]:
    row: dict[str, Any] = {"seed": results.resolved["experiment"]["seed"], "claims": len(results.findings)}
    for plant in TRUTH:
        of_plant = [f for f in results.findings if plant_of(results, f) is plant]
        row[plant["name"]] = len(of_plant)
        row[f"{plant['name']} named"] = any(named(finding, plant) for finding in of_plant)
    others = [f for f in results.findings if plant_of(results, f) is None]
    confirmed = [await fresh.confirms(results, finding.claim, pairs) for finding in others]
    row["leaks"], row["false"] = sum(confirmed), len(confirmed) - sum(confirmed)
    row["accepted"] = sum(
        f.verdict is not None and f.verdict.status is VerdictStatus.ACCEPTED for f in results.findings
    )
    row["seconds"] = json.loads((results.folder.path / "timing.json").read_text())["seconds"]
    return row


async def judge_all(every: list[Results], pairs: int, console: Console) -> list[dict[str, Any]]:
    fresh = Fresh()
    await fresh.start(every[0])
    rows = []
    for results in every:
        rows.append(await judge(results, fresh, pairs))
        console.print(f"judged {results.folder.run}: {rows[-1]}", highlight=False, soft_wrap=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=1000, help="fresh pairs for a claim that is of no plant")
    parser.add_argument("--runs", type=Path, help="keep the runs in this folder")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = screen(stderr=options.json)
    with tempfile.TemporaryDirectory() as scratch:
        runs = options.runs or Path(scratch)
        every = []
        for seed in range(2 if options.quick else options.seeds):
            overrides = [f"seed={seed}", f"experiment=kitchen-{seed}"]
            every.append(contraflow.run(EXAMPLES / "kitchen.yaml", runs=runs, overrides=overrides))
            if not every[-1].folder.done:
                parser.exit(
                    130, f"{every[-1].folder.run} was interrupted: nothing is judged of a run that is not done\n"
                )
            of = [(plant_of(every[-1], finding) or {"name": "other"})["name"] for finding in every[-1].findings]
            console.print(f"seed {seed}: claims of {', '.join(of) or 'nothing'}", highlight=False)
        rows = anyio.run(judge_all, every, options.pairs, console)
    names = [plant["name"] for plant in TRUTH]
    figures = {
        "seeds": len(rows),
        "both_plants_claimed": sum(all(row[name] for name in names) for row in rows),
        "both_statements_name_the_truth": sum(all(row[f"{name} named"] for name in names) for row in rows),
        "runs_with_a_false_claim": sum(row["false"] > 0 for row in rows),
        "false_claims": sum(row["false"] for row in rows),
        "leaks": sum(row["leaks"] for row in rows),
        "median_seconds": float(np.median([row["seconds"] for row in rows])),
    }
    if options.json:
        print(json.dumps(figures))
        return
    table = Table(*rows[0], box=None)
    for row in rows:
        table.add_row(
            *(
                f"{v:.0f}" if isinstance(v, float) else "yes" if v is True else "no" if v is False else str(v)
                for v in row.values()
            )
        )
    console.print(table)
    console.print(figures)


if __name__ == "__main__":
    main()
