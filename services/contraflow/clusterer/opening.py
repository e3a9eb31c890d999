"""The regions that are open: claims to confirm, likely differences, leads, boundaries and thin clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from contraflow.clusterer.regions import PRIOR_BIRTH, PRIOR_WARM, probability, region, urgent
from contraflow.events import Reason, Region
from contraflow.statistics.eprocess import needed

if TYPE_CHECKING:
    from contraflow.clusterer.core import Clusterer

__all__ = ["BOUNDARY", "open_regions"]

BOUNDARY = 16
THIN = 3


def open_regions(core: Clusterer, boundary: Sequence[str]) -> list[Region]:
    """What deserves more texts after the last processed pair; ``boundary`` are prompts of texts between two clusters."""
    claimed = {core.lives[slot].cluster_id for slot in np.flatnonzero(core.ledger.claimed_slots()).tolist()}
    regions = _of_clusters(core, claimed)
    lead = core.leads.region(core.theta(), claimed)
    if lead is not None:
        regions.append(lead)
    if boundary:
        regions.append(region("boundary", Reason.BOUNDARY, 0.0, BOUNDARY, dict.fromkeys(boundary, 1.0)))
    return regions + _thin(core)


def _of_clusters(core: Clusterer, claimed_ids: set[int]) -> list[Region]:
    """Claims to confirm and likely differences, by slot."""
    ledger = core.ledger
    slots = np.array(sorted(core.lives), np.int64)
    claimed = ledger.claimed_at[slots] > 0
    p, leading = _likely(core, slots)
    weight = urgent(p)
    found = []
    for row, j in np.argwhere(claimed | (p > 0)).tolist():
        slot = int(slots[row])
        if claimed[row, j]:
            found.append(_confirm(core, slot, j))
        elif core.discordant.any(slot):
            value = float(p[row, j]), float(weight[row, j])
            found.append(_divergence(core, slot, j, int(leading[row, j]), value, claimed_ids))
    return [region for region in found if region is not None]


def _likely(core: Clusterer, slots: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(slots, comparisons) how likely each difference is real, its founders included, and whether the arm leads."""
    ledger = core.ledger
    founders = np.array([core.lives[slot].founders for slot in slots.tolist()], np.int64).reshape(
        len(slots), len(core.arms)
    )
    of_arm = founders[:, ledger.compared]
    n = ledger.n[slots] + of_arm + founders[:, [core.reference]]
    s = ledger.s[slots] + of_arm
    prior = np.where(ledger.warm[slots], PRIOR_WARM, PRIOR_BIRTH)[:, None]
    return probability(n, s, prior), 2 * s >= n


def _confirm(core: Clusterer, slot: int, j: int) -> Region | None:
    """Fresh pairs of a claim."""
    ledger = core.ledger
    left = core.config.confirm - int(ledger.n[slot, j] - ledger.claimed_n[slot, j])
    x = int(2 * ledger.claimed_s[slot, j] > ledger.claimed_n[slot, j])
    return _region(core, slot, j, x, Reason.CONFIRM, (1.0, 1.0), left, set())


def _divergence(
    core: Clusterer, slot: int, j: int, x: int, value: tuple[float, float], claimed: set[int]
) -> Region | None:
    """A difference that is likely and not decided; texts whose partner's cluster is claimed are that claim's."""
    ledger = core.ledger
    left = needed(int(ledger.n[slot, j]), int(ledger.s[slot, j]), ledger.log_threshold(slot))
    return _region(core, slot, j, x, Reason.DIVERGENCE, value, left, claimed)


def _region(
    core: Clusterer,
    slot: int,
    j: int,
    x: int,
    reason: Reason,
    value: tuple[float, float],
    left: int,
    exclude: set[int],
) -> Region | None:
    p, weight = value
    hits = {k: v * weight for k, v in core.discordant.hits(slot, j, x, exclude).items()} if left > 0 else {}
    if not hits:
        return None
    cluster_id, arm = core.lives[slot].cluster_id, core.arms[core.ledger.compared[j]]
    name = f"{reason}:{cluster_id}" + ("" if len(core.ledger.compared) == 1 else f":{arm}")
    return region(name, reason, p, left, hits, cluster_id, arm)


def _thin(core: Clusterer) -> list[Region]:
    smallest = sorted(core.lives, key=lambda slot: (int(core.kmeans.counts[slot]), slot))[:THIN]
    found = []
    for slot in smallest:
        cluster_id = core.lives[slot].cluster_id
        prompts = dict.fromkeys(core.window.prompts(cluster_id), 1.0)
        if prompts:
            found.append(region(f"thin:{cluster_id}", Reason.THIN, 0.0, THIN, prompts, cluster_id))
    return found
