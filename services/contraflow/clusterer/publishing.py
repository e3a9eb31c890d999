"""What the clusterer tells the others after an epoch: clusters that changed, evidence that moved, and the regions."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from contraflow.clusterer.parts import pack, unpack
from contraflow.clusterer.regions import PRIOR_BIRTH, PRIOR_WARM, lead_region, probability, region, urgent
from contraflow.events import Claim, Cluster, ClusterState, Evidence, Reason, Region, Regions
from contraflow.pairs import BLOCK
from contraflow.statistics.eprocess import needed

if TYPE_CHECKING:
    from contraflow.clusterer.core import Clusterer

__all__ = ["Publisher"]

CONFIRM = 100
"""Discordant pairs after a claim that are asked for, to judge its statement."""
GROWTH = 1.5
BOUNDARY = 16
THIN = 3


class Publisher:
    """Remembers what was published last, so that only changes are."""

    def __init__(self, clusterer: Clusterer) -> None:
        self._clusterer = clusterer
        self._versions: dict[int, int] = {}  # by cluster id
        self._published_size: dict[int, int] = {}
        self._published_n: dict[int, list[int]] = {}
        self._claimed: dict[int, int] = {}
        self._changed: set[int] = set()  # cluster ids
        self._gone: list[Cluster] = []
        self._margins: list[tuple[float, str]] = []

    # what happens between publications

    def born(self, slot: int) -> None:
        """A cluster was born."""
        self._changed.add(self._id(slot))

    def changed(self, slot: int) -> None:
        """A cluster's structure changed."""
        self._changed.add(self._id(slot))

    def retire(self, slot: int, state: ClusterState, into: int | None = None) -> None:
        """A cluster ends here; its last version is published with the next epoch."""
        cluster_id = self._id(slot)
        keywords = self._clusterer.samples.keywords([slot])
        self._gone.append(self._cluster(slot, keywords[slot], state=state, into=into))
        self._changed.discard(cluster_id)
        for kept in (self._versions, self._published_size, self._published_n, self._claimed):
            kept.pop(cluster_id, None)

    def note_margins(self, prompts: Sequence[str], margins: NDArray[np.float32]) -> None:
        """Texts close to a boundary."""
        for i in np.argsort(margins, kind="stable")[:BOUNDARY]:
            self._margins.append((round(float(margins[i]), 6), prompts[i]))
        self._margins = heapq.nsmallest(BOUNDARY, self._margins)

    def _id(self, slot: int) -> int:
        return self._clusterer.lives[slot].cluster_id

    # publications

    def publish(self, *, final: bool = False) -> tuple[list[Cluster], list[Evidence], Regions]:
        """Clusters, evidence and Regions as of the last processed pair."""
        core = self._clusterer
        if (probes := core.coverage.probes) is not None and core.kmeans.used.any():
            first = core.kmeans.assign(probes).first
            core.coverage.look(np.array([self._id(int(slot)) for slot in first]))
        return self._clusters(final), self._evidence(), self._regions(final)

    def _clusters(self, final: bool) -> list[Cluster]:
        core = self._clusterer
        due = [slot for slot in sorted(core.lives) if final or self._worth_telling(slot)]
        keywords = core.samples.keywords(due) if due else {}
        gone, self._gone = self._gone, []
        self._changed.clear()
        return gone + [self._cluster(slot, keywords[slot], final=final) for slot in due]

    def _worth_telling(self, slot: int) -> bool:
        cluster_id = self._id(slot)
        claims = int(np.count_nonzero(self._clusterer.ledger.claimed_at[slot]))
        grown = self._clusterer.kmeans.counts[slot] >= GROWTH * self._published_size.get(cluster_id, 0)
        return cluster_id in self._changed or bool(grown) or claims != self._claimed.get(cluster_id, 0)

    def _cluster(
        self,
        slot: int,
        keywords: tuple[str, ...],
        *,
        state: ClusterState = ClusterState.ACTIVE,
        into: int | None = None,
        final: bool = False,
    ) -> Cluster:
        core = self._clusterer
        life, weight = core.lives[slot], int(core.kmeans.counts[slot])
        self._versions[life.cluster_id] = version = self._versions.get(life.cluster_id, 0) + 1
        self._published_size[life.cluster_id] = weight
        self._claimed[life.cluster_id] = int(np.count_nonzero(core.ledger.claimed_at[slot]))
        drift = core.history.changes(slot, life.born_at // BLOCK) if final else ()
        return Cluster(
            cluster_id=life.cluster_id,
            version=version,
            after_seq=core.processed,
            state=state,
            born_at=life.born_at,
            size=life.size,
            radius=round(float(np.sqrt(core.kmeans.inertia[slot] / max(1, weight))), 6),
            keywords=keywords,
            exemplars=core.samples.exemplars(slot),
            comparisons=core.ledger.comparisons(slot),
            counts=dict(zip(core.arms, life.by_arm, strict=True)),
            founders={arm: n for arm, n in zip(core.arms, life.founders, strict=True) if n},
            parents=life.parents,
            merged_into=into,
            centroid=core.kmeans.means[slot].astype("<f4").tobytes(),
            drift=tuple(block * BLOCK for block in drift),
        )

    def _evidence(self) -> list[Evidence]:
        core, ledger = self._clusterer, self._clusterer.ledger
        moved = []
        for slot in sorted(core.lives):
            cluster_id, counts = self._id(slot), ledger.n[slot].tolist()
            before = self._published_n.get(cluster_id, [0] * len(counts))
            self._published_n[cluster_id] = counts
            moved += [
                Evidence(
                    seq=core.processed,
                    cluster_id=cluster_id,
                    arm=core.arms[ledger.compared[j]],
                    n=n,
                    s=int(ledger.s[slot, j]),
                    log_e=float(ledger.log_e[slot, j]),
                )
                for j, n in enumerate(counts)
                if n != before[j]
            ]
        return moved

    def _regions(self, final: bool) -> Regions:
        core = self._clusterer
        warm = core.warm is not None
        undecided = core.ledger.undecided(core.kmeans.slots) if not warm else 1
        message = Regions(
            epoch=-(-core.processed // core.config.epoch),
            after_seq=core.processed,
            pairs=core.processed,
            arms=core.arm_totals(),
            warm=warm,
            clusters=len(core.lives),
            births=sum(core.births),
            criteria=core.coverage.criteria(undecided, core.config.stop),
            claims=tuple(self._claims()),
            regions=() if warm else tuple(self._open_regions()),
            final=final,
        )
        self._margins = []
        return message

    def _claims(self) -> list[Claim]:
        core = self._clusterer
        claims = [
            core.ledger.claim(slot, j, self._id(slot))
            for slot in core.lives
            for j in range(len(core.ledger.compared))
            if core.ledger.claimed_at[slot, j]
        ]
        return sorted(claims, key=lambda claim: (claim.claimed_at, claim.cluster_id, claim.arm))

    # regions

    def _open_regions(self) -> list[Region]:
        core = self._clusterer
        claimed = {
            self._id(int(slot)) for slot in np.flatnonzero(core.ledger.claimed_slots()) if int(slot) in core.lives
        }
        regions = [r for slot in sorted(core.lives) for r in self._of_cluster(slot, claimed)]
        lead = lead_region(core.ring, core.theta(), core.reference)
        if lead is not None:
            regions.append(lead)
        if self._margins:
            boundary = dict.fromkeys((prompt for _, prompt in self._margins), 1.0)
            regions.append(region("boundary", Reason.BOUNDARY, 0.0, BOUNDARY, boundary))
        return regions + self._thin()

    def _of_cluster(self, slot: int, claimed: set[int]) -> list[Region]:
        core, ledger = self._clusterer, self._clusterer.ledger
        cluster_id = self._id(slot)
        found = []
        for j, arm in enumerate(ledger.compared):
            if ledger.claimed_at[slot, j]:
                since = int(ledger.n[slot, j] - ledger.claimed_n[slot, j])
                x = int(2 * ledger.claimed_s[slot, j] > ledger.claimed_n[slot, j])
                name, reason, p, left = f"confirm:{cluster_id}", Reason.CONFIRM, 1.0, CONFIRM - since
                weight, exclude = 1.0, set[int]()
            else:
                p, x = self._likely(slot, j, arm)
                name, reason = f"divergence:{cluster_id}", Reason.DIVERGENCE
                counted = (int(ledger.n[slot, j]), int(ledger.s[slot, j]))
                left = needed(*counted, ledger.log_threshold(slot)) if p else 0
                weight, exclude = urgent(p), claimed
            hits = {k: v * weight for k, v in core.discordant.hits(slot, j, x, exclude).items()} if left > 0 else {}
            if hits:
                name += "" if len(ledger.compared) == 1 else f":{core.arms[arm]}"
                found.append(region(name, reason, p, left, hits, cluster_id, core.arms[arm]))
        return found

    def _likely(self, slot: int, j: int, arm: int) -> tuple[float, int]:
        core = self._clusterer
        life = core.lives[slot]
        n = int(core.ledger.n[slot, j]) + life.founders[arm] + life.founders[core.reference]
        s = int(core.ledger.s[slot, j]) + life.founders[arm]
        prior = PRIOR_WARM if core.ledger.warm[slot] else PRIOR_BIRTH
        return probability(n, s, prior), int(2 * s >= n)

    def _thin(self) -> list[Region]:
        core = self._clusterer
        smallest = sorted(core.lives, key=lambda slot: (int(core.kmeans.counts[slot]), slot))[:THIN]
        found = []
        for slot in smallest:
            prompts = dict.fromkeys(core.window.prompts(self._id(slot)), 1.0)
            if prompts:
                name = f"thin:{self._id(slot)}"
                found.append(region(name, Reason.THIN, 0.0, THIN, prompts, self._id(slot)))
        return found

    # the state

    def dump(self) -> dict[str, bytes]:
        """What was published last."""
        by_id: list[Mapping[int, Any]] = [self._versions, self._published_size, self._published_n, self._claimed]
        plain: list[Any] = [list(kept.items()) for kept in by_id]
        return {"published": pack([plain, sorted(self._changed), self._gone, self._margins])}

    def load(self, parts: Mapping[str, bytes]) -> None:
        """Go on from what ``dump`` gave."""
        import msgspec

        plain, changed, gone, margins = unpack(parts["published"])
        self._versions, self._published_size, self._published_n, self._claimed = (dict(kept) for kept in plain)
        self._changed = set(changed)
        self._gone = msgspec.convert(gone, list[Cluster])
        self._margins = [(margin, prompt) for margin, prompt in margins]
