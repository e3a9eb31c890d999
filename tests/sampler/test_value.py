"""How an epoch's draws are spread: to a common level of falling value, and no further than regions need."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contraflow.embedder.neighbours import nearest_prompts
from contraflow.events import Reason, Region
from contraflow.sampler.value import FLOOR, KAPPA, SLACK, Neighbours, water_fill

PROMPTS = 12
INDEX = {f"p{i}": i for i in range(PROMPTS)}
ALL = np.ones(PROMPTS, np.bool_)


def region(name: str, hits: dict[str, float], needed: int = 1000) -> Region:
    return Region(region_id=name, reason=Reason.DIVERGENCE, probability=0.5, needed=needed, hits=hits)


def fill(
    regions: list[Region], draws: int, asked: np.ndarray | None = None, open_to: np.ndarray = ALL
) -> list[tuple[int, str]]:
    asked = np.zeros(PROMPTS, np.int32) if asked is None else asked
    return water_fill(regions, INDEX, asked, open_to, Neighbours.none(PROMPTS), draws)


hits = st.dictionaries(st.sampled_from(list(INDEX)), st.floats(0.05, 5), min_size=1)


@given(hits, st.integers(1, 60))
def test_draws_go_to_what_is_worth_most_until_all_are_worth_the_same(hits: dict[str, float], draws: int) -> None:
    chosen = Counter(prompt for prompt, _ in fill([region("r", hits)], draws))
    value = np.zeros(PROMPTS)
    for prompt, numerator in hits.items():
        value[INDEX[prompt]] = numerator
    last = {p: value[p] / k for p, k in chosen.items()}  # what the last draw there was worth
    left = [value[p] / (1 + chosen[p]) for p in range(PROMPTS)]
    assert all(worth >= FLOOR for worth in last.values())
    assert sum(chosen.values()) == draws or max(left) < FLOOR
    if chosen:
        assert min(last.values()) >= max(left) - 1e-9


def test_prompts_that_were_asked_often_are_worth_less() -> None:
    asked = np.zeros(PROMPTS, np.int32)
    asked[0] = 50
    chosen = Counter(p for p, _ in fill([region("r", {"p0": 1.0, "p1": 1.0})], 10, asked))
    assert chosen[1] > chosen[0]


def test_a_region_gets_no_more_than_it_needs() -> None:
    chosen = fill([region("small", {"p0": 1.0}, needed=3), region("large", {"p1": 0.5})], 40)
    expected = Counter(name for _, name in chosen)
    worth = sum(1 / (1 + k) for k in range(expected["small"]))
    assert worth <= SLACK * 3 + 1 + 1
    assert expected["large"] > 0


def test_nothing_is_steered_where_nothing_is_worth_it_or_nothing_is_left() -> None:
    assert fill([region("r", {"p0": FLOOR / 2})], 5) == []
    assert fill([region("r", {"p0": 1.0})], 5, open_to=np.zeros(PROMPTS, np.bool_)) == []


def test_a_hit_makes_similar_prompts_worth_asking() -> None:
    vectors = np.eye(PROMPTS, dtype=np.float32)
    vectors[1] = 0.9 * vectors[0] + np.sqrt(1 - 0.81) * vectors[1]
    neighbours = Neighbours(*nearest_prompts(vectors, 3))
    chosen = water_fill([region("r", {"p0": 1.0})], INDEX, np.zeros(PROMPTS, np.int32), ALL, neighbours, 6)
    assert {prompt for prompt, _ in chosen} == {0, 1}


def test_neighbours_that_were_asked_and_showed_nothing_do_not_outvote_a_prompts_own_hit() -> None:
    vectors = np.full((PROMPTS, 4), 0.5, np.float32)
    neighbours = Neighbours(*nearest_prompts(vectors, 8))
    asked = np.full(PROMPTS, 20, np.int32)
    asked[0] = 1
    chosen = water_fill([region("r", {"p0": 0.3})], INDEX, asked, ALL, neighbours, 3)
    assert [prompt for prompt, _ in chosen] == [0, 0, 0]


def test_nearest_prompts_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((200, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    indices, weights = nearest_prompts(vectors, 5)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    best = np.sort(cosines, axis=1)[:, ::-1][:, :5]
    assert np.allclose(np.take_along_axis(cosines, indices, 1), best)
    assert np.allclose(weights, np.clip((best - 0.3) / 0.3, 0, 1))


def test_a_prompts_neighbours_count_by_their_weight() -> None:
    rng = np.random.default_rng(0)
    indices, weights = rng.integers(0, 50, (50, 4)).astype(np.int32), rng.random((50, 4), np.float32)
    values = rng.random(50)
    expected = values + KAPPA * (weights.astype(np.float64) * values[indices]).sum(axis=1)
    assert np.allclose(Neighbours(indices, weights).smooth(values), expected, rtol=1e-14)
    assert np.array_equal(Neighbours.none(50).smooth(values), values)
