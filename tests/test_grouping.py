"""Claims that rest on the same pairs are read together; what shares no pairs stays apart."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from contraflow.grouping import group_claims


@st.composite
def claims(draw: st.DrawFn) -> list[set[int]]:
    """As a run makes them: each pair goes from one of five clusters into another, and some of the ten sides are claimed."""
    cluster = st.integers(0, 4)
    pairs = draw(st.lists(st.tuples(cluster, cluster), max_size=60))
    sides = draw(st.lists(st.tuples(st.booleans(), cluster), unique=True, max_size=10))
    return [{seq for seq, pair in enumerate(pairs) if pair[gained] == where} for gained, where in sides]


def united(pairs: list[set[int]], groups: list[int]) -> list[set[int]]:
    return [
        set().union(*(p for p, g in zip(pairs, groups, strict=True) if g == group)) for group in range(max(groups) + 1)
    ]


@settings(deadline=None)  # it is the machine that may be busy
@given(claims())
def test_in_the_end_no_group_shares_more_than_half_of_its_pairs(pairs: list[set[int]]) -> None:
    groups = group_claims(pairs)
    for i, whole in enumerate(united(pairs, groups) if pairs else []):
        others = set().union(*(w for j, w in enumerate(united(pairs, groups)) if j != i))
        assert 2 * len(whole & others) <= len(whole)


@settings(deadline=None)  # it is the machine that may be busy
@given(claims())
def test_the_claims_of_a_group_hang_together_by_pairs_that_they_share(pairs: list[set[int]]) -> None:
    groups = group_claims(pairs)
    for group in set(groups):
        members = [i for i, g in enumerate(groups) if g == group]
        reached, new = {members[0]}, {members[0]}
        while new:
            new = {i for i in members if i not in reached and any(pairs[i] & pairs[j] for j in reached)}
            reached |= new
        assert reached == set(members)


@settings(deadline=None)  # it is the machine that may be busy
@given(claims())
def test_groups_are_numbered_by_their_first_claims_and_which_pairs_they_are_does_not_matter(
    pairs: list[set[int]],
) -> None:
    groups = group_claims(pairs)
    assert all(b <= max(groups[: i + 1]) + 1 for i, (_, b) in enumerate(pairwise(groups)))
    assert group_claims([{1000 - 7 * seq for seq in p} for p in pairs]) == groups


def test_a_behaviour_that_is_spread_over_clusters_on_both_sides_is_one() -> None:
    spread = [(a, b) for a in range(3) for b in range(3) for _ in range(4)]
    gained = [{i for i, (a, _) in enumerate(spread) if a == k} for k in range(3)]
    lost = [{i for i, (_, b) in enumerate(spread) if b == k} for k in range(3)]
    assert all(3 * len(g & w) == len(g) for g in gained for w in lost), "no two share half"
    assert group_claims([*gained, *lost]) == [0] * 6


def test_two_behaviours_with_pairs_of_their_own_are_two() -> None:
    first, second = set(range(50)), set(range(100, 140))
    assert group_claims([first, second, first - {3}, second - {100}]) == [0, 1, 0, 1]


def test_a_few_common_pairs_or_just_half_join_nothing() -> None:
    assert group_claims([set(range(20)), set(range(10, 30))]) == [0, 1]
    assert group_claims([set(range(21)), set(range(10, 31))]) == [0, 0]


def test_a_claim_without_pairs_is_alone_and_no_claims_are_no_groups() -> None:
    assert group_claims([set(), {1, 2}, {1, 2}, set()]) == [0, 1, 1, 2]
    assert group_claims([]) == []
