"""How many requests an engine is given at once, on simulated engines whose best is known."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from contraflow.decoder.vllm.saturation import Begun, Saturation
from contraflow.runtime.clock import Clock


class SimulatedEngine:
    """Writes a token of each text in ``fixed + each * texts`` seconds; ``offer`` bounds what there is to ask."""

    def __init__(self, fixed: float, each: float, *, offer: int = 10_000, most: int = 1024) -> None:
        self.fixed, self.each, self.offer = fixed, each, offer
        self.now = 0.0
        self.saturation = Saturation(most=most, clock=Clock(now=lambda: self.now))
        self.held = 0
        self.ends: defaultdict[int, list[tuple[Begun, int]]] = defaultdict(list)
        self.random = random.Random(0)
        self.levels: list[int] = []

    def run(self, steps: int) -> None:
        for step in range(len(self.levels), len(self.levels) + steps):
            while self.held < min(self.saturation.capacity, self.offer):
                tokens = self.random.randint(20, 60)
                self.ends[step + tokens].append((self.saturation.begin(), tokens))
                self.held += 1
            self.now += self.fixed + self.each * self.held
            for begun, tokens in self.ends.pop(step + 1, ()):
                self.saturation.end(begun, tokens)
                self.held -= 1
            self.levels.append(self.saturation.capacity)

    def usual(self) -> int:
        later = self.levels[len(self.levels) // 2 :]
        return max(set(later), key=later.count)


@pytest.mark.parametrize(
    ("fixed", "each", "best"),
    [(0.036, 0.0037, 64), (0.010, 0.0001, 512), (0.001, 0.010, 64), (0.036, 0.0013, 128)],
    ids=["as vLLM on two cores", "a large card", "one text is as good as many", "something between"],
)
def test_it_settles_where_twice_as_many_bring_less_than_a_tenth_more(fixed: float, each: float, best: int) -> None:
    engine = SimulatedEngine(fixed, each)
    engine.run(4_000)
    assert engine.usual() == best
    assert not engine.saturation.starved


def test_it_is_there_within_a_few_hundred_texts() -> None:
    engine = SimulatedEngine(0.036, 0.0037)
    engine.run(600)
    assert engine.saturation.capacity == 64
    assert set(engine.levels) == {64, 128}


def test_an_engine_that_becomes_slower_by_the_text_is_given_fewer_again() -> None:
    engine = SimulatedEngine(0.036, 0.0005)
    engine.run(3_000)
    assert engine.saturation.capacity == 512
    engine.each = 0.0037
    engine.run(8_000)
    assert engine.levels[-1] <= 128


def test_on_a_machine_that_is_now_fast_and_now_slow_it_never_falls_below_where_it_starts() -> None:
    engine = SimulatedEngine(0.036, 0.0037)
    for speed in (1.0, 5.0, 0.5, 8.0) * 4:
        engine.fixed, engine.each = 0.036 * speed, 0.0037 * speed
        engine.run(150)
    assert min(engine.levels) == 64


def test_where_too_little_comes_the_engine_is_not_slowed_and_it_says_so() -> None:
    engine = SimulatedEngine(0.010, 0.0001, offer=40)
    engine.run(4_000)
    assert engine.saturation.capacity >= 40
    assert engine.saturation.starved


def test_it_never_gives_more_than_the_engine_takes() -> None:
    engine = SimulatedEngine(0.010, 0.0001, most=100)
    engine.run(4_000)
    assert max(engine.levels) == 64
    assert SimulatedEngine(0.01, 0.0001, most=4).saturation.capacity == 4


def test_what_was_lost_with_an_engine_is_not_counted_and_makes_room() -> None:
    now = 0.0
    saturation = Saturation(start=2, most=4, clock=Clock(now=lambda: now))
    lost = [saturation.begin(), saturation.begin()]
    now = 10.0
    for begun in lost:
        saturation.end(begun, None)
    pairs = 0
    while saturation.capacity == 2:
        pair = [saturation.begin(), saturation.begin()]
        now += 1.0
        for begun in pair:
            saturation.end(begun, 10)
        pairs += 1
    assert pairs == 8  # sixteen texts measure a level
