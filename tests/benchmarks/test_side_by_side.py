"""What the side-by-side benchmark concludes, and that it runs to its end at the smallest size."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import anyio
import numpy as np
import pytest
from rich.console import Console

import contraflow
from contraflow.decoder.replay import ReplayTexts
from contraflow.embedder.hashed import HashedEncoder
from contraflow.experiment import Replay
from contraflow.results import Results
from contraflow.validator.types import Statement
from sides.claims import Claimed, claims_of_ring, clustered_again, sources_of
from sides.fisher import count, fisher_bh
from sides.judging import CHEAPER, SimulatedJudge, judged
from sides.page import overlap, write_page
from sides.pipelines import centroids_of, nearest
from sides.scoring import Costs, compare, flat
from sides.texts import Spec, Stored, make, read_stored
from sides.truth import confirms, plant_of, quality

SMALL = Spec.fixed(prompts=1, draws=6, clusters=60)


def exact(a: int, b: int, total_a: int, total_b: int) -> float:
    """Fisher's two-sided p in whole numbers: the tables with these margins that are no more likely."""
    drawn = a + b
    ways = [
        math.comb(total_a, k) * math.comb(total_b, drawn - k)
        for k in range(max(0, drawn - total_b), min(total_a, drawn) + 1)
    ]
    here = math.comb(total_a, a) * math.comb(total_b, b)
    return float(Fraction(sum(way for way in ways if way <= here), sum(ways)))


def step_up(p: list[float], alpha: float) -> list[bool]:
    """Benjamini & Hochberg's procedure as it is written: the largest k with p_(k) <= k alpha / m."""
    ordered = sorted(p)
    last = max((k for k, value in enumerate(ordered, 1) if value <= k * alpha / len(p)), default=0)
    return [last > 0 and value <= ordered[last - 1] for value in p]


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_claimed_as_fisher_and_benjamini_hochberg_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(12, (25, 2))
    counts[:5, 1] += rng.integers(0, 40, 5)
    total = counts.sum(axis=0).tolist()
    tested = fisher_bh(counts)
    reference = [exact(int(a), int(b), *total) for a, b in counts]
    np.testing.assert_allclose(tested.p, reference, rtol=1e-6)
    assert tested.claimed.tolist() == step_up(reference, 0.05)


def test_a_claim_points_to_the_arm_with_the_larger_share() -> None:
    tested = fisher_bh(np.array([[0, 60], [60, 0], [500, 500]]))
    assert tested.claimed.tolist() == [True, True, False]
    assert tested.direction.tolist()[:2] == [1, -1]


def test_texts_are_counted_by_cluster_and_arm() -> None:
    assert count(np.array([[0, 2], [0, 0], [1, 2]]), 4).tolist() == [[2, 1], [1, 0], [0, 2], [0, 0]]


PLANTED = {"a": np.array([True, True, False, False, False]), "b": np.array([False, True, True, False, False])}


def claim(prompts: list[int], signs: list[int]) -> Claimed:
    return Claimed(0, np.zeros((1, 8), np.float32), 1, np.array(prompts, np.int64), np.array(signs, np.int64))


def test_a_claim_is_of_the_plant_that_80_percent_of_its_discordant_pairs_are_on() -> None:
    assert plant_of(claim([0, 0, 0, 1, 4], [1, 1, 1, 1, 1]), PLANTED) == "a"
    assert plant_of(claim([0, 0, 0, 4, 4], [1, 1, 1, 1, 1]), PLANTED) is None


def test_a_claim_is_of_a_plant_whose_prompts_leave_its_surplus_among_pairs_that_cancel() -> None:
    noise = [3, 4] * 20
    assert plant_of(claim([*noise, 2, 2, 2], [*[1, -1] * 20, 1, 1, 1]), PLANTED) == "b"


def test_a_claim_without_pairs_or_with_a_surplus_elsewhere_is_of_no_plant() -> None:
    assert plant_of(claim([], []), PLANTED) is None
    assert plant_of(claim([3, 3, 4, 0], [1, 1, 1, 1]), PLANTED) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(SMALL, tmp_path_factory.mktemp("texts"))


