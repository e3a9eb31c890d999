from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betaln

from contraflow.statistics.eprocess import log_e, log_e_scalar, needed


def test_it_is_the_mixture_that_the_docstring_promises() -> None:
    n, s = 30, 22
    beta_binomial = np.exp(betaln(1 + s, 1 + n - s) - betaln(1, 1)) * 2.0**n
    points = sum((2 * t) ** s * (2 * (1 - t)) ** (n - s) for t in (0.95, 0.05)) / 2
    assert log_e(n, s) == pytest.approx(np.log((beta_binomial + points) / 2), rel=1e-12)


def test_nothing_seen_is_no_evidence() -> None:
    assert log_e_scalar(0, 0) == 0.0
    assert log_e_scalar(1, 1) == pytest.approx(0.0, abs=1e-12)


@given(st.integers(0, 500), st.data())
def test_it_does_not_care_which_arm_leads(n: int, data: st.DataObject) -> None:
    s = data.draw(st.integers(0, n))
    assert log_e_scalar(n, s) == log_e_scalar(n, n - s)
    assert log_e_scalar(n, s) == float(log_e(np.array([n]), np.array([s]))[0])


def test_a_fair_coin_neither_raises_nor_lowers_it_on_average() -> None:
    n = np.repeat(np.arange(60), np.arange(1, 61))
    s = np.concatenate([np.arange(k + 1) for k in range(60)])
    after = (np.exp(log_e(n + 1, s)) + np.exp(log_e(n + 1, s + 1))) / 2
    np.testing.assert_allclose(after, np.exp(log_e(n, s)), rtol=1e-9)


def test_looked_at_after_every_observation_it_keeps_its_level() -> None:
    rng = np.random.default_rng(0)
    paths, steps, alpha = 2000, 2000, 0.05
    s = np.zeros(paths, int)
    crossed = np.zeros(paths, bool)
    for n in range(1, steps + 1):
        s += rng.random(paths) < 0.5
        crossed |= log_e(n, s) >= -np.log(alpha)
    # the binomial bound: 5 % and two and a half standard deviations
    assert crossed.mean() <= alpha + 2.5 * np.sqrt(alpha * (1 - alpha) / paths)


@pytest.mark.parametrize(("threshold", "pairs"), [(430, 12), (1639, 14), (2000, 14), (12000, 17)])
def test_as_many_pairs_decide_as_the_statistics_say(threshold: float, pairs: int) -> None:
    assert needed(0, 0, np.log(threshold)) == pairs


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.5, 12))
def test_needed_is_exactly_enough(n: int, s: int, threshold: float) -> None:
    s = min(s, n)
    more, fewer = max(s, n - s), min(s, n - s)
    k = needed(n, s, threshold)
    assert log_e_scalar(n + k, more + k) >= threshold
    # in its valley the evidence may fall before it rises: only the count just below is promised to be too few
    assert k == 0 or log_e_scalar(more + fewer + k - 1, more + k - 1) < threshold
