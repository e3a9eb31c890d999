from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraflow.statistics.ebh import Claims, birth_weight, statement_weight, warm_weights, weighted_ebh


def by_brute_force(log_e: list[float], weights: list[float], alpha: float) -> set[int]:
    best: set[int] = set()
    for size in range(1, len(log_e) + 1):
        for chosen in combinations(range(len(log_e)), size):
            if all(np.exp(log_e[i]) >= 1 / (alpha * weights[i] * size) for i in chosen):
                best = best | set(chosen) if len(best) == size else set(chosen)
    return best


@given(st.lists(st.tuples(st.floats(-2, 9), st.floats(0.01, 0.5)), min_size=1, max_size=7))
def test_it_is_the_largest_set_that_supports_itself(hypotheses: list[tuple[float, float]]) -> None:
    log_e, weights = [e for e, _ in hypotheses], [w for _, w in hypotheses]
    assert set(np.flatnonzero(weighted_ebh(log_e, weights, 0.05))) == by_brute_force(log_e, weights, 0.05)


def test_equal_weights_are_plain_ebh() -> None:
    k = 20
    log_e = np.log(np.linspace(1, 900, k))
    chosen = weighted_ebh(log_e, np.full(k, 1 / k), 0.05)
    order = np.sort(np.exp(log_e))[::-1]
    size = max((i + 1 for i in range(k) if order[i] * (i + 1) / k >= 20), default=0)
    assert chosen.sum() == size > 0


def test_the_weights_of_everything_that_will_ever_be_sum_to_one_at_most() -> None:
    births = sum(birth_weight(i, one_sided) for i in range(200_000) for one_sided in (True, False))
    assert warm_weights(37).sum() == pytest.approx(0.2)
    assert births < 0.8
    assert births > 0.75  # the sequences converge slowly, and are not wasted
    assert sum(statement_weight(t) for t in range(200_000)) < 1


def test_one_sided_births_get_the_larger_share() -> None:
    assert birth_weight(0, True) == pytest.approx(4 * birth_weight(0, False))
    assert 20 / birth_weight(0, True) == pytest.approx(430, rel=0.02)


def test_a_claim_stays_with_the_evidence_that_it_was_made_on() -> None:
    claims: Claims[tuple[int, str]] = Claims(0.05)
    assert claims.decide([(0, "a"), (1, "a")], [10.0, 1.0], [0.1, 0.1]) == [(0, "a")]
    assert claims.decide([(0, "a"), (1, "a")], [-5.0, 1.0], [0.1, 0.1]) == []
    assert claims.claimed == {(0, "a"): 10.0}


def test_a_claim_lowers_the_bar_for_the_next() -> None:
    claims: Claims[tuple[int, str]] = Claims(0.05)
    almost = float(np.log(250))  # 1 / (.05 * .1) is 200, and 400 with a rival of weight .05
    before = claims.log_threshold(0.05)
    claims.decide([(0, "a")], [almost], [0.1])
    assert claims.log_threshold(0.05) == pytest.approx(before - np.log(2))
