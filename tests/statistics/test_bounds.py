from __future__ import annotations

import numpy as np
import pytest

from contraflow.statistics.bounds import EmpiricalBernstein

ALPHA = 0.05


def reference(x: np.ndarray, alpha: float) -> tuple[float, float]:
    """Theorem 2 of arXiv 2010.09686, written as the paper does, over the whole sequence at once."""
    t = np.arange(1, len(x) + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    weight = np.minimum(np.sqrt(2 * np.log(2 / alpha) / (before * t * np.log(1 + t))), 0.5)
    v = 4 * (x - np.concatenate([[0.5], mean[:-1]])) ** 2
    psi = (-np.log(1 - weight) - weight) / 4
    centre = (weight * x).sum() / weight.sum()
    half = (np.log(2 / alpha) + (v * psi).sum()) / weight.sum()
    return max(0.0, centre - half), min(1.0, centre + half)


@pytest.mark.parametrize("p", [0.02, 0.3, 0.9])
def test_step_by_step_it_is_the_papers_formula(p: float) -> None:
    x = (np.random.default_rng(1).random(400) < p).astype(float)
    bounds = EmpiricalBernstein(1, ALPHA)
    for n, value in enumerate(x, 1):
        bounds.update([value])
        if n % 50 == 0:
            np.testing.assert_allclose(bounds.intervals()[0], reference(x[:n], ALPHA), rtol=1e-9)
    assert bounds.means()[0] == pytest.approx(x.mean())


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5])
def test_the_true_mean_is_inside_at_every_moment(p: float) -> None:
    rng = np.random.default_rng(2)
    paths = 500
    bounds = EmpiricalBernstein(paths, ALPHA)
    missed = np.zeros(paths, bool)
    for _ in range(1500):
        bounds.update((rng.random(paths) < p).astype(float))
        low, high = bounds.intervals().T
        missed |= (low > p) | (high < p)
    assert missed.mean() <= ALPHA
    assert (high - low).mean() < 0.2


def test_without_replacement_it_holds_and_ends_at_the_truth() -> None:
    rng = np.random.default_rng(3)
    paths, population, positive = 400, 300, 36
    values = np.zeros(population)
    values[:positive] = 1.0
    draws = np.array([rng.permutation(values) for _ in range(paths)])
    bounds = EmpiricalBernstein(paths, ALPHA, population)
    missed = np.zeros(paths, bool)
    for step in range(population):
        bounds.update(draws[:, step])
        low, high = bounds.intervals().T
        missed |= (low > positive / population + 1e-9) | (high < positive / population - 1e-9)
    assert missed.mean() <= ALPHA
    np.testing.assert_allclose(bounds.intervals(), positive / population, atol=1e-12)


@pytest.mark.parametrize("population", [None, 500])
def test_a_block_changes_no_bit_of_what_its_observations_one_by_one_would_give(population: int | None) -> None:
    x = np.random.default_rng(4).random((70, 5)).round()
    single, blocks = (EmpiricalBernstein(5, ALPHA, population) for _ in range(2))
    for row in x:
        single.update(row)
    for block in (x[:1], x[1:33], x[33:]):
        blocks.update(block, rows=slice(None))
    assert (blocks.state == single.state).all()


def test_sequences_start_on_their_own_and_nothing_is_known_before() -> None:
    bounds = EmpiricalBernstein(3, ALPHA)
    bounds.update([1.0, 0.0], rows=[0, 1])
    assert bounds.intervals()[2].tolist() == [0.0, 1.0]
    bounds.update([1.0], rows=[2])
    assert bounds.state[:, 0].tolist() == [1, 1, 1]


def test_of_an_empty_population_nothing_is_known() -> None:
    assert EmpiricalBernstein(3, 0.05, population=0).intervals().tolist() == [[0.0, 1.0]] * 3
