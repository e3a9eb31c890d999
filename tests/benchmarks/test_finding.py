"""How soon a rule finds what is planted: a run that was given up is a bound, never a figure."""

from __future__ import annotations

import math

import pytest

from finding.single import Median, Outcome, ratio
from finding.together import History, curve


def outcomes(*pairs: float, looked: int = 6000) -> list[Outcome]:
    return [Outcome(each, looked if math.isinf(each) else int(each), 0, 0.0) for each in pairs]


def test_runs_that_were_given_up_leave_the_median_as_it_is_while_they_are_fewer_than_half() -> None:
    median = Median.of(outcomes(400, 500, math.inf))
    assert (str(median), median.figures("x")) == ("500", {"x": 500})


def test_the_median_of_runs_of_which_half_were_given_up_is_a_lower_bound() -> None:
    median = Median.of(outcomes(400, 500, math.inf, math.inf))
    assert str(median) == ">= 3,250"
    assert median.figures("x") == {"x": None, "x_at_least": 3250}


@pytest.mark.parametrize(
    ("plain", "steered", "shown", "figures"),
    [
        (Median(3000, True), Median(500, True), "6.0", {"r": 6.0}),
        (Median(6000, False), Median(500, True), ">= 12.0", {"r": None, "r_at_least": 12.0}),
        (Median(3000, True), Median(6000, False), "<= 0.5", {"r": None, "r_at_most": 0.5}),
        (Median(6000, False), Median(6000, False), "-", {"r": None}),
    ],
)
def test_a_ratio_of_bounds_is_a_bound(
    plain: Median, steered: Median, shown: str, figures: dict[str, float | None]
) -> None:
    assert ratio(plain, steered, "r") == (shown, figures)


def test_three_quarters_are_claimed_with_the_claim_that_makes_them_so() -> None:
    history = History(4, (900, 320, 640), ((320, True), (640, True), (700, False), (900, True), (960, False)), 1000)
    assert (history.most.pairs, history.most.false_claims) == (900, 1)
    assert math.isinf(history._replace(claimed=(320, 640)).most.pairs)


def test_recall_and_precision_are_of_all_runs_by_then() -> None:
    runs = [History(2, (32, 96), ((32, True), (64, False), (96, True)), 96), History(2, (96,), ((96, True),), 128)]
    drawn = curve(runs, 128)
    assert drawn.pairs == [0, 32, 64, 96, 128]
    assert drawn.recall == [0.0, 0.25, 0.25, 0.75, 0.75]
    assert drawn.precision == [1.0, 1.0, 0.5, 0.75, 0.75]
