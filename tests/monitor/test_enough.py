"""The stopping criteria in words, wherever a run is watched."""

from __future__ import annotations

from contraflow.events import Criterion
from contraflow.monitor.enough import in_words
from contraflow.monitor.live import line
from contraflow.monitor.progress import Standing

CRITERIA = {
    "unseen": Criterion(value=0.0342),
    "completeness": Criterion(value=0.96, target=0.95, holds=True),
    "stability": Criterion(value=None, target=0.9),
    "decided": Criterion(value=1 / 114),
}


def test_each_criterion_says_its_value_and_where_it_stops_the_run() -> None:
    assert [shown.text for shown in in_words(CRITERIA)] == [
        "unseen 3.42 %",
        "completeness 96 % (stop 95 %)",
        "stability - (stop 0.90)",
        "113 undecided",
    ]
    assert [shown.holds for shown in in_words(CRITERIA)] == [False, True, False, False]


def test_all_are_decided_when_none_is_left() -> None:
    assert [shown.text for shown in in_words({"decided": Criterion(value=1.0)})] == ["0 undecided"]


def test_the_plain_line_of_a_run_shows_them() -> None:
    assert "completeness 96 % (stop 95 %)" in line(Standing(criteria=CRITERIA))
