"""What can still be asked: every stored draw at most once, the kept fifth and the held-out prompts for their purpose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from contraflow.sampler.pool import EndlessPool, Pool, ReplayPool, stream

DRAWS = [10] * 50
HELD_OUT = np.arange(50) % 3 == 0


def pool(seed: int = 0) -> ReplayPool:
    return ReplayPool(DRAWS, HELD_OUT, seed)


def explored(of: ReplayPool) -> list[tuple[int, int]]:
    rng, found = stream(0, "x"), []
    while (drawn := of.explore(rng)) is not None:
        found.append(drawn)
    return found


def test_stored_draws_are_each_asked_at_most_once() -> None:
    replay = pool()
    asked = explored(replay)
    for prompt in range(50):
        while (draw := replay.take(prompt, confirm=True)) is not None:
            asked.append((prompt, draw))
    assert len(asked) == len(set(asked)) == sum(DRAWS)
    assert not replay.steerable(confirm=True).any()


def test_a_fifth_of_what_is_not_held_out_is_kept_for_exploring_and_never_steered_to() -> None:
    kept = explored(pool())
    steered = pool()
    taken = [(p, d) for p in range(50) for _ in range(10) if (d := steered.take(p)) is not None]
    assert not set(kept) & set(taken)
    assert not any(HELD_OUT[p] for p, _ in kept + taken)
    assert len(kept) + len(taken) == 10 * int((~HELD_OUT).sum())
    assert 0.12 < len(kept) / (len(kept) + len(taken)) < 0.28
    assert pool().explore_population == len(kept)


def test_held_out_prompts_are_asked_only_to_confirm() -> None:
    replay = pool()
    assert replay.take(0) is None
    assert not replay.steerable()[0]
    assert replay.take(0, confirm=True) == 0
    assert (replay.steerable(confirm=True) == HELD_OUT).all()


def test_the_order_of_exploring_is_the_seeds() -> None:
    assert explored(pool(1)) == explored(pool(1)) != explored(pool(2))


def test_exploring_endless_prompts_is_uniform_with_replacement() -> None:
    endless, rng = EndlessPool(5), stream(3, "x")
    drawn = [d for _ in range(5000) if (d := endless.explore(rng)) is not None]
    counts = np.bincount([prompt for prompt, _ in drawn], minlength=5)
    assert counts == pytest.approx(1000, abs=150)
    assert len(set(drawn)) == 5000, "each draw of a prompt is a new one"


@pytest.mark.parametrize("make", [lambda: pool(4), lambda: EndlessPool(50)])
def test_a_restored_pool_goes_on_where_it_was(make: Callable[[], Pool]) -> None:
    one, other, rng = make(), make(), stream(0, "x")
    for _ in range(20):
        one.explore(rng)
        one.take(7)
    other.load(one.dump())
    a, b = stream(1, "y"), stream(1, "y")
    assert [one.explore(a) for _ in range(10)] == [other.explore(b) for _ in range(10)]
    assert [one.take(8) for _ in range(10)] == [other.take(8) for _ in range(10)]
    assert (one.asked == other.asked).all()
