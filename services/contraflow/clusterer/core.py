"""The clusterer: takes blocks of pairs strictly by ``seq``; counts evidence with the centroids as they were, then learns.

The order inside a block is what makes the evidence valid (statistics, rules 2 and 3): every text is assigned with one
snapshot, pairs are counted for the clusters that were there before them, claims are decided, and only then centroids
move and clusters are born, split and merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from contraflow.clusterer.assigning import assignments
from contraflow.clusterer.births import SIMILAR, FarRing, unlike_partners
from contraflow.clusterer.coverage import Coverage
from contraflow.clusterer.drift import History
from contraflow.clusterer.evidence import Ledger
from contraflow.clusterer.kmeans import Nearest, OnlineKMeans, warm_centroids
from contraflow.clusterer.leads import Leads
from contraflow.clusterer.parts import Rows
from contraflow.clusterer.publishing import Publisher
from contraflow.clusterer.regions import Discordant, DiscordantTexts
from contraflow.clusterer.splits import Divergence, halves
from contraflow.clusterer.state import dump, restore
from contraflow.clusterer.summary import Samples
from contraflow.clusterer.types import ClustererConfig, Life, Step
from contraflow.clusterer.warmup import WarmUp
from contraflow.clusterer.window import RecentWindow
from contraflow.events import ArmTotals, Assignment, ClusterState, Origin
from contraflow.pairs import BLOCK, Pair
from contraflow.statistics.ebh import birth_weight, warm_weights

__all__ = ["Clusterer", "ClustererConfig", "Step"]

Floats = NDArray[np.float32]

IDLE_BLOCKS = 400
"""An unclaimed cluster that no text has reached for 12,800 pairs is retired, and its slot is free."""


class Clusterer:
    """Processes pairs and keeps everything in bounded memory. ``processed`` is the last ``seq``."""

    def __init__(self, config: ClustererConfig) -> None:
        capacity = max(config.max_clusters, config.start)
        self.config = config
        self.arms = config.arms
        self.reference = config.arms.index(config.reference)
        self.processed = 0
        self.kmeans = OnlineKMeans(capacity, config.dim)
        self.ledger = Ledger(capacity, config.arms, config.reference, config.alpha, config.explore_population)
        self.divergence = [Divergence(capacity, config.dim) for _ in self.ledger.compared]
        self.ring = FarRing(config.dim, len(config.arms))
        self.leads = Leads(config.dim, self.reference)
        self.window = RecentWindow()
        self.samples = Samples(config.arms)
        self.discordant = DiscordantTexts()
        self.coverage = Coverage(config.dim)
        self.history = History()
        self.lives: dict[int, Life] = {}
        self.totals = [[0, 0, 0] for _ in config.arms]
        self.births = [0, 0]
        self.next_id = 0
        self.warm: WarmUp | None = WarmUp()
        self.publisher = Publisher(self)
        self.rows = Rows("slot")

    # the blocks

    def process(self, block: Sequence[Pair]) -> Step:
        """The next block: from ``processed + 1`` to the next multiple of 32; only a run's last may be shorter.

        :raises ValueError: if the block is any other.
        """
        expected = range(self.processed + 1, self.processed + 1 + len(block))
        if [pair.seq for pair in block] != list(expected) or not 1 <= len(block) <= BLOCK - self.processed % BLOCK:
            raise ValueError(f"expected the pairs from seq {self.processed + 1} to the next multiple of {BLOCK}")
        self.processed += len(block)
        self._count_totals(block)
        placed: list[Assignment] = []
        if self.warm is not None:
            self.warm.add(block)
            if self.processed >= self.config.warm_start and self.warm.answered >= self.config.warm_start / 4:
                placed = self._start()
        else:
            placed = self._step(block)
        due = self.processed % self.config.epoch == 0
        return Step(placed, *(self.publisher.publish() if due else ([], [], None)))

    def finish(self) -> Step:
        """The final clusters and Regions; a warm start that was never completed is made from what there is."""
        placed = self._start() if self.warm is not None and self.warm.pairs else []
        return Step(placed, *self.publisher.publish(final=True))

    def _count_totals(self, block: Sequence[Pair]) -> None:
        for pair in block:
            for arm, total in enumerate(self.totals):
                total[0] += 1
                total[1] += pair.errors[arm] is not None
                total[2] += pair.tokens[arm]

    def _start(self) -> list[Assignment]:
        """Clusters from the warm start. Its pairs count for them: they were asked uniformly, clustered without labels."""
        assert self.warm is not None
        pairs, self.warm = self.warm.pairs, None
        good = [pair for pair in pairs if pair.vectors is not None]
        if good:
            self._found_warm_clusters(good)
        placed: list[Assignment] = []
        for start in range(0, len(pairs), BLOCK):
            placed += self._step(pairs[start : start + BLOCK], learn=False)
        if good:
            self._keep_odd(good)
        return placed

    def _keep_odd(self, good: Sequence[Pair]) -> None:
        """What of the warm start is unlike its partner may lead somewhere; if it is far as well, it may found something."""
        vectors = np.concatenate([_vectors(pair) for pair in good])
        nearest = self.kmeans.assign(vectors)
        # without the text itself: one of two in a cluster would always be near
        n = np.maximum(self.kmeans.counts[nearest.first], 2).astype(np.float32)
        distance = nearest.distance * (n / (n - 1)) ** 2
        self.ring.observe(distance)
        unlike = self._leads(good, vectors, nearest.first, self.theta())
        far = unlike & (distance > self.ring.threshold()).reshape(unlike.shape)
        for i, arm in np.argwhere(far).tolist():
            self.ring.texts.add(_vectors(good[i])[arm], arm, good[i].prompt_id)

    def _ids(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([self.lives[slot].cluster_id for slot in slots.tolist()])

    def _leads(
        self, pairs: Sequence[Pair], vectors: Floats, slots: NDArray[np.int64], theta: float
    ) -> NDArray[np.bool_]:
        """Which of the (pairs, arms) texts are unlike their partner; they are kept as leads."""
        shape = len(pairs), len(self.arms)
        vectors = vectors.reshape(*shape, -1)
        unlike = unlike_partners(vectors, theta)
        self.leads.add(vectors, unlike, self._ids(slots).reshape(shape), [pair.prompt_id for pair in pairs])
        return unlike

    def _found_warm_clusters(self, good: Sequence[Pair]) -> None:
        vectors = np.concatenate([_vectors(pair) for pair in good])
        rng = np.random.default_rng([self.config.seed, 0x77])
        centroids, labels = warm_centroids(vectors, self.config.start, rng)
        sizes = np.bincount(labels, minlength=len(centroids))
        keep = np.flatnonzero(sizes > 1) if (sizes > 1).any() else np.flatnonzero(sizes)
        for weight, k in zip(warm_weights(len(keep)), keep, strict=True):
            members = vectors[labels == k]
            slot = self._born(centroids[k], int(sizes[k]), weight=float(weight), born_at=0, warm=True)
            self.kmeans.inertia[slot] = float(((members - centroids[k]) ** 2).sum())
        self.coverage.probe(vectors)

    def _step(self, block: Sequence[Pair], *, learn: bool = True) -> list[Assignment]:
        good = [pair for pair in block if pair.vectors is not None]
        number = (block[0].seq - 1) // BLOCK
        if not good or not self.kmeans.used.any():
            return assignments(block, number, self.arms)
        vectors = np.concatenate([_vectors(pair) for pair in good])
        nearest = self.kmeans.assign(vectors)
        slots = nearest.first.reshape(len(good), -1)
        placed = assignments(block, number, self.arms, good, nearest, self.lives)
        counted = [i for i, pair in enumerate(good) if pair.origin is not Origin.PROBE]
        if counted:
            self._count_evidence(good, slots, counted)
            kept = np.repeat(np.isin(np.arange(len(good)), counted), len(self.arms))
            self._describe(good, slots, counted, number, vectors, kept, nearest)
            if learn:
                self._learn(good, vectors, nearest, counted, kept)
        return placed

    # evidence: with the clusters as they were

    def _count_evidence(self, good: Sequence[Pair], slots: NDArray[np.int64], counted: Sequence[int]) -> None:
        used = self.kmeans.slots
        explore = np.array([good[i].origin is Origin.EXPLORE for i in counted])
        self.ledger.count(slots[counted], explore, used)
        self.ledger.decide(used, good[-1].seq)

    # learning: only now

    def _describe(
        self,
        good: Sequence[Pair],
        slots: NDArray[np.int64],
        counted: Sequence[int],
        number: int,
        vectors: Floats,
        kept: NDArray[np.bool_],
        nearest: Nearest,
    ) -> None:
        ids = self._ids(nearest.first[kept])
        prompts = [good[i].prompt_id for i in counted for _ in self.arms]
        self.window.add(number, vectors[kept], ids, prompts)
        self.history.add(number, slots[counted], len(self.kmeans.used))
        self.publisher.note_margins(prompts, nearest.margin[kept])
        explored = [i for i in counted if good[i].origin is Origin.EXPLORE]
        if explored:
            self.coverage.add(vectors.reshape(len(good), len(self.arms), -1)[explored].reshape(-1, vectors.shape[1]))
        for i in counted:
            pair, row = good[i], [int(s) for s in slots[i]]
            self.samples.add(pair, row)
            self._note_pair(pair, row, number)

    def _note_pair(self, pair: Pair, row: Sequence[int], number: int) -> None:
        base = row[self.reference]
        for arm, slot in enumerate(row):
            life = self.lives[slot]
            life.last_hit = number
            life.by_arm[arm] += 1
            self.rows.touch(slot)
        vectors = _vectors(pair)
        for j, arm in enumerate(self.ledger.compared):
            there = row[arm]
            if there == base:
                self.divergence[j].add(there, vectors[arm], vectors[self.reference])
            else:
                ids = self.lives[there].cluster_id, self.lives[base].cluster_id
                self.discordant.add(there, Discordant(pair.prompt_id, j, 1, ids[1]))
                self.discordant.add(base, Discordant(pair.prompt_id, j, 0, ids[0]))

    def _learn(
        self,
        good: Sequence[Pair],
        vectors: Floats,
        nearest: Nearest,
        counted: Sequence[int],
        kept: NDArray[np.bool_],
    ) -> None:
        threshold, theta = self.ring.threshold(), self.theta()
        pairs = [good[i] for i in counted]
        unlike = self._leads(pairs, vectors[kept], nearest.first[kept], theta)
        self.kmeans.update(vectors[kept], nearest.first[kept], nearest.distance[kept])
        for slot in np.unique(nearest.first[kept]):
            self._split_if_due(int(slot))
        far = (nearest.distance[kept] > threshold).reshape(unlike.shape)
        for i, arm in np.argwhere(far & unlike).tolist():
            self._birth(pairs[i], arm, theta)
        self.ring.observe(nearest.distance[kept])
        self._retire((good[0].seq - 1) // BLOCK)

    def theta(self) -> float:
        """The cosine above which two far texts belong together."""
        return SIMILAR * self.kmeans.spread()

    def _birth(self, pair: Pair, arm: int, theta: float) -> None:
        """A far text founds a cluster with those that resemble it, or waits for them."""
        vector = _vectors(pair)[arm]
        founders = self.ring.founders(vector, arm, pair.prompt_id, theta)
        if founders is None or not self._make_room():
            self.ring.texts.add(vector, arm, pair.prompt_id)
            return
        self.ring.texts.leave(founders.rows)
        self.leads.followed(founders.vectors, theta)
        weight = self._birth_weight(founders.one_sided)
        mean = founders.vectors.mean(axis=0)
        slot = self._born(mean, len(founders.vectors), weight=weight, born_at=pair.seq, founders=founders.arms)
        self.discordant.found(slot, founders.texts, self.ledger.compared)

    def _make_room(self, keep: int | None = None) -> bool:
        """Whether there is a free slot, if need be by merging the cheapest pair of unclaimed clusters."""
        if not self.kmeans.full:
            return True
        allowed = ~self.ledger.claimed_slots()
        if keep is not None:
            allowed[keep] = False
        pair = self.kmeans.cheapest_pair(allowed)
        if pair is None:
            return False
        larger, smaller = pair
        into = self.lives[larger].cluster_id
        self.publisher.retire(smaller, ClusterState.MERGED, into)
        self.lives[larger].merged += self.lives.pop(smaller).size
        self.kmeans.merge(larger, smaller)
        self.rows.drop(smaller)
        self.rows.touch(larger)
        self.publisher.changed(larger)
        return True

    def _split_if_due(self, slot: int) -> None:
        if not self.kmeans.used[slot] or self.ledger.claimed(slot):
            return
        for divergence in self.divergence:
            if not divergence.due(slot):
                continue
            parted = halves(self.window.members(self.lives[slot].cluster_id), divergence.direction[slot])
            if parted is None or not self._make_room(keep=slot):
                continue
            self._split(slot, *parted)
            return

    def _split(self, slot: int, first: Floats, second: Floats, share: float) -> None:
        life, count, led_here = self.lives[slot], int(self.kmeans.counts[slot]), self.discordant.of(slot)
        self.publisher.retire(slot, ClusterState.SPLIT)
        self.lives.pop(slot)
        self.kmeans.free(slot)
        self.rows.drop(slot)
        sizes = max(1, round(count * share)), max(1, count - round(count * share))
        for mean, size in zip((first, second), sizes, strict=True):
            weight = self._birth_weight(one_sided=True)
            child = self._born(mean, size, weight=weight, born_at=self.processed, parents=(life.cluster_id,))
            for text in led_here:  # to which of the two it leads, the next draw will tell
                self.discordant.add(child, text)

    def _birth_weight(self, one_sided: bool) -> float:
        index = self.births[one_sided]
        self.births[one_sided] += 1
        return birth_weight(index, one_sided)

    def _born(
        self,
        mean: Floats,
        size: int,
        *,
        weight: float,
        born_at: int,
        founders: tuple[int, ...] | None = None,
        parents: tuple[int, ...] = (),
        warm: bool = False,
    ) -> int:
        slot = self.kmeans.place(mean, size)
        nobody = tuple(0 for _ in self.arms)
        self.lives[slot] = Life(
            self.next_id, born_at, parents, founders or nobody, self.processed // BLOCK, list(nobody)
        )
        self.next_id += 1
        self.ledger.born(slot, weight, warm=warm)
        for divergence in self.divergence:
            divergence.reset(slot)
        self.samples.born(slot)
        self.discordant.born(slot)
        self.publisher.born(slot)
        self.rows.touch(slot)
        return slot

    def _retire(self, block: int) -> None:
        for slot in [s for s, life in self.lives.items() if block - life.last_hit > IDLE_BLOCKS]:
            if not self.ledger.claimed(slot) and len(self.lives) > 2:
                self.publisher.retire(slot, ClusterState.RETIRED)
                self.lives.pop(slot)
                self.kmeans.free(slot)
                self.rows.drop(slot)

    def arm_totals(self) -> dict[str, ArmTotals]:
        """What each arm has answered."""
        return {
            arm: ArmTotals(texts=texts, failures=failures, tokens=tokens)
            for arm, (texts, failures, tokens) in zip(self.arms, self.totals, strict=True)
        }

    # the state

    def dump(self) -> dict[str, bytes]:
        """The whole state as named parts; those that did not change since the last call are the same bytes."""
        return dump(self)

    @classmethod
    def load(cls, config: ClustererConfig, parts: Mapping[str, bytes]) -> Clusterer:
        """A clusterer that goes on exactly as the one that gave ``parts``.

        :raises FormatTooNew: if a newer version of contraflow wrote them.
        :raises LogUnusable: if an older one did.
        """
        clusterer = cls(config)
        restore(clusterer, parts)
        return clusterer


def _vectors(pair: Pair) -> Floats:
    assert pair.vectors is not None
    return pair.vectors