def test_stored_texts_are_the_rows_that_replay_reads(folder: Path) -> None:
    stored, arms = read_stored(SMALL, folder), tuple(SMALL.arms)
    replayed = ReplayTexts.load(Replay(path="texts.parquet"), arms, folder)
    assert [prompt.text for prompt in replayed.prompts] == [prompt for prompt, _ in stored.prompts]
    for row in range(0, SMALL.texts, 97):
        pair, arm = divmod(row, len(arms))
        prompt, draw = divmod(pair, SMALL.draws)
        assert replayed.text(f"p{prompt}", arms[arm], draw) == stored.texts[row]


def test_only_an_arm_with_a_plant_shows_it_and_only_on_its_prompts(folder: Path) -> None:
    stored = read_stored(SMALL, folder)
    assert stored.shown
    for plant in stored.shown:
        rows = np.flatnonzero(stored.sources == f"plant-{plant}")
        assert stored.planted[plant][stored.prompt_of[rows // 2]].all()
        assert {plant in list(SMALL.arms.values())[arm] for arm in rows % 2} == {True}


def test_fresh_pairs_confirm_what_was_planted_and_nothing_else(folder: Path) -> None:
    stored, encoder = read_stored(SMALL, folder), HashedEncoder()
    vectors = encoder.encode(stored.texts)[0]
    sources = ["plant-rare", "topic-3", "topic-11"]  # the only prompt of topic 11 is one of rare
    centroids = np.stack([vectors[stored.sources == source].mean(axis=0) for source in sources])
    topic, other = (np.flatnonzero([category == name for _, category in stored.prompts]) for name in sources[:0:-1])
    planted = Claimed(0, centroids, 1, topic, np.ones(len(topic), np.int64))
    assert confirms(planted, stored, encoder, 200, 0)
    assert not confirms(planted._replace(direction=-1), stored, encoder, 200, 0)
    assert not confirms(Claimed(1, centroids, 1, other, np.ones(len(other), np.int64)), stored, encoder, 200, 0)


def test_a_simulated_judge_is_right_as_often_as_it_should_be_and_guesses_where_nothing_is_shown() -> None:
    sources = {"shown": "plant-a", "usual": "topic-1", "other": "topic-2"}
    judge = SimulatedJudge("dear", 0.9, 0.003, sources, 0)
    statement = Statement("shows it", {}, ("shown",))

    async def first(a: str, b: str) -> float:
        answers = [await judge.judge(statement, a, b) for _ in range(2000)]
        assert {answer.price for answer in answers} == {0.003}
        return sum(answer.choice == "first" for answer in answers) / len(answers)

    assert anyio.run(first, "shown", "usual") == pytest.approx(0.9, abs=0.03)
    assert anyio.run(first, "usual", "shown") == pytest.approx(0.1, abs=0.03)
    assert anyio.run(first, "usual", "other") == pytest.approx(0.5, abs=0.04)


def test_the_nearest_centroid_is_the_nearest() -> None:
    rng = np.random.default_rng(0)
    vectors, centroids = rng.standard_normal((50, 8), np.float32), rng.standard_normal((9, 8), np.float32)
    distances = ((vectors[:, None] - centroids[None]) ** 2).sum(axis=2)
    assert nearest(vectors, centroids).tolist() == distances.argmin(axis=1).tolist()


def test_clusters_that_are_the_sources_are_as_good_as_can_be_and_two_for_three_are_worse() -> None:
    rng = np.random.default_rng(0)
    sources = np.repeat(["a", "b", "c"], 40)
    vectors = (np.repeat(np.eye(3, 8), 40, axis=0) + 0.01 * rng.standard_normal((120, 8))).astype(np.float32)
    good = quality(vectors, np.eye(3, 8, dtype=np.float32), sources, 0)
    assert good.ev == pytest.approx(1, abs=0.01)
    assert good.nmi == pytest.approx(1)
    assert good.silhouette > 0.9
    worse = quality(vectors, np.stack([vectors.mean(axis=0), np.eye(8)[0]]).astype(np.float32), sources, 0)
    assert worse.ev < 0.7
    assert worse.nmi < 0.8


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> tuple[Stored, Results]:
    """A run over stored texts of which one topic is loud in one arm."""
    file = SMALL.file | {"topics": 8, "prompts": 25, "plants": {"loud": {"topics": [1], "rate": 1.0}}}
    spec = SMALL._replace(prompts=25, draws=8, arms={"base": (), "tuned": ("loud",)}, file=file)
    folder = make(spec, tmp_path_factory.mktemp("loud"))
    experiment = {
        "experiment": "loud",
        "arms": {arm: {} for arm in spec.arms},
        "generator": {"backend": "replay"},
        "replay": {"path": str(folder / "texts.parquet")},
        "embedder": {"model": "hashed", "cache": str(folder / "cache")},
        "sampling": {"epoch": 32, "in_flight": 2},
    }
    return read_stored(spec, folder), contraflow.run(experiment, runs=folder)


def test_a_claim_of_the_ring_is_of_the_plant_that_it_was_made_from(loud: tuple[Stored, Results]) -> None:
    stored, results = loud
    claims = claims_of_ring(results, stored, HashedEncoder())
    assert claims
    assert {plant_of(claim, stored.planted) for claim in claims} == {"loud"}
    assert [(len(c.prompts), c.direction) for c in claims] == [(f.n, f.direction) for f in results.regions.claims]  # type: ignore[union-attr]  # a run that is done has regions


def test_clustering_a_run_again_gives_its_centroids_bit_for_bit(loud: tuple[Stored, Results]) -> None:
    results = loud[1]
    *_, clusterer = clustered_again(results, HashedEncoder())
    ids, centroids = centroids_of(results)
    again = {clusterer.lives[int(slot)].cluster_id: clusterer.kmeans.means[slot] for slot in clusterer.kmeans.slots}
    assert again.keys() == set(ids.tolist())
    assert all((again[cluster_id] == centroid).all() for cluster_id, centroid in zip(ids, centroids, strict=True))


def test_paid_judges_are_asked_only_for_what_the_free_tiers_leave_open(loud: tuple[Stored, Results]) -> None:
    stored, results = loud
    sources, encoder = sources_of(results, stored), HashedEncoder()
    tiers, paid = (judged(results, encoder, sources, 0.003, 0, free=free) for free in (True, False))
    assert tiers.calls["keywords"] > 0
    assert tiers.dollars < paid.dollars
    assert paid.dollars == pytest.approx(paid.calls["cheap"] * 0.003 / CHEAPER + paid.calls["dear"] * 0.003)
    assert tiers.accepted > 0
    for bill in (tiers, paid):
        assert bill.accepted + bill.rejected + bill.undecided == len(results.verdicts)


@pytest.mark.timeout(120)  # three processes, which import everything
def test_the_whole_comparison_runs_at_the_smallest_size(folder: Path, tmp_path: Path) -> None:
    compared = compare(SMALL, folder, tmp_path, "hashed", Costs(0.08, 0.003, 200), 0, Console(quiet=True))
    figures = flat(compared)
    assert {way: figures[f"{way}_texts"] for way in compared.sides} == {
        "batch": SMALL.texts,
        "schedule": round(0.075 * SMALL.texts),
        "contraflow": SMALL.texts // 10,
    }
    assert figures["batch_dollars"] == pytest.approx(100 * 0.003 * figures["batch_claims"])
    assert figures["missed"] == len(dict(overlap(compared))["by batch alone"])
    page = write_page(compared, tmp_path / "page.html").read_text()
    assert all(plant in page for plant in compared.stored.shown)
    assert "src=" not in page  # nothing from elsewhere
    assert "http" not in page.replace("http-equiv", "")
