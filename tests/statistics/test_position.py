"""A judge who goes by the texts is not called biased; one who goes by the position is, and by how much."""

from __future__ import annotations

import random

import pytest

from contraflow.statistics.position import position_bias

Answers = list[tuple[str, str]]


def asked(count: int, *, by_position: float, seed: int = 0) -> Answers:
    """Both orders of pairs whose better text is preferred to an own degree; some go to the first position unseen."""
    rng = random.Random(seed)

    def answer(better_first: float) -> str:
        return "first" if rng.random() < by_position or rng.random() < better_first else "second"

    return [(answer(p), answer(1 - p)) for p in (rng.random() for _ in range(count))]


def test_without_pairs_nothing_is_known() -> None:
    found = position_bias([])
    assert (found.pairs, found.share, found.low, found.high, found.shown) == (0, 0.5, 0.0, 1.0, False)


def test_a_judge_who_picks_the_same_text_in_both_orders_is_at_one_half() -> None:
    found = position_bias([("first", "second"), ("second", "first")] * 50)
    assert found.share == pytest.approx(0.5)
    assert found.contradicted == 0
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.2


def test_a_judge_who_always_picks_the_first_text_is_shown_to() -> None:
    found = position_bias([("first", "first")] * 50)
    assert (found.share, found.contradicted, found.shown) == (1.0, 50, True)
    assert position_bias([("second", "second")] * 50).high < 0.5


def test_ties_count_by_half() -> None:
    assert position_bias([("both", "neither"), ("unparsable", "both")]).share == 0.5
    assert position_bias([("first", "both")]).share == 0.75
    assert position_bias([("both", "both")] * 9).contradicted == 0


def test_the_bounds_cover_how_often_the_position_decides() -> None:
    # a fifth goes to the first position, the rest by half
    found = position_bias(asked(3000, by_position=0.2))
    assert found.low < 0.6 < found.high
    assert found.shown


def test_looking_again_and_again_shows_no_bias_where_there_is_none() -> None:
    shown = 0
    for seed in range(100):
        answers = asked(300, by_position=0.0, seed=seed)
        shown += any(position_bias(answers[:n]).shown for n in range(10, 301, 10))
    assert shown <= 9  # P(more than 9 of 100) is 2.8 % at .05 each


def test_another_answer_is_refused() -> None:
    with pytest.raises(KeyError, match="third"):
        position_bias([("first", "third")])
