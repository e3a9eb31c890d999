"""The micro-clusters that the stopping criteria count."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from contraflow.clusterer import coverage
from contraflow.clusterer.coverage import RADIUS, Coverage
from contraflow.clusterer.parts import unpack, unpack_array
from contraflow.statistics.stopping import completeness, unseen_mass

Floats = NDArray[np.float32]


def mixture(n: int, topics: int, seed: int) -> Floats:
    """(n, 24) unit vectors around ``topics`` directions: some near the radius, some near nobody."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(topics, 24))[rng.integers(0, topics, n)] + 0.7 * rng.normal(size=(n, 24))
    unit: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def one_by_one(vectors: Floats, most: int) -> tuple[list[int], int]:
    """The counts of the micro-clusters, and the texts that are near none: by the definition."""
    leaders: list[Floats] = []
    counts: list[int] = []
    strangers = 0
    for vector in vectors:
        similarity = [float(leader @ vector) for leader in leaders]
        if similarity and max(similarity) >= RADIUS:
            counts[int(np.argmax(similarity))] += 1
        elif len(leaders) < most:
            leaders.append(vector)
            counts.append(1)
        else:
            strangers += 1
    return counts, strangers


def counted(tracked: Coverage) -> tuple[list[int], int]:
    core, (counts, _) = unpack(tracked.dump()["coverage"])
    return unpack_array(counts).tolist(), core[1]


@pytest.mark.parametrize("size", [1, 7, 64, 400])
@pytest.mark.parametrize("most", [1024, 20])
def test_micro_clusters_are_those_of_the_definition_whatever_the_size_of_a_call(
    size: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "LEADERS", most)
    vectors = mixture(400, topics=30, seed=size)
    tracked = Coverage(24)
    for start in range(0, len(vectors), size):
        tracked.add(vectors[start : start + size])
    counts, strangers = one_by_one(vectors, most)
    assert counted(tracked) == (counts, strangers)
    assert len(counts) > 15 and (strangers > 0) == (most == 20)


def test_criteria_are_those_of_the_counts_and_a_restart_changes_nothing() -> None:
    vectors = mixture(300, topics=30, seed=5)
    tracked = Coverage(24)
    tracked.add(vectors[:150])
    again = Coverage(24)
    again.load(tracked.dump())
    for each in tracked, again:
        each.add(vectors[150:])
    counts = np.array(one_by_one(vectors, 1024)[0])
    shown = tracked.criteria(0, {"unseen": 0.05})
    assert shown["unseen"].value == pytest.approx(unseen_mass(counts), abs=1e-6)
    assert shown["completeness"].value == pytest.approx(completeness(counts), abs=1e-6)
    assert again.criteria(0, {"unseen": 0.05}) == shown and again.dump() == tracked.dump()
