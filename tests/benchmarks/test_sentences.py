"""The world of real sentences, on a small corpus: its truth holds, and its faults are said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from contraflow.errors import ConfigurationError
from worlds.corpus import Corpus
from worlds.mixture import Plant, UniformStream
from worlds.sentences import SentencesWorld
from worlds.simulation import Simulation

Load = Callable[[], Corpus]

PLANTS = (Plant(share=0.1), Plant(share=0.1, rate=0.5, where="one_topic"))


def drawn(world: SentencesWorld, times: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Many answers: the prompts, the texts and what they show."""
    prompts = np.tile(np.arange(world.prompts), times)
    return prompts, *world.draw(prompts, np.random.default_rng(5))


def test_a_behaviour_shows_in_its_arm_on_its_prompts_at_its_rate(corpus: Load) -> None:
    world = SentencesWorld(3, prompts=600, plants=PLANTS, corpus=corpus())
    prompts, _, shows = drawn(world)
    assert (shows[:, 0] == -1).all()
    for k in range(len(PLANTS)):
        there = world.planted[k][prompts]
        assert not (shows[~there] == k).any()
    assert (shows[world.planted[1][prompts], 1] == 1).mean() == pytest.approx(0.5, abs=0.05)
    assert world.planted[0].mean() == pytest.approx(0.1, abs=0.01)


def test_the_texts_of_a_behaviour_are_of_a_label_that_nothing_else_shows(corpus: Load) -> None:
    here = corpus()
    world = SentencesWorld(3, prompts=600, plants=PLANTS, corpus=here)
    _, texts, shows = drawn(world)
    for k in range(len(PLANTS)):
        of_plant = set(here.labels[texts[shows == k]])
        assert len(of_plant) == 1
        assert not of_plant & (set(here.labels[texts[shows != k]]) | set(world.topic_of))


def test_without_a_behaviour_the_arms_are_alike(corpus: Load) -> None:
    world = SentencesWorld(4, prompts=400, corpus=corpus())
    prompts, texts, _ = drawn(world, 40)
    own = world.corpus.labels[texts] == world.topic_of[prompts][:, None]
    assert own.mean(axis=0) == pytest.approx([0.96, 0.96], abs=0.02)
    assert abs(own[:, 0].mean() - own[:, 1].mean()) < 0.01


def test_answers_are_unit_vectors_of_texts_of_the_corpus(corpus: Load) -> None:
    here = corpus()
    world = SentencesWorld(3, prompts=400, plants=PLANTS, corpus=here)
    prompts = np.arange(50)
    vectors, shows = world.answers(prompts, np.random.default_rng(1))
    texts, same = world.draw(prompts, np.random.default_rng(1))
    assert (shows == same).all()
    assert np.linalg.norm(vectors, axis=2) == pytest.approx(np.ones((50, 2)), abs=1e-5)
    assert vectors == pytest.approx(here.vectors[texts].astype(np.float32), abs=1e-3)


def test_a_late_behaviour_does_not_show_before_its_pair(corpus: Load) -> None:
    world = SentencesWorld(3, prompts=400, plants=[Plant(share=1.0, from_pair=64)], corpus=corpus())
    stream = UniformStream(world, 3)
    for _ in range(4):
        stream.block()
    assert [seq for seq, shown in stream.shows.items() if 0 in shown] == list(range(65, 129))


def test_a_planted_behaviour_is_claimed(corpus: Load) -> None:
    world = SentencesWorld(1, prompts=1000, plants=[Plant(share=0.05)], corpus=corpus())
    done = Simulation(world, "leads", 1, 2000).until_claimed()
    assert done.claimed.keys() == {0}
    assert done.false_claims == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plants": [Plant(share=0.1), Plant(share=0.1, close=True)]}, r"plants\.1\.close: .*leave it out"),
        ({"plants": [Plant(share=0.1)] * 31}, "plants: there are 31, and only 30 labels .* Plant fewer"),
        ({"prompts": 5000}, "prompts: 5000 of 4800 texts"),
    ],
)
def test_what_the_corpus_cannot_give_is_refused(corpus: Load, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SentencesWorld(0, corpus=corpus(), **{"prompts": 100, **changes})
