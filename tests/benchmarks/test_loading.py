"""worlds.yaml: the shipped file is read, and in a bad one the field is named."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import efficiency
from contraflow.errors import ConfigurationError
from worlds.loading import build, load_setups
from worlds.mixture import MixtureWorld, Plant

SIZES = "seeds: 2, prompts: 400, topics: 20, warm_start: 320, start: 120, max: 380"


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "worlds.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_setups(path)
    return str(caught.value)


def test_the_bars_on_sentences_are_half_of_the_mixtures() -> None:
    setups = load_setups()
    for bars in ("single", "harder"):
        mixture = {(p.share, p.rate, p.where, p.from_pair): p.at_least for p in getattr(setups["mixture"], bars)}
        for plant in getattr(setups["sentences"], bars):
            assert plant.at_least == mixture[plant.share, plant.rate, plant.where, plant.from_pair] / 2
    assert len(setups["sentences"].single) == len(setups["mixture"].single)


def test_a_world_is_built_as_the_file_sizes_it() -> None:
    world = build("mixture", 0, load_setups()["mixture"].eight)
    assert isinstance(world, MixtureWorld)
    assert (world.prompts, world.topics, len(world.planted)) == (4000, 150, 8)


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        ("share: 0.1, rat: 0.3", 'mixture.single.0.rat: unknown key; did you mean "rate"?'),
        ("share: 0.1, where: everywhere", 'mixture.single.0.where: expected "scattered" or "one_topic"'),
        ("share: 1.5", "mixture.single.0.share: expected a number (above 0.0, at most 1.0); got 1.5"),
        ("share: 0", "mixture.single.0.share: expected a number (above 0.0, at most 1.0); got 0"),
        ("share: 0.1, rate: often", 'mixture.single.0.rate: expected a number (above 0.0, at most 1.0); got "often"'),
        ("share: 0.1, arm: -1", "mixture.single.0.arm: expected a whole number (at least 0); got -1"),
        ("rate: 0.1", "mixture.single.0.share: missing"),
    ],
)
def test_a_bad_behaviour_is_named_with_what_would_fit(tmp_path: Path, plant: str, message: str) -> None:
    text = f"mixture: {{{SIZES}, single: [{{at_least: 1, {plant}}}]}}"
    assert f"worlds.yaml: {message}" in refused(tmp_path, text)


def test_a_bar_that_is_missing_is_named(tmp_path: Path) -> None:
    message = refused(tmp_path, f"mixture: {{{SIZES}, single: [{{share: 0.1}}]}}")
    assert "mixture.single.0.at_least: missing; it needs a number" in message


def test_a_size_that_is_missing_and_a_world_that_is_none_are_both_named(tmp_path: Path) -> None:
    message = refused(tmp_path, "mixture: {seeds: 2}\nsentence: {seeds: 2}")
    assert "mixture.prompts: missing; it needs a whole number" in message
    assert "sentence: there is no such world; the worlds are mixture, sentences, real, rare" in message


def test_a_file_that_is_not_yaml_is_refused(tmp_path: Path) -> None:
    assert "worlds.yaml is not YAML" in refused(tmp_path, "mixture: {")


@pytest.mark.parametrize(
    ("option", "value"), [("--rules", "steepest"), ("--world", "flat"), ("--part", "double"), ("--only", "few")]
)
def test_an_unknown_choice_is_refused_with_the_valid_ones(
    option: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["efficiency.py", option, value])
    with pytest.raises(SystemExit) as caught:
        efficiency.main()
    assert caught.value.code == 2
    assert f"argument {option}: invalid" in capsys.readouterr().err


def test_a_world_is_the_same_when_it_is_built_again() -> None:
    first, again = (MixtureWorld(5, prompts=60, topics=8, plants=[Plant(share=0.1)]) for _ in range(2))
    asked = np.arange(60)
    one, other = (world.answers(asked, np.random.default_rng(1))[0] for world in (first, again))
    assert np.array_equal(one, other)
    assert np.array_equal(first.planted[0], again.planted[0])
    assert not np.array_equal(one, MixtureWorld(6, prompts=60, topics=8).answers(asked, np.random.default_rng(1))[0])
