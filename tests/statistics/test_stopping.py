from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from contraflow.statistics.stopping import adjusted_rand, completeness, unseen_mass


def test_agreement_is_what_scikit_learn_says() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 6, 200), rng.integers(0, 4, 200)
        assert adjusted_rand(a, b) == pytest.approx(adjusted_rand_score(a, b))
    assert adjusted_rand(a, a + 7) == 1.0


def test_unseen_mass_is_the_share_of_texts_alone_in_their_cluster() -> None:
    assert unseen_mass(np.array([1, 1, 4, 2])) == 2 / 8
    assert unseen_mass(np.array([], int)) == 1.0


def test_completeness_is_chao1_with_bias_correction() -> None:
    counts = np.array([1, 1, 1, 2, 2, 5])
    assert completeness(counts) == pytest.approx(6 / (6 + 3 * 2 / (2 * 3)))
    assert completeness(np.array([4, 4])) == 1.0


def test_good_turing_estimates_the_mass_that_was_not_seen() -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.full(400, 0.3))
    counts = rng.multinomial(800, p)
    assert unseen_mass(counts[counts > 0]) == pytest.approx(p[counts == 0].sum(), abs=0.03)
