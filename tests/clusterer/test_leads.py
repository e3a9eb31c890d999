"""Leads: which texts are unlike their partner, where they lead, and when they lead nowhere any more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contraflow.clusterer.births import unlike_partners
from contraflow.clusterer.leads import SIZE, Leads
from contraflow.events import Region

Floats = NDArray[np.float32]

DIM, THETA = 8, 0.4
BASE, TUNED = 0, 1


def direction(k: int) -> Floats:
    vector: Floats = np.eye(DIM, dtype=np.float32)[k]
    return vector


def pair(leads: Leads, prompt: str, base: int, tuned: int, clusters: tuple[int, int] = (1, 2)) -> None:
    """Add a pair whose texts lie in two of the axes' directions."""
    vectors = np.stack([direction(base), direction(tuned)])[None]
    leads.add(vectors, unlike_partners(vectors, THETA), np.array([clusters]), [prompt])


def hits(region: Region | None) -> dict[str, float]:
    return region.hits if region is not None else {}


def test_texts_are_unlike_where_no_other_arm_of_their_pair_is_as_close_as_theta() -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 3, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    expected = [[all(float(row[a] @ row[b]) < THETA for b in range(3) if b != a) for a in range(3)] for row in vectors]
    assert unlike_partners(vectors, THETA).tolist() == expected
    assert not unlike_partners(vectors, -1.1).any()


def test_a_pair_whose_texts_differ_leads_to_its_prompt_at_once_and_one_whose_texts_are_alike_does_not() -> None:
    leads = Leads(DIM, BASE)
    pair(leads, "odd", base=0, tuned=1)
    pair(leads, "usual", base=0, tuned=0)
    assert set(hits(leads.region(THETA, set()))) == {"odd"}


def test_what_one_arm_shows_on_several_prompts_leads_there_more_than_what_was_seen_once() -> None:
    leads = Leads(DIM, BASE)
    for k in range(3):
        pair(leads, f"same{k}", base=3 + k, tuned=1)
    pair(leads, "once", base=6, tuned=2)
    found = hits(leads.region(THETA, set()))
    assert min(found[f"same{k}"] for k in range(3)) > found["once"] > 0


def test_what_both_arms_show_alike_leads_nowhere() -> None:
    leads = Leads(DIM, BASE)
    pair(leads, "p0", base=1, tuned=2)
    pair(leads, "p1", base=2, tuned=1)
    assert leads.region(THETA, set()) is None


def test_what_a_claim_explains_leads_nowhere() -> None:
    leads = Leads(DIM, BASE)
    pair(leads, "explained", base=0, tuned=1, clusters=(1, 7))
    pair(leads, "open", base=2, tuned=3, clusters=(1, 2))
    assert set(hits(leads.region(THETA, {7}))) == {"open"}
    assert leads.region(THETA, {1}) is None


def test_what_an_arm_shows_is_not_explained_by_another_arms_claim_on_the_same_prompt() -> None:
    leads = Leads(DIM, BASE)
    vectors = np.stack([direction(0), direction(1), direction(2)])[None]
    leads.add(vectors, unlike_partners(vectors, THETA), np.array([[1, 7, 8]]), ["p"])
    assert leads.texts.clusters[:3] == [(1, 7, 8), (7, 1), (8, 1)]
    assert set(hits(leads.region(THETA, {7}))) == {"p"}


def test_what_founded_a_cluster_leads_there_and_not_here() -> None:
    leads = Leads(DIM, BASE)
    pair(leads, "founded", base=0, tuned=1)
    pair(leads, "open", base=2, tuned=3)
    leads.followed(np.stack([direction(0), direction(1)]), THETA)
    assert set(hits(leads.region(THETA, set()))) == {"open"}


def test_the_oldest_make_room_and_a_restart_changes_nothing() -> None:
    leads, again = Leads(DIM, BASE), Leads(DIM, BASE)
    for k in range(SIZE):  # two texts each
        pair(leads, f"p{k}", base=0, tuned=1 + k % 5, clusters=(k, k + 1))
    leads.followed(direction(2)[None], THETA)
    again.load(leads.dump())
    for ring in (leads, again):
        pair(ring, "last", base=6, tuned=7)
        assert "p0" not in ring.texts.prompts
    assert again.region(THETA, {3}) == leads.region(THETA, {3}) is not None
    assert again.dump() == leads.dump()
