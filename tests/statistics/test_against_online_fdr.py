"""Against `online-fdr`, which has e-BH, e-LOND, TOAD, mixtures of likelihood ratios, and scipy beside it."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from online_fdr.core.abstract.abstract_gamma_seq import AbstractGammaSequence
from online_fdr.core.utils.sequence import DefaultSaffronGammaSequence
from online_fdr.e_values import ELond, MixtureLikelihoodRatioEProcess, e_bh, e_to_p
from online_fdr.p_values.batching.toad import Toad
from scipy.special import zeta
from scipy.stats import betabinom, binom, false_discovery_control, zipf

from contraflow.statistics.ebh import Claims, birth_weight, statement_weight, weighted_ebh
from contraflow.statistics.eprocess import log_e

ALPHA = 0.05
LOG_E = st.floats(-3, 12)
WEIGHTED = st.lists(st.tuples(LOG_E, st.floats(0.01, 1)), min_size=1, max_size=15)


class OurGamma(AbstractGammaSequence):
    """The weights of statements as a sequence of the library, which counts from 1."""

    def calc_gamma(self, j: int, *args: Any, **kwargs: Any) -> float:
        return statement_weight(j - 1)


def split(hypotheses: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Log e-values, and weights that sum to 1."""
    evidence, weights = np.array(hypotheses).T
    return evidence, weights / weights.sum()


@given(st.lists(LOG_E, min_size=1, max_size=60), st.sampled_from([0.01, ALPHA, 0.3]))
def test_equal_weights_are_the_librarys_ebh(evidence: list[float], alpha: float) -> None:
    m = len(evidence)
    chosen = weighted_ebh(evidence, np.full(m, 1 / m), alpha)
    assert chosen.tolist() == e_bh(np.exp(evidence).tolist(), alpha)


@given(WEIGHTED)
def test_any_weights_are_the_librarys_ebh_of_weighted_evidence(hypotheses: list[tuple[float, float]]) -> None:
    # the library has no weights: e-BH of m gamma_i e_i is by definition e-BH of e_i with the weights gamma_i
    evidence, weights = split(hypotheses)
    weighted = len(evidence) * weights * np.exp(evidence)
    assert weighted_ebh(evidence, weights, ALPHA).tolist() == e_bh(weighted.tolist(), ALPHA)


@given(st.lists(LOG_E, min_size=1, max_size=60))
def test_equal_weights_are_scipys_benjamini_hochberg_of_one_over_e(evidence: list[float]) -> None:
    adjusted = false_discovery_control(np.array([e_to_p(float(np.exp(e))) for e in evidence]))
    chosen = weighted_ebh(evidence, np.full(len(evidence), 1 / len(evidence)), ALPHA)
    assert chosen.tolist() == (adjusted <= ALPHA).tolist()


@given(WEIGHTED)
def test_claims_of_hypotheses_that_come_one_by_one_are_those_of_toad_without_deadlines(
    hypotheses: list[tuple[float, float]],
) -> None:
    # TOAD of p = 1/e: the library's only procedure with a budget of weights that lets late evidence help early
    evidence, weights = split(hypotheses)
    keys = [str(i) for i in range(len(evidence))]
    toad, claims = Toad(ALPHA), Claims[str](ALPHA)
    for i, key in enumerate(keys):
        toad.add_test(e_to_p(float(np.exp(evidence[i]))), deadline=10_000, test_id=key, weight=float(weights[i]))
        claims.decide(keys[: i + 1], evidence[: i + 1], weights[: i + 1])
        assert set(claims.claimed) == {k for k, rejected in toad.current_decisions.items() if rejected}


@given(st.lists(LOG_E, min_size=1, max_size=30))
def test_a_claim_needs_what_e_lond_asks_for_and_e_lond_claims_no_more(evidence: list[float]) -> None:
    lond, beside, claims = ELond(ALPHA, OurGamma()), Claims[str](ALPHA), Claims[str](ALPHA)
    weights = [statement_weight(t) for t in range(len(evidence))]
    keys = [str(t) for t in range(len(evidence))]
    for t, e in enumerate(evidence):
        threshold = beside.log_threshold(weights[t])
        rejected = lond.test_one(float(np.exp(e)))
        assert lond.last_test_level == pytest.approx(np.exp(-threshold), rel=1e-12)
        if rejected:
            beside.claimed[keys[t]] = e
        claims.decide(keys[: t + 1], evidence[: t + 1], weights[: t + 1])
        # e-LOND does not look back, e-BH does
        assert set(beside.claimed) <= set(claims.claimed)


def test_the_weights_are_the_librarys_power_law_from_its_fourth_place_on() -> None:
    # the library normalises by a constant that it is given: what is left of zeta(1.3) after three terms
    left = float(zeta(1.3)) - sum(j**-1.3 for j in (1, 2, 3))
    power = DefaultSaffronGammaSequence(gamma_exp=1.3, c=1 / left)
    for t in (0, 1, 2, 10, 1000, 100_000):
        assert statement_weight(t) == pytest.approx(power.calc_gamma(t + 4), rel=1e-9)
        assert statement_weight(t) == pytest.approx(zipf.pmf(t + 4, 1.3) / zipf.sf(3, 1.3), rel=1e-9)
        assert birth_weight(t, True) == pytest.approx(0.8 * 0.8 * power.calc_gamma(t + 4), rel=1e-9)


def coin(t: float) -> Callable[[tuple[bool, int, int]], float]:
    """The log likelihood ratio of one pair, a coin that shows the arm with probability ``t`` against a fair one."""
    return lambda pair: log(2 * (t if pair[0] else 1 - t))


def laplace(pair: tuple[bool, int, int]) -> float:
    """The uniform mixture, one pair at a time: after s of n the next is the arm's with (s + 1) / (n + 2)."""
    arm, n, s = pair
    return log(2 * ((s if arm else n - s) + 1) / (n + 2))


@given(st.lists(st.booleans(), max_size=80))
def test_the_e_process_is_the_librarys_mixture_of_likelihood_ratios(arms: list[bool]) -> None:
    mixture = MixtureLikelihoodRatioEProcess([laplace, coin(0.95), coin(0.05)], [0.5, 0.25, 0.25])
    s = 0
    for n, arm in enumerate(arms):
        mixture.update((arm, n, s))
        s += arm
        assert float(log_e(n + 1, s)) == pytest.approx(mixture.log_current, rel=1e-9, abs=1e-9)


@given(st.integers(1, 400), st.data())
def test_the_e_process_is_the_ratio_of_scipys_distributions(n: int, data: st.DataObject) -> None:
    s = data.draw(st.integers(0, n))
    alternatives = [betabinom.logpmf(s, n, 1, 1) - log(2), *(binom.logpmf(s, n, t) - log(4) for t in (0.95, 0.05))]
    expected = np.logaddexp.reduce(alternatives) - binom.logpmf(s, n, 0.5)
    assert float(log_e(n, s)) == pytest.approx(expected, rel=1e-9, abs=1e-9)
