"""What makes the clusterer's evidence valid, checked on a world of vectors with births, splits, merges and claims."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from contraflow.clusterer.core import Clusterer, ClustererConfig, Step
from contraflow.errors import FormatTooNew, LogUnusable
from contraflow.events import Assignment, Claim, Cluster, ClusterState, Origin, Reason, encode
from contraflow.pairs import BLOCK, Pair
from contraflow.statistics.eprocess import log_e_scalar
from worlds.mixture import MixtureWorld, Plant, UniformStream

PLANTS = (Plant(share=0.1, rate=1.0, where="one_topic"), Plant(share=0.05, rate=0.8))


def config(**changes: int) -> ClustererConfig:
    plain: dict[str, Any] = {"dim": 64, "warm_start": 192, "start": 12, "max_clusters": 24, "epoch": 64, **changes}
    return ClustererConfig(arms=("base", "tuned"), reference="base", **plain)


def blocks(count: int, *, seed: int = 0, plants: tuple[Plant, ...] = PLANTS) -> Iterator[list[Pair]]:
    world = MixtureWorld(seed=seed, prompts=600, topics=12, dim=64, plants=plants)
    stream = UniformStream(world, seed)
    for _ in range(count):
        yield stream.block()


class Run:
    """Everything that a clusterer said."""

    def __init__(self, count: int = 90, **changes: int) -> None:
        self.core = Clusterer(config(**changes))
        self.steps = [self.core.process(block) for block in blocks(count)] + [self.core.finish()]

    @property
    def assignments(self) -> list[Assignment]:
        return [a for step in self.steps for a in step.assignments]

    @property
    def versions(self) -> list[Cluster]:
        return [c for step in self.steps for c in step.clusters]

    @property
    def last(self) -> dict[int, Cluster]:
        return {c.cluster_id: c for c in self.versions}


@pytest.fixture(scope="module")
def run() -> Run:
    return Run()


def counted(assignments: list[Assignment], cluster: Cluster, upto: int) -> tuple[int, int]:
    """Discordant pairs of a cluster after its birth, and how many were the arm's, from the assignments alone."""
    n = s = 0
    for a in assignments:
        if cluster.born_at < a.seq <= upto and a.arms:
            base, tuned = (a.arms[arm].cluster_id == cluster.cluster_id for arm in ("base", "tuned"))
            n, s = n + (base != tuned), s + (tuned and not base)
    return n, s


def test_the_world_has_births_splits_mergers_and_claims(run: Run) -> None:
    states = {c.state for c in run.versions}
    assert {ClusterState.ACTIVE, ClusterState.SPLIT, ClusterState.MERGED} <= states
    assert sum(run.core.births) > 5
    assert run.steps[-1].regions is not None
    assert len(run.steps[-1].regions.claims) >= 2


def test_no_founder_and_no_pair_before_birth_is_counted(run: Run) -> None:
    born = [c for c in run.last.values() if c.born_at > 0]
    assert born
    for cluster in run.last.values():
        comparison = cluster.comparisons["tuned"]
        assert (comparison.n, comparison.s) == counted(run.assignments, cluster, cluster.after_seq)


def test_a_claim_is_confirmed_until_as_many_discordant_pairs_after_it_as_asked_for() -> None:
    for confirm in (20, 60):
        run = Run(confirm=confirm)
        open_, over = set(), set()
        for step in run.steps:
            for region in step.regions.regions if step.regions else ():
                if region.reason is Reason.CONFIRM:
                    assert 0 < region.needed <= confirm
                    open_.add(region.cluster_id)
        last = run.steps[-1].regions
        assert last is not None
        for claim in last.claims:
            after = counted(run.assignments, run.last[claim.cluster_id], 10**9)[0] - claim.n
            if after >= confirm:
                over.add(claim.cluster_id)
        assert open_ & over, "some were confirmed to the end"
        assert not {r.cluster_id for r in last.regions if r.reason is Reason.CONFIRM} & over


def test_nothing_is_assigned_to_a_cluster_before_its_birth(run: Run) -> None:
    born_at = {c.cluster_id: c.born_at for c in run.versions}
    for a in run.assignments:
        assert all(born_at[p.cluster_id] < a.seq for p in a.arms.values())


def test_a_block_is_assigned_with_the_centroids_as_they_were_before_it() -> None:
    core = Clusterer(config())
    for number, block in enumerate(blocks(30)):
        warm = core.warm is not None
        means, used = core.kmeans.means.copy(), core.kmeans.used.copy()
        ids = {slot: life.cluster_id for slot, life in core.lives.items()}
        step = core.process(block)
        if warm:
            continue
        for pair, a in zip(block, step.assignments, strict=True):
            assert pair.vectors is not None
            squared = ((pair.vectors[:, None] - means[None]) ** 2).sum(axis=2)
            squared[:, ~used] = np.inf
            assert [p.cluster_id for p in a.arms.values()] == [ids[int(k)] for k in squared.argmin(axis=1)]
            assert a.snapshot == number


