"""What counts as far, and which prompts the recent texts of a cluster are on: against numpy and the definition."""

from __future__ import annotations

import numpy as np
import pytest

from contraflow.clusterer.births import DISTANCES, QUANTILE, FarRing
from contraflow.clusterer.window import RecentWindow


@pytest.mark.parametrize("seen", [1, 2, 3, 5, 6, 64, 100, 777, DISTANCES, 3 * DISTANCES + 5])
def test_a_text_is_far_above_the_running_quantile_bit_for_bit(seen: int) -> None:
    distances = np.random.default_rng(seen).random(seen).astype(np.float32)
    ring = FarRing(4, 2)
    for start in range(0, seen, 64):
        ring.observe(distances[start : start + 64])
    assert ring.threshold() == float(np.quantile(distances[-DISTANCES:], QUANTILE))


def test_nothing_is_far_before_a_text_was_seen() -> None:
    assert FarRing(4, 2).threshold() == np.inf


def test_recent_prompts_of_a_cluster_are_those_of_its_texts_in_the_blocks_that_are_kept() -> None:
    rng = np.random.default_rng(0)
    window, kept = RecentWindow(blocks=4), {}
    for block in range(7):  # of differing sizes, and the ring comes round
        n = int(rng.integers(0, 9))
        clusters, prompts = rng.integers(0, 3, n), [f"p{block}.{i}" for i in range(n)]
        window.add(block, np.zeros((n, 4), np.float32), clusters, prompts)
        kept[block % 4] = list(zip(clusters.tolist(), prompts, strict=True))
    for cluster in range(4):
        expected = [prompt for row in sorted(kept) for there, prompt in kept[row] if there == cluster]
        assert window.prompts(cluster) == expected


def test_a_window_without_blocks_has_no_prompts() -> None:
    assert RecentWindow().prompts(0) == []
