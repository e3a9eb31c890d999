"""What deserves more texts: how likely each cluster's difference is real, and which prompts lead there.

Steering only: founders are counted here and never in evidence. See docs/decisions.md for where the numbers come from.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contraflow.clusterer.parts import pack, unpack
from contraflow.events import Reason, Region
from contraflow.statistics.eprocess import log_e

__all__ = ["Discordant", "DiscordantTexts", "probability", "region", "urgent"]

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

    def any(self, slot: int) -> bool:
        """Whether anything is kept of a slot."""
        return bool(self._kept[slot])

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


def probability(n: NDArray[np.int64], s: NDArray[np.int64], prior: ArrayLike) -> NDArray[np.float64]:
    """How likely each difference is real after ``n`` discordant pairs with ``s`` of the arm; 0 if below 1 %."""
    prior = np.asarray(prior)
    odds = prior / (1 - prior) * np.exp(np.minimum(log_e(n, s), 50.0))
    p = odds / (1 + odds)
    return np.where(p < SMALLEST, 0.0, p)


def urgent(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weight of a probability in steering."""
    return np.where(p > LIKELY, URGENCY * p, p)


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
