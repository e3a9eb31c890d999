"""The sampler and the clusterer on a world of vectors, and what of the truth they have claimed so far."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from contraflow.clusterer.core import Clusterer, ClustererConfig, Step
from contraflow.embedder.neighbours import nearest_prompts
from contraflow.events import Claim, Request
from contraflow.pairs import BLOCK, Pair
from contraflow.prompts import Prompt
from contraflow.rehearsal import rehearse_pairs
from contraflow.sampler.core import Sampler, SamplerConfig
from contraflow.sampler.pool import EndlessPool, Pool
from contraflow.sampler.rules import RuleName
from contraflow.sampler.value import Neighbours
from worlds.mixture import Floats, UniformStream, World

__all__ = ["Settings", "Simulation"]

NOTHING = -1

FRESH = 4000
"""Pairs that a claim of no plant is held against."""


@dataclass(frozen=True)
class Settings:
    """As ``worlds.yaml`` fixes them; epochs of 32, looked at after each."""

    warm_start: int = 320
    start: int = 120
    max: int = 380
    uniform: float = 0.2
    alpha: float = 0.05
    in_flight: int = 1


@dataclass
class Simulation:
    """One run; iterate it for its steps.

    ``claimed`` maps a plant to the pair that its first claim was made after, ``shown`` to the first pair that shows it. A
    claim is a plant's when at least half of the discordant pairs that it was made from, those in its direction, have a
    text that shows the plant; of several plants together it is true, and no single plant's. One of which more than half show
    no plant is held against fresh pairs on its own prompts: when they confirm it, a plant is a minority of the cluster and
    yet makes the difference, and it counts in ``leaks``. ``judged`` has the pair that each claim was made after, and whether
    it is true.
    """

    world: World
    rule: RuleName
    seed: int
    pairs: int
    settings: Settings = Settings()
    kind: type[Clusterer] = Clusterer
    pool: Pool | None = None
    claimed: dict[int, int] = field(default_factory=dict)
    shown: dict[int, int] = field(default_factory=dict)
    judged: list[tuple[int, bool]] = field(default_factory=list)
    leaks: int = 0

    def __post_init__(self) -> None:
        arms = tuple(f"arm{i}" for i in range(self.world.arms))
        s = self.settings
        prompts = [Prompt(f"p{i}", f"prompt {i}", None) for i in range(self.world.prompts)]
        neighbours = _neighbours(self.world.prompt_vectors) if self.rule == "leads" else None
        self.sampler = Sampler(
            SamplerConfig(
                run="simulation-1",
                epoch=BLOCK,
                in_flight=s.in_flight,
                warm_start=s.warm_start,
                pairs=self.pairs,
                arms=len(arms),
                uniform=s.uniform,
                rule=self.rule,
                seed=self.seed,
            ),
            prompts,
            self.pool or EndlessPool(len(prompts)),
            neighbours,
        )
        self.clusterer = self.kind(
            ClustererConfig(
                arms=arms,
                reference=arms[0],
                dim=self.world.dim,
                warm_start=s.warm_start,
                start=s.start,
                max_clusters=s.max,
                epoch=BLOCK,
                alpha=s.alpha,
                seed=self.seed,
            )
        )
        self.stream = UniformStream(self.world, self.seed)
        self._arms = arms
        self._shown: dict[tuple[int, str, int], Counter[int]] = defaultdict(Counter)
        self._prompts: dict[tuple[int, str, int], list[int]] = defaultdict(list)
        self._known: set[tuple[int, str]] = set()

    def __iter__(self) -> Iterator[Step]:
        for step in rehearse_pairs(self.sampler, self.clusterer, self.ask):
            self._note(step)
            yield step

    def ask(self, block: Sequence[Request]) -> list[Pair]:
        """What the world answers to the next block of requests."""
        prompts = np.array([int(request.prompt_id[1:]) for request in block])
        return self.stream.ask(prompts, [request.origin for request in block])

    @property
    def false_claims(self) -> int:
        """How many claims show no plant."""
        return sum(not true for _, true in self.judged)

    def until_claimed(self, wanted: Collection[int] | None = None) -> Simulation:
        """Run until these plants are claimed, or all of them, or the pairs are used up."""
        wanted = range(len(self.world.plants)) if wanted is None else wanted
        for _ in self:
            if self.claimed.keys() >= {*wanted}:
                break
        return self

    def _note(self, step: Step) -> None:
        for assignment in step.assignments:
            prompt = int(assignment.prompt_id[1:])
            placed = [assignment.arms[arm].cluster_id for arm in self._arms]
            shows = self.stream.shows.pop(assignment.seq)
            for plant in {*shows} - {NOTHING}:
                self.shown.setdefault(plant, assignment.seq)
            for arm, there, shown in zip(self._arms[1:], placed[1:], shows[1:], strict=True):
                if there != placed[0]:
                    for key in ((there, arm, 1), (placed[0], arm, -1)):
                        self._shown[key][max(shown, shows[0])] += 1
                        self._prompts[key].append(prompt)
        for claim in step.regions.claims if step.regions else ():
            if (claim.cluster_id, claim.arm) not in self._known:
                self._known.add((claim.cluster_id, claim.arm))
                self._judge(claim)

    def _judge(self, claim: Claim) -> None:
        seen = self._shown[claim.cluster_id, claim.arm, claim.direction]
        plant, count = max(seen.items(), key=lambda item: (item[0] != NOTHING, item[1]))
        shown = 2 * seen[NOTHING] <= seen.total()
        leaked = not shown and self._confirmed(claim)
        self.leaks += leaked
        self.judged.append((claim.claimed_at, shown or leaked))
        if shown and plant != NOTHING and 2 * count >= seen.total():
            self.claimed.setdefault(plant, claim.claimed_at)

    def _confirmed(self, claim: Claim) -> bool:
        """Whether fresh pairs on the prompts of a claim, placed by today's centroids, confirm it at p < .001."""
        rng = np.random.default_rng([self.seed, 4, claim.cluster_id])
        prompts = np.resize(self._prompts[claim.cluster_id, claim.arm, claim.direction], FRESH)
        vectors = self.world.answers(prompts, rng, self.clusterer.processed + 1)[0]
        inside = self._inside(vectors.reshape(-1, self.world.dim), claim).reshape(FRESH, -1)
        arm, reference = inside[:, self._arms.index(claim.arm)], inside[:, 0]
        more, fewer = int((arm & ~reference).sum()), int((reference & ~arm).sum())
        leading = more if claim.direction > 0 else fewer
        if not more + fewer:
            return False
        return bool(binomtest(leading, more + fewer, 0.5, alternative="greater").pvalue < 0.001)

    def _inside(self, vectors: Floats, claim: Claim) -> NDArray[np.bool_]:
        slots = [slot for slot, life in self.clusterer.lives.items() if life.cluster_id == claim.cluster_id]
        return np.isin(self.clusterer.kmeans.assign(vectors).first, slots)


_near: dict[bytes, Neighbours] = {}


def _neighbours(prompt_vectors: Floats) -> Neighbours:
    """Found once for all runs of a process on the same prompts: half of a short run otherwise."""
    key = blake2b(prompt_vectors.tobytes()).digest()
    if key not in _near:
        _near[key] = Neighbours(*nearest_prompts(prompt_vectors))
    return _near[key]
