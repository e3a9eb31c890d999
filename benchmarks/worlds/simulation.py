"""The sampler and the clusterer on a world of vectors, and what of the truth they have claimed so far."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

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
from worlds.mixture import UniformStream, World

__all__ = ["Settings", "Simulation"]

NOTHING = -1


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
    text that shows the plant. One of which more than half show no plant at all counts in ``false_claims``; of several plants
    together it is true, and no single plant's. ``judged`` has the pair that each claim was made after, and whether it is true.
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

    def __post_init__(self) -> None:
        arms = tuple(f"arm{i}" for i in range(self.world.arms))
        s = self.settings
        prompts = [Prompt(f"p{i}", f"prompt {i}", None) for i in range(self.world.prompts)]
        neighbours = Neighbours(*nearest_prompts(self.world.prompt_vectors)) if self.rule == "leads" else None
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
            placed = [assignment.arms[arm].cluster_id for arm in self._arms]
            shows = self.stream.shows.pop(assignment.seq)
            for plant in {*shows} - {NOTHING}:
                self.shown.setdefault(plant, assignment.seq)
            for arm, there, shown in zip(self._arms[1:], placed[1:], shows[1:], strict=True):
                if there != placed[0]:
                    self._shown[there, arm, 1][max(shown, shows[0])] += 1
                    self._shown[placed[0], arm, -1][max(shown, shows[0])] += 1
        for claim in step.regions.claims if step.regions else ():
            if (claim.cluster_id, claim.arm) not in self._known:
                self._known.add((claim.cluster_id, claim.arm))
                self._judge(claim)

    def _judge(self, claim: Claim) -> None:
        seen = self._shown[claim.cluster_id, claim.arm, claim.direction]
        plant, count = max(seen.items(), key=lambda item: (item[0] != NOTHING, item[1]))
        true = 2 * seen[NOTHING] <= seen.total()
        self.judged.append((claim.claimed_at, true))
        if true and plant != NOTHING and 2 * count >= seen.total():
            self.claimed.setdefault(plant, claim.claimed_at)
