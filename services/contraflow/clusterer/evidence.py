"""The evidence of each (cluster, arm): what was counted since the cluster's birth, and what is claimed from it.

A pair is discordant for a cluster when exactly one of its two texts fell into it; concordant pairs carry nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contraflow.clusterer.parts import pack, pack_array, unpack, unpack_array
from contraflow.events import Claim, Comparison, Effect
from contraflow.statistics.bounds import EmpiricalBernstein
from contraflow.statistics.ebh import weighted_ebh
from contraflow.statistics.eprocess import log_e_scalar

__all__ = ["Ledger", "NewClaim"]

_COUNTS = ("n", "s", "explore_n", "explore_s", "claimed_at", "claimed_n", "claimed_s", "generalises_at")


class NewClaim(NamedTuple):
    """A slot and the index of its comparison."""

    slot: int
    comparison: int


class Ledger:
    """By slot and comparison (each arm but the reference): counts, log E, claims; by slot: weight and effects.

    *Differs* counts all pairs, *generalises* the uniformly asked ones alone, each with its own weighted e-BH. The log E
    of a claimed hypothesis is frozen; its counts go on for the description.
    """

    def __init__(
        self, capacity: int, arms: Sequence[str], reference: str, alpha: float, population: int | None = None
    ) -> None:
        self.arms = tuple(arms)
        self.reference = self.arms.index(reference)
        self.compared = [i for i in range(len(arms)) if i != self.reference]
        shape = (capacity, len(self.compared))
        self._alpha = alpha
        self.n, self.s, self.explore_n, self.explore_s = (np.zeros(shape, np.int64) for _ in range(4))
        self.claimed_at, self.claimed_n, self.claimed_s, self.generalises_at = (
            np.zeros(shape, np.int64) for _ in range(4)
        )
        self.log_e = np.zeros(shape)
        self.explore_log_e = np.zeros(shape)
        self.weight = np.zeros(capacity)
        self.warm = np.zeros(capacity, np.bool_)
        self._columns = len(arms) + len(self.compared)
        self._bounds = EmpiricalBernstein(capacity * self._columns, alpha, population)

    def born(self, slot: int, weight: float, *, warm: bool = False) -> None:
        """Start a cluster's evidence from nothing, with the weight that its hypotheses share."""
        for name in _COUNTS:
            getattr(self, name)[slot] = 0
        self.log_e[slot] = self.explore_log_e[slot] = 0.0
        self.weight[slot] = weight / len(self.compared)
        self.warm[slot] = warm
        self._bounds.state[self._rows(np.array([slot]))] = 0.0

    def _rows(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        return (slots[:, None] * self._columns + np.arange(self._columns)).ravel()

    def claimed(self, slot: int) -> bool:
        """Whether any arm's difference is claimed there, in either column: the cluster then stays."""
        return bool(self.claimed_at[slot].any() or self.generalises_at[slot].any())

    def claimed_slots(self) -> NDArray[np.bool_]:
        """``claimed`` for every slot."""
        claimed: NDArray[np.bool_] = np.any((self.claimed_at > 0) | (self.generalises_at > 0), axis=1)
        return claimed

    def count(self, slots: NDArray[np.int64], explore: NDArray[np.bool_], used: NDArray[np.int64]) -> None:
        """Count pairs: (pairs, arms) slots, and which were asked uniformly. ``used`` are the clusters there are."""
        base = slots[:, self.reference]
        for j, arm in enumerate(self.compared):
            there = slots[:, arm]
            for i in np.flatnonzero(there != base).tolist():
                self._discordant(int(base[i]), j, 0, bool(explore[i]))
                self._discordant(int(there[i]), j, 1, bool(explore[i]))
        if explore.any():
            self._observe(slots[explore], used)

    def _discordant(self, slot: int, j: int, x: int, explore: bool) -> None:
        self.n[slot, j] += 1
        self.s[slot, j] += x
        if not self.claimed_at[slot, j]:
            self.log_e[slot, j] = log_e_scalar(int(self.n[slot, j]), int(self.s[slot, j]))
        if explore:
            self.explore_n[slot, j] += 1
            self.explore_s[slot, j] += x
            if not self.generalises_at[slot, j]:
                seen = int(self.explore_n[slot, j]), int(self.explore_s[slot, j])
                self.explore_log_e[slot, j] = log_e_scalar(*seen)

    def _observe(self, slots: NDArray[np.int64], used: NDArray[np.int64]) -> None:
        inside = (used[:, None] == slots[:, None, :]).astype(np.float64)
        difference = (inside[..., self.compared] - inside[..., [self.reference]] + 1) / 2
        observed = np.concatenate([inside, difference], axis=2)
        self._bounds.update(observed.reshape(len(slots), -1), self._rows(used))

    def decide(self, used: NDArray[np.int64], seq: int) -> list[NewClaim]:
        """Look at every hypothesis after pair ``seq``; claim what weighted e-BH allows."""
        new = self._claim(used, self.log_e, self.claimed_at, seq)
        for slot, j in new:
            self.claimed_n[slot, j], self.claimed_s[slot, j] = self.n[slot, j], self.s[slot, j]
        self._claim(used, self.explore_log_e, self.generalises_at, seq)
        return new

    def _claim(
        self, used: NDArray[np.int64], log_e: NDArray[np.float64], at: NDArray[np.int64], seq: int
    ) -> list[NewClaim]:
        weights = np.repeat(self.weight[used], len(self.compared))
        chosen = weighted_ebh(log_e[used].ravel(), weights, self._alpha).reshape(len(used), -1)
        fresh = np.argwhere(chosen & (at[used] == 0))
        new = [NewClaim(int(used[row]), int(j)) for row, j in fresh]
        for slot, j in new:
            at[slot, j] = seq
        return new

    def log_threshold(self, slot: int) -> float:
        """What log E the cluster would need to be claimed beside those that are."""
        return -float(np.log(self._alpha * self.weight[slot] * (np.count_nonzero(self.claimed_at) + 1)))

    def claim(self, slot: int, j: int, cluster_id: int) -> Claim:
        """The claim of a slot and comparison, as an event."""
        n, s = int(self.claimed_n[slot, j]), int(self.claimed_s[slot, j])
        return Claim(
            cluster_id=cluster_id,
            arm=self.arms[self.compared[j]],
            claimed_at=int(self.claimed_at[slot, j]),
            n=n,
            s=s,
            log_e=float(self.log_e[slot, j]),
            direction=1 if 2 * s > n else -1,
            warm=bool(self.warm[slot]),
            generalises=bool(self.generalises_at[slot, j]),
        )

    def comparisons(self, slot: int) -> dict[str, Comparison]:
        """Everything known of a cluster, by arm."""
        rows = slice(slot * self._columns, (slot + 1) * self._columns)
        means, bounds = self._bounds.means(rows), self._bounds.intervals(rows)
        seen = int(self._bounds.state[rows.start, 0])
        return {
            self.arms[arm]: self._comparison(slot, j, arm, means, bounds, seen) for j, arm in enumerate(self.compared)
        }

    def _comparison(
        self, slot: int, j: int, arm: int, means: NDArray[np.float64], bounds: NDArray[np.float64], seen: int
    ) -> Comparison:
        at = int(self.claimed_at[slot, j])
        return Comparison(
            n=int(self.n[slot, j]),
            s=int(self.s[slot, j]),
            log_e=float(self.log_e[slot, j]),
            weight=float(self.weight[slot]),
            explore_n=int(self.explore_n[slot, j]),
            explore_s=int(self.explore_s[slot, j]),
            explore_log_e=float(self.explore_log_e[slot, j]),
            claimed_at=at or None,
            claimed_n=int(self.claimed_n[slot, j]) if at else None,
            claimed_s=int(self.claimed_s[slot, j]) if at else None,
            generalises_at=int(self.generalises_at[slot, j]) or None,
            effect=self._effect(means, bounds, arm, len(self.arms) + j, seen) if seen else None,
        )

    def _effect(
        self, means: NDArray[np.float64], bounds: NDArray[np.float64], arm: int, column: int, seen: int
    ) -> Effect:
        def three(row: int, scale: float = 1.0, shift: float = 0.0) -> list[float]:
            return [float(scale * x + shift) for x in (means[row], *bounds[row])]

        share, reference, difference = three(arm), three(self.reference), three(column, 2.0, -1.0)
        return Effect(
            n=seen,
            share=share[0],
            share_low=share[1],
            share_high=share[2],
            reference=reference[0],
            reference_low=reference[1],
            reference_high=reference[2],
            difference=difference[0],
            difference_low=difference[1],
            difference_high=difference[2],
        )

    def undecided(self, used: NDArray[np.int64], within: float = 0.01) -> int:
        """How many hypotheses are neither claimed nor known to differ by less than ``within`` of all texts."""
        bounds = 2 * self._bounds.intervals(self._rows(used)).reshape(len(used), self._columns, 2) - 1
        small = (np.abs(bounds[:, len(self.arms) :]) <= within).all(axis=2)
        return int((~small & (self.claimed_at[used] == 0)).sum())

    def dump(self) -> dict[str, bytes]:
        """The state."""
        arrays = [getattr(self, name) for name in (*_COUNTS, "log_e", "explore_log_e", "weight", "warm")]
        return {"ledger": pack([pack_array(a) for a in arrays]), "bounds": pack(pack_array(self._bounds.state))}

    def load(self, parts: Mapping[str, bytes]) -> None:
        """Go on from what ``dump`` gave."""
        names = (*_COUNTS, "log_e", "explore_log_e", "weight", "warm")
        for name, packed in zip(names, unpack(parts["ledger"]), strict=True):
            setattr(self, name, unpack_array(packed))
        self._bounds.state = unpack_array(unpack(parts["bounds"]))
