from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, binom

from contraflow.statistics.statement import accuracy_bounds, log_e_accept, log_e_reject, score


@pytest.mark.parametrize(("n", "s"), [(0, 0), (1, 1), (12, 9), (60, 31), (200, 180)])
def test_accepting_is_the_mixture_over_better_than_a_coin(n: int, s: int) -> None:
    mixture, _ = quad(lambda t: 2 * (2 * t) ** s * (2 * (1 - t)) ** (n - s), 0.5, 1, epsabs=0, epsrel=1e-10, limit=200)
    assert log_e_accept(n, s) == pytest.approx(np.log(mixture), abs=1e-6)


@pytest.mark.parametrize(("n", "s"), [(0, 0), (10, 2), (50, 30), (120, 60)])
def test_rejecting_is_the_mixture_over_worse_than_asked(n: int, s: int) -> None:
    m = 0.7
    ratio = lambda t: (t / m) ** s * ((1 - t) / (1 - m)) ** (n - s) / m  # noqa: E731 - the integrand reads best in one line
    mixture, _ = quad(ratio, 0, m, epsabs=0, epsrel=1e-10, limit=200)
    assert log_e_reject(n, s, m) == pytest.approx(np.log(mixture), abs=1e-6)


@pytest.mark.parametrize("theta", [0.5, 0.4, 0.1])
def test_accepting_expects_no_gain_where_the_statement_is_false(theta: float) -> None:
    for n in (1, 5, 20, 60):
        s = np.arange(n + 1)
        expected = sum(binom.pmf(s, n, theta) * np.exp([log_e_accept(n, int(k)) for k in s]))
        assert expected <= 1 + 1e-9


@pytest.mark.parametrize("theta", [0.7, 0.8, 0.99])
def test_rejecting_expects_no_gain_where_the_statement_is_true(theta: float) -> None:
    for n in (1, 5, 20, 60):
        s = np.arange(n + 1)
        expected = sum(binom.pmf(s, n, theta) * np.exp([log_e_reject(n, int(k), 0.7) for k in s]))
        assert expected <= 1 + 1e-9


def test_the_score_is_the_posterior_probability_of_being_accurate() -> None:
    assert score(0, 0, 0.7) == pytest.approx(0.3)
    assert score(40, 36, 0.7) == pytest.approx(beta.sf(0.7, 37, 5))


def test_bounds_of_an_accuracy_hold_at_every_moment_and_narrow() -> None:
    assert accuracy_bounds(0, 0) == (0.0, 1.0)
    assert accuracy_bounds(5, 5)[1] == 1.0
    assert accuracy_bounds(5, 0)[0] == 0.0
    low, high = accuracy_bounds(100, 60)
    assert 0.4 < low < 0.6 < high < 0.8
    assert accuracy_bounds(100, 40) == pytest.approx((1 - high, 1 - low))
    rng = np.random.default_rng(0)
    for theta in (0.5, 0.8):
        missed = 0
        for _ in range(200):
            s = np.cumsum(rng.random(120) < theta)
            bounds = [accuracy_bounds(n + 1, int(s[n])) for n in range(0, 120, 3)]
            missed += not all(low <= theta <= high for low, high in bounds)
        assert missed <= 0.05 * 200 + 6