def test_ids_are_never_used_again_and_the_weights_of_all_that_ever_were_sum_to_at_most_one(run: Run) -> None:
    ended: set[int] = set()
    weights: dict[int, float] = {}
    for version in run.versions:
        assert version.cluster_id not in ended
        if version.state is not ClusterState.ACTIVE:
            ended.add(version.cluster_id)
        weights[version.cluster_id] = version.comparisons["tuned"].weight
    assert ended
    assert 0.2 < sum(weights.values()) <= 1.0


def test_a_split_makes_two_new_clusters_with_fresh_evidence(run: Run) -> None:
    children = defaultdict(list)
    for cluster in run.last.values():
        for parent in cluster.parents:
            children[parent].append(cluster)
    split = [c for c in run.versions if c.state is ClusterState.SPLIT]
    assert split
    for whole in split:
        first, second = children[whole.cluster_id]
        assert first.born_at == second.born_at >= whole.born_at
        assert whole.cluster_id not in (first.cluster_id, second.cluster_id)


def test_in_a_merger_the_smaller_ends_and_says_into_what(run: Run) -> None:
    for ended in (c for c in run.versions if c.state is ClusterState.MERGED):
        assert ended.merged_into is not None
        assert run.last[ended.merged_into].cluster_id == ended.merged_into
        assert not [a for a in run.assignments if a.seq > ended.after_seq + BLOCK and _goes_to(a, ended.cluster_id)]


def _goes_to(a: Assignment, cluster: int) -> bool:
    return any(p.cluster_id == cluster for p in a.arms.values())


def test_a_claim_stays_with_the_evidence_that_it_was_made_with(run: Run) -> None:
    seen: dict[tuple[int, str], Claim] = {}
    for step in run.steps:
        for claim in step.regions.claims if step.regions else ():
            first = seen.setdefault((claim.cluster_id, claim.arm), claim)
            assert claim == msgspec.structs.replace(first, generalises=claim.generalises)
            assert claim.log_e == pytest.approx(log_e_scalar(claim.n, claim.s))
    last = run.steps[-1].regions
    assert last is not None
    assert seen.keys() == {(c.cluster_id, c.arm) for c in last.claims}
    assert any(run.last[c.cluster_id].comparisons["tuned"].n > c.n for c in last.claims)


def test_the_clusters_of_the_warm_start_count_its_pairs_and_say_so(run: Run) -> None:
    first = [a for a in run.assignments if a.seq <= 192]
    assert len(first) == 192
    assert {p.cluster_id for a in first for p in a.arms.values()} <= {
        c.cluster_id for c in run.versions if not c.born_at
    }
    last = run.steps[-1].regions
    assert last is not None
    assert all(c.warm is (run.last[c.cluster_id].born_at == 0) for c in last.claims)


@pytest.mark.parametrize("every", [1, 3, 7])
def test_a_state_restored_at_any_block_goes_on_bit_for_bit(every: int) -> None:
    def said(restore: int | None) -> list[bytes]:
        core = Clusterer(config())
        steps: list[Step] = []
        for number, block in enumerate(blocks(40)):
            steps.append(core.process(block))
            if restore and number % restore == 0:
                core = Clusterer.load(core.config, core.dump())
        steps.append(core.finish())
        return [
            encode(e)
            for s in steps
            for e in (*s.assignments, *s.clusters, *s.evidence, *([s.regions] if s.regions else []))
        ]

    assert said(every) == said(None)


@pytest.mark.long
@pytest.mark.timeout(180)
def test_the_state_does_not_grow_with_the_texts() -> None:
    core = Clusterer(config())
    sizes = {}
    for number, block in enumerate(blocks(2400), 1):
        core.process(block)
        if number in (1200, 2400):
            sizes[number] = sum(map(len, core.dump().values()))
    assert sizes[2400] < 1.1 * sizes[1200]


@pytest.mark.parametrize(
    ("written", "error", "said"),
    [
        (99, FormatTooNew, "newer contraflow"),
        (1, LogUnusable, "older contraflow, in format 1, .* another run with --new"),
    ],
)
def test_a_state_of_another_version_is_refused(written: int, error: type[Exception], said: str) -> None:
    parts = Clusterer(config()).dump()
    core = msgspec.msgpack.decode(parts["core"])
    parts["core"] = msgspec.msgpack.encode([written, *core[1:]])
    with pytest.raises(error, match=said):
        Clusterer.load(config(), parts)


def test_blocks_that_are_not_the_next_ones_are_refused() -> None:
    core = Clusterer(config())
    first, second = blocks(2)
    with pytest.raises(ValueError, match="expected the pairs from seq 1"):
        core.process(second)
    with pytest.raises(ValueError, match="expected the pairs from seq 1"):
        core.process([*first, *second])
    core.process(first)
    with pytest.raises(ValueError, match="expected the pairs from seq 33"):
        core.process(first)


