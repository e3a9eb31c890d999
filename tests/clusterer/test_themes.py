"""Themes: every cluster in one, those that resemble each other together, and no more lines than can be read."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from contraflow.clusterer.themes import READABLE, themes_of
from contraflow.words import distinctive


def around(middles: np.ndarray, each: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (
        np.repeat(middles, each, axis=0) + spread * rng.normal(size=(len(middles) * each, middles.shape[1]))
    ).astype(np.float32)


@settings(deadline=None)  # the first one imports scipy
@given(arrays.arrays(np.float32, st.tuples(st.integers(0, 60), st.just(3)), elements=st.floats(-1, 1, width=32)))
@example(np.zeros((3, 3), np.float32))  # scipy warned that it looks like a table of distances
def test_every_cluster_is_in_exactly_one_theme_and_in_one_of_its_parts(centroids: np.ndarray) -> None:
    themes = themes_of(centroids)
    assert sorted(int(i) for theme in themes for i in theme.members) == list(range(len(centroids)))
    for theme in themes:
        if theme.parts:
            assert sorted(int(i) for part in theme.parts for i in part.members) == theme.members.tolist()
            assert len(theme.members) > READABLE
            assert len(theme.parts) > 1


def test_clusters_that_resemble_each_other_are_together() -> None:
    themes = themes_of(around(np.eye(9), 9, 0.02))
    assert [theme.members.tolist() for theme in themes] == [list(range(9 * i, 9 * i + 9)) for i in range(9)]


def test_the_mean_of_a_few_texts_does_not_stand_apart_because_it_is_longer() -> None:
    centroids = around(np.eye(4), 4, 0.02)
    shorter = centroids * np.linspace(0.2, 1, len(centroids), dtype=np.float32)[:, None]
    assert [t.members.tolist() for t in themes_of(shorter)] == [t.members.tolist() for t in themes_of(centroids)]


def test_a_theme_of_too_many_clusters_is_cut_once_more() -> None:
    crowd = around(np.eye(12)[:6] * 0.3 + np.eye(12)[11], 10, 0.01)
    others = around(np.eye(12)[6:11], 2, 0.01)
    themes = themes_of(np.concatenate([crowd, others]))
    assert len(themes) == round(70**0.5)
    assert all(len(theme.members) <= READABLE or theme.parts for theme in themes)
    apart = themes_of(np.concatenate([crowd, around(np.eye(12)[6:11] * 3, 12, 1.0)]))
    assert any(theme.parts and all(not part.parts for part in theme.parts) for theme in apart)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_few_clusters_are_at_most_one_theme(k: int) -> None:
    assert [theme.members.tolist() for theme in themes_of(np.eye(4, dtype=np.float32)[:k])] == [list(range(k))][:k]


def test_words_of_every_class_set_none_apart_and_a_word_that_is_there_once_names_nothing() -> None:
    pirates, cooks = Counter(say=40, matey=9, arr=12, typo=1), Counter(say=40, onion=20)
    everywhere = pirates + cooks
    assert distinctive(pirates, everywhere, everywhere.total() / 2, 2) == ("say", "arr")
    assert "typo" not in distinctive(pirates, everywhere, everywhere.total() / 2, 9)
