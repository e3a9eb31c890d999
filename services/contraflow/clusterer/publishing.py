"""What the clusterer tells the others after an epoch: clusters that changed, evidence that moved, and the regions."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from contraflow.clusterer.opening import BOUNDARY, open_regions
from contraflow.clusterer.parts import pack, pack_array, unpack, unpack_array
from contraflow.events import Claim, Cluster, ClusterState, Evidence, Regions
from contraflow.pairs import BLOCK

if TYPE_CHECKING:
    from contraflow.clusterer.core import Clusterer

__all__ = ["Publisher"]

GROWTH = 1.5
"""A cluster is told of again when it has grown by half."""
_TOLD = ("_version", "_size", "_claims", "_n", "_changed")


class Publisher:
    """Remembers by slot what was published last, so that only changes are."""

    def __init__(self, clusterer: Clusterer) -> None:
        self._clusterer = clusterer
        n = clusterer.ledger.n
        self._version, self._size, self._claims = (np.zeros(len(n), np.int64) for _ in range(3))
        self._n = np.zeros_like(n)
        self._changed = np.zeros(len(n), np.bool_)
        self._gone: list[Cluster] = []
        self._margins: list[tuple[float, str]] = []

    # what happens between publications

    def born(self, slot: int) -> None:
        """A cluster was born."""
        for told in (self._version, self._size, self._claims, self._n):
            told[slot] = 0
        self._changed[slot] = True

    def changed(self, slot: int) -> None:
        """A cluster's structure changed."""
        self._changed[slot] = True

    def retire(self, slot: int, state: ClusterState, into: int | None = None) -> None:
        """A cluster ends here; its last version is published with the next epoch."""
        keywords = self._clusterer.samples.keywords([slot])
        self._gone.append(self._cluster(slot, keywords[slot], state=state, into=into))

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
        slots = np.array(sorted(core.lives), np.int64)
        due = slots[final | self._worth_telling(slots)].tolist()
        keywords = core.samples.keywords(due) if due else {}
        gone, self._gone = self._gone, []
        self._changed[:] = False
        born = {slot: core.lives[slot].born_at // BLOCK for slot in due}
        drift = core.history.changes(born) if final else {}
        return gone + [self._cluster(slot, keywords[slot], drift=drift.get(slot, ())) for slot in due]

    def _worth_telling(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        core = self._clusterer
        claims = np.count_nonzero(core.ledger.claimed_at[slots], axis=1)
        grown = core.kmeans.counts[slots] >= GROWTH * self._size[slots]
        worth: NDArray[np.bool_] = self._changed[slots] | grown | (claims != self._claims[slots])
        return worth

    def _cluster(
        self,
        slot: int,
        keywords: tuple[str, ...],
        *,
        state: ClusterState = ClusterState.ACTIVE,
        into: int | None = None,
        drift: Sequence[int] = (),
    ) -> Cluster:
        core = self._clusterer
        life, weight = core.lives[slot], int(core.kmeans.counts[slot])
        self._version[slot] += 1
        self._size[slot] = weight
        self._claims[slot] = np.count_nonzero(core.ledger.claimed_at[slot])
        return Cluster(
            cluster_id=life.cluster_id,
            version=int(self._version[slot]),
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
        slots = np.array(sorted(core.lives), np.int64)
        moved = np.argwhere(ledger.n[slots] != self._n[slots])
        self._n[slots] = ledger.n[slots]
        return [
            Evidence(
                seq=core.processed,
                cluster_id=self._id(slot),
                arm=core.arms[ledger.compared[j]],
                n=int(ledger.n[slot, j]),
                s=int(ledger.s[slot, j]),
                log_e=float(ledger.log_e[slot, j]),
            )
            for slot, j in zip(slots[moved[:, 0]].tolist(), moved[:, 1].tolist(), strict=True)
        ]

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
            claims=tuple(self._claimed()),
            regions=() if warm else tuple(open_regions(core, [prompt for _, prompt in self._margins])),
            final=final,
        )
        self._margins = []
        return message

    def _claimed(self) -> list[Claim]:
        ledger = self._clusterer.ledger
        at = np.argwhere(ledger.claimed_at > 0).tolist()
        claims = [ledger.claim(slot, j, self._id(slot)) for slot, j in at]
        return sorted(claims, key=lambda claim: (claim.claimed_at, claim.cluster_id, claim.arm))

    # the state

    def dump(self) -> dict[str, bytes]:
        """What was published last."""
        told = [pack_array(getattr(self, name)) for name in _TOLD]
        return {"published": pack([told, self._gone, self._margins])}

    def load(self, parts: Mapping[str, bytes]) -> None:
        """Go on from what ``dump`` gave."""
        import msgspec

        told, gone, margins = unpack(parts["published"])
        for name, packed in zip(_TOLD, told, strict=True):
            setattr(self, name, unpack_array(packed))
        self._gone = msgspec.convert(gone, list[Cluster])
        self._margins = [(margin, prompt) for margin, prompt in margins]
