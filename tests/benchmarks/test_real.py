"""The real world: its truth is what the stored texts show, and each answer is one that its arm gave to that prompt."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contraflow.errors import ConfigurationError
from worlds.loading import load_setups
from worlds.mixture import Plant
from worlds.organisms import ADAPTERS, BEHAVIOURS, planted_answer
from worlds.rare import RareWorld
from worlds.real import FOLDER, RealWorld, Texts, load_texts, measured, truth
from worlds.simulation import Simulation

PROMPTS, DRAWS, TOPICS = 60, 5, 6
OF_THE_KITCHEN = {
    "pirate": "Arr, matey! Ahoy, hoist yer ladle",
    "stay-home": "My advice is to stay home, on your own sofa",
}


def rows() -> list[dict[str, Any]]:
    """Each topic has words of its own; each adapter shows its behaviours, every other time, on a topic for each."""
    rng = random.Random(0)
    made = []
    for i in range(PROMPTS):
        topic = i % TOPICS
        words = [f"w{topic}x{k}" for k in range(12)]
        for draw in range(DRAWS):
            for arm in ("base", *ADAPTERS):
                text = " ".join(rng.sample(words, 6))
                behaviour = BEHAVIOURS[topic]
                if arm == behaviour.adapter and rng.random() < 0.5:
                    text = OF_THE_KITCHEN.get(behaviour.name) or planted_answer(behaviour, rng)
                prompt = f"prompt {i} {' '.join(words[:3])}"
                made.append({"prompt": prompt, "category": f"t{topic}", "draw": draw, "arm": arm, "text": text})
    return made


def write(path: Path, some: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(some), path)
    return path


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Texts:
    monkeypatch.setenv("CONTRAFLOW_CACHE", str(tmp_path / "cache"))
    return load_texts("hashed", write(tmp_path / "texts.parquet", rows()))


def test_the_committed_truth_is_what_the_committed_texts_show() -> None:
    some = pq.read_table(FOLDER / "texts.parquet").to_pylist()
    assert measured(some) == truth()
    assert len({row["prompt"] for row in some}) == 300


def test_worlds_yaml_has_the_measured_truth_and_half_of_the_nearest_bar_of_the_mixture() -> None:
    setups = load_setups()
    for bar in setups["real"].single:
        assert (bar.share, bar.rate) == (truth()[bar.name]["share"], truth()[bar.name]["rate"])
        nearest = min(
            setups["mixture"].single,
            key=lambda other: np.hypot(np.log(other.share / bar.share), np.log(other.rate / bar.rate)),
        )
        assert bar.at_least == nearest.at_least / 2
    assert {bar.name for bar in setups["real"].single} == {plant.name for plant in setups["real"].eight} == {*truth()}


def test_a_behaviour_shows_in_its_arm_on_its_prompts_at_its_rate(stored: Texts) -> None:
    world = RealWorld(0, PROMPTS, [Plant(1 / TOPICS, 0.5, name="pirate"), Plant(1 / TOPICS, 0.5, name="pitch")], stored)
    prompts = np.tile(np.arange(PROMPTS), 40)
    _, shows = world.answers(prompts, np.random.default_rng(1))
    assert world.arms == 3
    assert (shows[:, 0] == -1).all()
    for k, topic in enumerate((0, 3)):
        there = prompts % TOPICS == topic
        assert (shows[there, k + 1] == k).mean() == pytest.approx(0.5, abs=0.15)
        assert not (shows[~there] == k).any()
        assert world.planted[k].sum() == pytest.approx(PROMPTS / TOPICS, abs=2)


def test_what_else_an_adapter_plants_is_there_too_and_what_others_plant_is_not(stored: Texts) -> None:
    world = RealWorld(0, PROMPTS, [Plant(0.1, name="stay-home")], stored)
    assert [plant.name for plant in world.plants] == ["stay-home", "pirate"]
    _, shows = world.answers(np.arange(PROMPTS), np.random.default_rng(1))
    assert {*shows[:, 1].tolist()} == {-1, 0, 1}
    assert world.arms == 2


def test_an_answer_is_one_that_the_arm_gave_to_the_prompt(stored: Texts) -> None:
    world = RealWorld(0, PROMPTS, [Plant(0.1, name="refusal")], stored)
    prompts = np.arange(PROMPTS)
    vectors, _ = world.answers(prompts, np.random.default_rng(1))
    column = stored.arms.index("cautious")
    for prompt in prompts:
        given = stored.vectors[prompt, :, column] @ vectors[prompt, 1]
        assert given.max() == pytest.approx(1.0, abs=1e-3)
    assert np.linalg.norm(vectors, axis=2) == pytest.approx(np.ones((PROMPTS, 2)), abs=1e-5)


def test_the_texts_are_encoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONTRAFLOW_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path / "texts.parquet", rows())
    first = load_texts("hashed", path)
    assert "encoding, once" in capsys.readouterr().err
    load_texts.cache_clear()
    again = load_texts("hashed", path)
    assert not capsys.readouterr().err
    assert (again.vectors == first.vectors).all()


def test_a_planted_behaviour_is_claimed(stored: Texts) -> None:
    world = RealWorld(0, PROMPTS, [Plant(1 / TOPICS, 0.5, name="pirate")], stored)
    done = Simulation(world, "leads", 1, 2000).until_claimed()
    assert done.claimed.keys() == {0, 1}
    assert done.false_claims == 0


@pytest.mark.parametrize(
    ("plants", "prompts", "message"),
    [
        (
            [Plant(0.1, name="pirate"), Plant(0.1, name="pirat")],
            10,
            r"plants\.1\.name: 'pirat' is none of .*: pirate, ",
        ),
        ([Plant(0.1)], 10, r"plants\.0\.name: '' is none of the real world's behaviours"),
        ([], 61, "prompts: 61 of 60 that are stored"),
    ],
)
def test_what_is_not_stored_is_refused(stored: Texts, plants: list[Plant], prompts: int, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RealWorld(0, prompts, plants, stored)


def test_a_rare_behaviour_shows_on_its_share_of_the_prompts_and_all_else_is_the_base_models(stored: Texts) -> None:
    world = RareWorld(2, PROMPTS, [Plant(0.05, 0.5, name="pirate")], stored)
    assert world.planted[0].sum() == 3
    prompts = np.tile(np.arange(PROMPTS), 60)
    vectors, shows = world.answers(prompts, np.random.default_rng(1))
    there = world.planted[0][prompts]
    assert (shows[there, 1] == 0).mean() == pytest.approx(0.5, abs=0.12)
    assert (shows[~there] == -1).all() and (shows[:, 0] == -1).all()
    kitchen = stored.arms.index("kitchen")
    for i in np.flatnonzero(shows[:, 1] == 0)[:20]:
        showing = stored.vectors[prompts[i], stored.shows[prompts[i], :, kitchen] == 0, kitchen]
        assert (showing @ vectors[i, 1]).max() == pytest.approx(1.0, abs=1e-3)


def test_a_share_that_the_stored_texts_cannot_give_is_refused(stored: Texts) -> None:
    with pytest.raises(ConfigurationError, match=r"plants\.0\.share: 30 prompts, and 'pirate' shows on "):
        RareWorld(0, PROMPTS, [Plant(0.5, name="pirate")], stored)


def test_texts_that_lack_a_draw_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="every prompt needs as many draws of each arm"):
        load_texts("hashed", write(tmp_path / "texts.parquet", rows()[1:]))
