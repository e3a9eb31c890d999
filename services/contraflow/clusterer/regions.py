"""What deserves more texts: how likely each cluster's difference is real, and which prompts lead there.

Steering only: founders are counted here and never in evidence. See docs/decisions.md for where the numbers come from.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from contraflow.clusterer.births import FarRing
from contraflow.clusterer.parts import pack, unpack
from contraflow.events import Reason, Region
from contraflow.statistics.eprocess import log_e_scalar

__all__ = ["Discordant", "DiscordantTexts", "lead_region", "probability"]

PRIOR_WARM, PRIOR_BIRTH = 0.02, 0.3
SMALLEST = 0.01
LIKELY, URGENCY = 0.8, 4.0
"""What is likely but undecided is urgent: its probability counts four times."""
KEPT = 256
MOST_PROMPTS = 200
NOBODY = -1
"""The partner's cluster of a founder, which is not known any more."""


class Discordant(NamedTuple):
    """A text that fell into a cluster while its partner did not: its prompt, its comparison, whether it is the arm's."""

    prompt: str
    comparison: int
    x: int
    partner: int


class DiscordantTexts:
    """By slot the last 256 discordant texts."""

    def __init__(self) -> None:
        self._kept: dict[int, deque[Discordant]] = {}
        self._parts: dict[int, bytes] = {}

    def born(self, slot: int) -> None:
        """Forget what the slot held before."""
        self._kept[slot] = deque(maxlen=KEPT)
        self._parts.pop(slot, None)

    def found(self, slot: int, texts: Iterable[tuple[str, int]], compared: Sequence[int]) -> None:
        """Keep what founded a cluster, (prompt, arm)s: their prompts led there first, and may again."""
        for prompt, arm in texts:
            for j, other in enumerate(compared):
                if arm == other or arm not in compared:
                    self.add(slot, Discordant(prompt, j, int(arm == other), NOBODY))

    def of(self, slot: int) -> list[Discordant]:
        """What is kept of a slot."""
        return list(self._kept[slot])

    def add(self, slot: int, text: Discordant) -> None:
        """Keep a text."""
        self._kept[slot].append(text)
        self._parts.pop(slot, None)

    def hits(self, slot: int, comparison: int, x: int, claimed: set[int]) -> Counter[str]:
        """How often each prompt led to the cluster in one direction; not from clusters that are claimed themselves."""
        return Counter(
            text.prompt
            for text in self._kept[slot]
            if text.comparison == comparison and text.x == x and text.partner not in claimed
        )

    def dump(self) -> dict[str, bytes]:
        """The state."""
        for slot, kept in self._kept.items():
            if slot not in self._parts:
                self._parts[slot] = pack(list(kept))
        return {f"discordant:{slot}": part for slot, part in self._parts.items()}

    def load(self, parts: Mapping[str, bytes]) -> None:
        """Go on from what ``dump`` gave."""
        for name, part in parts.items():
            kind, _, slot = name.partition(":")
            if kind == "discordant":
                self._parts[int(slot)] = part
                self._kept[int(slot)] = deque((Discordant(*text) for text in unpack(part)), maxlen=KEPT)


def probability(n: int, s: int, prior: float) -> float:
    """How likely a difference is real after ``n`` discordant pairs with ``s`` of the arm; 0 if below 1 %."""
    odds = prior / (1 - prior) * float(np.exp(min(log_e_scalar(n, s), 50.0)))
    p = odds / (1 + odds)
    return 0.0 if p < SMALLEST else p


def urgent(p: float) -> float:
    """The weight of a probability in steering."""
    return URGENCY * p if p > LIKELY else p


def lead_region(ring: FarRing, theta: float, reference: int) -> Region | None:
    """The far texts that are no cluster yet: each leads to its prompt, the more the more its neighbours are one arm's."""
    rows = ring.used
    if not len(rows):
        return None
    near = ring.vectors[rows] @ ring.vectors[rows].T >= theta
    hits: Counter[str] = Counter()
    arms = ring.arm[rows]
    best = 0.0
    for i, row in enumerate(rows):
        # against the reference, whichever of several arms the text is from
        mine = arms[i] if arms[i] != reference else arms[near[i] & (arms != reference)].max(initial=-1)
        labels = arms[near[i] & ((arms == mine) | (arms == reference))]
        n, s = len(labels), int((labels != reference).sum())
        leading = s if arms[i] != reference else n - s
        if 2 * leading > n:
            p = probability(n, s, PRIOR_BIRTH)
            hits[ring.prompts[row]] += urgent(p)  # type: ignore[assignment]  # a Counter of floats
            best = max(best, p)
    return region("leads", Reason.LEAD, best, 3 * len(rows), hits) if hits else None


def region(
    name: str,
    reason: Reason,
    p: float,
    needed: int,
    hits: Mapping[str, float],
    cluster_id: int | None = None,
    arm: str | None = None,
) -> Region:
    """A region with its best prompts, rounded so that the message stays small."""
    best: Iterable[tuple[str, float]] = sorted(hits.items(), key=lambda item: (-item[1], item[0]))[:MOST_PROMPTS]
    return Region(
        region_id=name,
        reason=reason,
        probability=round(p, 6),
        needed=needed,
        hits={prompt: round(float(value), 6) for prompt, value in best},
        cluster_id=cluster_id,
        arm=arm,
    )
