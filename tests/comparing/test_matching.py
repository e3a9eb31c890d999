from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contraflow.comparing.matching import FEW, THRESHOLD, WEIGHT, Profile, alike, match

DIM = 4
unhurried = settings(deadline=None, max_examples=50)  # a busy machine is no failure


def unit(vector: list[float]) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return np.asarray(vector) / length if length > 1e-6 else np.zeros(len(vector))


profiles = st.builds(
    Profile,
    kind=st.sampled_from([("tuned", 1), ("tuned", -1)]),
    centre=st.lists(st.floats(-1, 1), min_size=DIM, max_size=DIM).map(unit),
    places=st.frozensets(st.integers(0, 9)),
)


def profile(*centre: float, places: frozenset[int] = frozenset(), kind: object = "more") -> Profile:
    return Profile(kind, unit(list(centre)), places)


def excess(first: list[Profile], second: list[Profile], pairs: list[tuple[int, int]]) -> float:
    """What a matching is worth; one that matches what must not be matched is worth nothing."""
    scores = [alike(first[i], second[j]) - THRESHOLD for i, j in pairs if first[i].kind == second[j].kind]
    return sum(score for score in scores if score > 0)


@unhurried
@given(profiles, profiles)
def test_it_does_not_matter_which_is_compared_with_which(a: Profile, b: Profile) -> None:
    assert alike(a, b) == pytest.approx(alike(b, a))
    assert -1 - 1e-9 <= alike(a, b) <= 1 + 1e-9


@unhurried
@given(st.lists(profiles, max_size=6), st.lists(profiles, max_size=6))
def test_matches_are_one_to_one_of_one_kind_and_above_the_threshold(
    first: list[Profile], second: list[Profile]
) -> None:
    matches = match(first, second)
    assert len({m.first for m in matches}) == len({m.second for m in matches}) == len(matches)
    for m in matches:
        assert first[m.first].kind == second[m.second].kind
        assert m.score == pytest.approx(alike(first[m.first], second[m.second]))
        assert m.score > THRESHOLD


@unhurried
@given(st.lists(profiles, max_size=4), st.lists(profiles, max_size=5))
def test_no_other_one_to_one_matching_is_worth_more(first: list[Profile], second: list[Profile]) -> None:
    if len(first) > len(second):
        first, second = second, first
    best = max(excess(first, second, list(enumerate(order))) for order in permutations(range(len(second)), len(first)))
    found = excess(first, second, [(m.first, m.second) for m in match(first, second)])
    assert found == pytest.approx(best)


@unhurried
@given(st.lists(profiles, max_size=6), st.lists(profiles, max_size=6))
def test_the_other_way_round_as_much_is_matched(first: list[Profile], second: list[Profile]) -> None:
    there, back = (sum(m.score - THRESHOLD for m in match(*sides)) for sides in ((first, second), (second, first)))
    assert there == pytest.approx(back)


@unhurried
@given(st.permutations(range(DIM)))
def test_whatever_the_order_each_is_matched_to_itself(order: list[int]) -> None:
    first = [profile(*row) for row in np.eye(DIM).tolist()]
    assert [(m.first, m.second) for m in match(first, [first[i] for i in order])] == [
        (i, order.index(i)) for i in range(DIM)
    ]


def test_two_matches_that_barely_pass_are_no_reason_to_give_up_a_good_one() -> None:
    a, near, between, far = (profile(np.cos(angle), np.sin(angle)) for angle in np.radians([0, 5, 56, -50]))
    assert THRESHOLD < alike(a, between) < alike(far, near) < 0.6
    assert alike(a, near) < alike(a, between) + alike(far, near)
    assert [(m.first, m.second) for m in match([a, far], [near, between])] == [(0, 0)]


def test_what_the_arm_shows_more_is_not_what_it_shows_less() -> None:
    assert match([profile(1, kind=("tuned", 1))], [profile(1, kind=("tuned", -1))]) == []


def test_texts_decide_and_prompts_help() -> None:
    everywhere = frozenset(range(30))
    alike_texts = alike(profile(1, 0, places=everywhere), profile(1, 0, places=frozenset(range(30, 60))))
    alike_prompts = alike(profile(1, 0, places=everywhere), profile(0, 1, places=everywhere))
    assert alike_texts > THRESHOLD > alike_prompts
    both = alike(profile(1, 1, places=everywhere), profile(1, 0, places=everywhere))
    assert both > alike(profile(1, 1), profile(1, 0)), "shared prompts make a likeness likelier"


def test_a_few_prompts_say_little_and_none_say_nothing() -> None:
    assert alike(profile(1, 1), profile(1, 0, places=frozenset({1}))) == pytest.approx(np.sqrt(0.5))
    places = frozenset(range(FEW))
    assert alike(profile(1, 0, places=places), profile(0, 1, places=places)) == pytest.approx(WEIGHT / 2)


def test_without_findings_there_are_no_matches() -> None:
    assert match([], []) == match([profile(1)], []) == match([], [profile(1)]) == []
