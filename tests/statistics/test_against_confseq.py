"""Against `confseq`, by the authors of both sequences: record_confseq.py says why its answers are in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from contraflow.statistics.bounds import EmpiricalBernstein
from contraflow.statistics.eprocess import log_e

RECORDED = json.loads(Path(__file__).with_name("confseq.json").read_text())
CASES = [
    pytest.param(case, id=name)
    for name, case in zip(("rare", "some", "most", "graded", "drawn"), RECORDED["empirical_bernstein"], strict=True)
]


def ours(x: Sequence[float], alpha: float, population: int | None) -> np.ndarray:
    """(steps, 2) bounds after each observation."""
    sequence = EmpiricalBernstein(1, alpha, population)
    bounds = []
    for value in x:
        sequence.update([value])
        bounds.append(sequence.intervals()[0])
    return np.array(bounds)


def lower(x: Sequence[float], alpha: float, population: int | None = None, regularised: bool = True) -> float:
    """The lower half of theorem 2 of arXiv 2010.09686, one observation at a time, as the paper writes it.

    With a population, weighted as in theorem 3.2 of arXiv 2006.04347. ``regularised=False`` is confseq's ready-made
    sequence: its v_t is around the plain mean of what came before, 0 at first.
    """
    weights = weighted = v_psi = 0.0
    seen = squares = 0.0
    for t, value in enumerate(x, 1):
        mean_before = (0.5 + seen) / t
        variance_before = (0.25 + squares) / t
        weight = min(sqrt(2 * log(1 / alpha) / (variance_before * t * log(1 + t))), 0.5)
        centre = mean_before if regularised else seen / (t - 1) if t > 1 else 0.0
        v_psi += 4 * (value - centre) ** 2 * (-log(1 - weight) - weight) / 4
        left = population - (t - 1) if population else 1
        weighted += weight * (value + (seen / left if population else 0.0))
        weights += weight * (1 + ((t - 1) / left if population else 0.0))
        seen += value
        squares += (value - (0.5 + seen) / (t + 1)) ** 2
    return weighted / weights - (log(1 / alpha) + v_psi) / weights


def two_sided(x: Sequence[float], alpha: float, population: int | None = None, regularised: bool = True) -> list[float]:
    low = lower(x, alpha / 2, population, regularised)
    high = 1 - lower([1 - value for value in x], alpha / 2, population, regularised)
    return [max(low, 0.0), min(high, 1.0)]


def within_what_was_drawn(bounds: np.ndarray, x: np.ndarray, population: int | None) -> np.ndarray:
    """We know, and confseq does not use, that what is left of a population is between all 0 and all 1."""
    if population is None:
        return bounds
    known = np.cumsum(x)[:, None] / population
    left = (population - np.arange(1, len(x) + 1))[:, None] / population
    clipped: np.ndarray = np.clip(bounds, known, known + left)
    return clipped


@pytest.mark.parametrize("case", CASES)
def test_the_empirical_bernstein_sequence_is_confseqs(case: dict[str, Any]) -> None:
    x, at = np.array(case["x"], float), np.array(case["steps"]) - 1
    theirs = np.tile([0.0, 1.0], (len(x), 1))
    theirs[at] = case["theorem_2"]
    expected = within_what_was_drawn(theirs, x, case["population"])[at]
    np.testing.assert_allclose(ours(case["x"], case["alpha"], case["population"])[at], expected, rtol=0, atol=1e-9)
    assert (expected[-1, 1] - expected[-1, 0]) < 0.3


@pytest.mark.parametrize("case", CASES)
def test_confseqs_ready_made_sequence_differs_only_in_the_mean_that_the_variance_is_around(
    case: dict[str, Any],
) -> None:
    # predmix_empbern_twosided_cs leaves out the half observation that theorem 2 adds to the mean in v_t, so equality
    # cannot be asked for: the difference is that one term, and it vanishes
    x, population = case["x"], case["population"]
    for step, theirs in zip(case["steps"], case["ready_made"], strict=True):
        plain = two_sided(x[:step], case["alpha"], population, regularised=False)
        # confseq cuts each half off at its own end only, as two_sided does
        assert plain == pytest.approx(theirs, abs=1e-9)
    last = within_what_was_drawn(np.tile(case["ready_made"][-1], (len(x), 1)), np.array(x), population)[-1]
    np.testing.assert_allclose(ours(x, case["alpha"], population)[-1], last, rtol=0, atol=0.01)


@given(st.integers(0, 2**32), st.floats(0, 1), st.integers(1, 150), st.sampled_from([0.4, 0.05, 1e-4]), st.data())
def test_any_observations_give_what_a_plain_loop_over_the_papers_formulae_gives(
    seed: int, p: float, n: int, alpha: float, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.random(n) ** 2 if data.draw(st.booleans()) else (rng.random(n) < p).astype(float)
    population = data.draw(st.none() | st.integers(n, 300))
    steps = sorted({(n + 2) // 3, n})
    expected = np.tile([0.0, 1.0], (n, 1))
    for step in steps:
        expected[step - 1] = two_sided(x[:step].tolist(), alpha, population)
    expected = within_what_was_drawn(expected, x, population)
    at = np.array(steps) - 1
    np.testing.assert_allclose(ours(x.tolist(), alpha, population)[at], expected[at], rtol=0, atol=1e-9)


def test_half_of_the_e_process_is_confseqs_beta_binomial_mixture() -> None:
    # confseq has no mixture with points; theirs is half of ours, and the other half is scipy's likelihood ratios (the
    # binomial coefficients cancel)
    for entry in RECORDED["beta_binomial"]:
        n, s = entry["n"], entry["s"]
        points = [binom.logpmf(s, n, t) - binom.logpmf(s, n, 0.5) for t in (0.95, 0.05)]
        expected = np.logaddexp.reduce([entry["log"] - log(2), points[0] - log(4), points[1] - log(4)])
        assert float(log_e(n, s)) == pytest.approx(expected, rel=1e-9, abs=1e-9)