def test_a_failed_pair_touches_nothing_and_is_counted_by_arm() -> None:
    core, clean = Clusterer(config()), Clusterer(config())
    for number, block in enumerate(blocks(20)):
        if number == 10:
            broken = [pair._replace(vectors=None, errors=(None, "out of memory")) for pair in block]
            before = core.kmeans.means.copy(), core.ledger.n.copy()
            step = core.process(broken)
            assert all(a.failed and not a.arms for a in step.assignments)
            assert (core.kmeans.means == before[0]).all()
            assert (core.ledger.n == before[1]).all()
        else:
            core.process(block)
        clean.process(block)
    assert core.arm_totals()["tuned"].failures == BLOCK
    assert core.arm_totals()["base"].failures == 0


def test_probes_are_assigned_and_count_for_nothing() -> None:
    core = Clusterer(config())
    for number, block in enumerate(blocks(12)):
        probes = number == 11
        before = core.ledger.n.sum(), core.kmeans.counts.sum()
        step = core.process([pair._replace(origin=Origin.PROBE) for pair in block] if probes else block)
        if probes:
            assert all(a.arms for a in step.assignments)
            assert (core.ledger.n.sum(), core.kmeans.counts.sum()) == before


def test_planted_behaviours_are_claimed_in_their_own_direction() -> None:
    plants = (Plant(share=0.1, where="one_topic"), Plant(share=0.1, arm=0))
    core = Clusterer(config(max_clusters=60))
    for block in blocks(120, plants=plants):
        core.process(block)
    regions = core.finish().regions
    assert regions is not None
    assert {claim.direction for claim in regions.claims} == {1, -1}


def told(prompts: list[str], vectors: list[Any], seq: int, origin: Origin = Origin.EXPLORE) -> list[Pair]:
    none = (None, None)
    return [
        Pair(seq + i, f"r:{seq + i}", prompt, origin, np.stack(pair).astype(np.float32), ("a", "b"), (1, 1), none)
        for i, (prompt, pair) in enumerate(zip(prompts, vectors, strict=True))
    ]


def usual_and_odd() -> tuple[Any, Any]:
    """Draws of 64-dimensional unit vectors: of one of twelve usual kinds (by its number), and of a kind of their own."""
    rng = np.random.default_rng(5)
    centres = np.linalg.qr(rng.standard_normal((64, 13)))[0].T

    def draw(k: int) -> Any:
        vector = centres[k] + 0.05 * rng.standard_normal(64)
        return vector / np.linalg.norm(vector)

    return draw, lambda: draw(12)


def hits_of(core: Clusterer, reasons: set[str]) -> set[str]:
    regions = core.publisher.publish()[2].regions
    return {prompt for region in regions if str(region.reason) in reasons for prompt in region.hits}


def test_a_text_of_the_warm_start_that_is_like_no_other_is_a_lead() -> None:
    usual, odd = usual_and_odd()
    core = Clusterer(config(warm_start=64))
    vectors = [[usual(i % 12), usual(i % 12)] for i in range(64)]
    vectors[40][1] = odd()
    prompts = [f"p{i}" for i in range(64)]
    for start in (0, 32):
        core.process(told(prompts[start : start + 32], vectors[start : start + 32], start + 1))
    assert hits_of(core, {"lead"}) == {"p40"}


def test_the_prompts_that_founded_a_cluster_still_lead_there() -> None:
    usual, odd = usual_and_odd()
    core = Clusterer(config(warm_start=64))
    for start in (0, 32):
        core.process(told([f"p{i}" for i in range(32)], [[usual(i % 12)] * 2 for i in range(32)], start + 1))
    vectors = [[usual(i % 12), odd() if i < 3 else usual(i % 12)] for i in range(32)]
    core.process(told([f"q{i}" for i in range(32)], vectors, 65))
    assert core.births == [0, 1]
    assert hits_of(core, {"divergence"}) >= {"q0", "q1", "q2"}
    assert core.ledger.n[[s for s, life in core.lives.items() if life.born_at > 0]].sum() == 0, (
        "no evidence before birth"
    )


def test_a_run_that_ends_within_its_warm_start_still_has_clusters() -> None:
    core = Clusterer(config())
    for block in blocks(2):
        core.process(block)
    final = core.finish()
    assert len(final.assignments) == 2 * BLOCK
    assert final.clusters


def test_a_warm_start_in_which_an_arm_is_down_goes_on_until_there_is_something_to_cluster() -> None:
    core = Clusterer(config())
    made = list(blocks(20))
    down = [[pair._replace(vectors=None, errors=(None, "down")) for pair in block] for block in made[:8]]
    steps = [core.process(block) for block in [*down, *made[8:]]]
    failed = {a.seq for step in steps for a in step.assignments if a.failed}
    assert failed == set(range(1, 8 * BLOCK + 1)), "only those of the arm that was down"
    assert len(core.lives) > 2


def test_a_cluster_that_generalises_stays_like_one_that_is_claimed() -> None:
    core = Run().core
    unclaimed = [slot for slot in core.lives if not core.ledger.claimed(slot)]
    core.ledger.generalises_at[unclaimed, 0] = 99
    core.kmeans.used[:] = True  # no free slot: room is made by a merger, and none is allowed
    assert not core._make_room()
