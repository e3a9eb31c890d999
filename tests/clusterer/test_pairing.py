"""Blocks are cut by ``seq``, whatever the order of arrival."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contraflow.clusterer.pairing import Pairing
from contraflow.events import Embedding, Origin
from contraflow.pairs import Pair


def embedding(seq: int, arm: str, *, error: str | None = None) -> Embedding:
    vector = np.full(4, seq if arm == "a" else -seq, "<f4").tobytes()
    return Embedding(
        seq=seq,
        request_id=f"r:{seq}",
        text_id=f"{seq}{arm}",
        arm=arm,
        prompt_id="" if error else "p0",
        text=arm,
        origin=Origin.EXPLORE,
        finish_reason="error" if error else "stop",
        vector=b"" if error else vector,
        dim=0 if error else 4,
        encoder="e",
        error=error,
    )


def drained(pairing: Pairing) -> list[list[Pair]]:
    found = []
    while (block := pairing.next_block()) is not None:
        found.append(block)
    return found


@given(st.randoms(use_true_random=False), st.integers(1, 150))
def test_any_order_of_arrival_gives_the_same_blocks(rng: random.Random, last: int) -> None:
    arrivals = [embedding(seq, arm) for seq in range(1, last + 1) for arm in "ab"]
    rng.shuffle(arrivals)
    pairing, blocks = Pairing(["a", "b"], 4), []
    for number, arrival in enumerate(arrivals):
        if number == len(arrivals) // 2:
            pairing.last_seq = last
        pairing.add(arrival)
        blocks += drained(pairing)
    pairing.last_seq = last
    blocks += drained(pairing)
    assert [p.seq for b in blocks for p in b] == list(range(1, last + 1))
    assert all(len(b) == 32 for b in blocks[:-1])
    assert all((p.vectors[:, 0] == [p.seq, -p.seq]).all() for b in blocks for p in b if p.vectors is not None)
    assert pairing.waiting == 0


def test_an_unpaired_text_holds_its_block_back() -> None:
    pairing = Pairing(["a", "b"], 4)
    for seq in range(1, 65):
        pairing.add(embedding(seq, "a"))
        if seq != 5:
            pairing.add(embedding(seq, "b"))
    assert pairing.next_block() is None
    pairing.add(embedding(5, "b"))
    assert [len(b) for b in drained(pairing)] == [32, 32]


def test_a_pair_is_failed_for_every_arm_when_one_could_not_answer() -> None:
    pairing = Pairing(["a", "b"], 4)
    pairing.last_seq = 1
    pairing.add(embedding(1, "b", error="boom"))
    pairing.add(embedding(1, "a"))
    (pair,) = pairing.next_block() or []
    assert pair.failed
    assert pair.errors == (None, "boom")
    assert pair.prompt_id == "p0", "the arm that kept the prompt tells it"


def test_what_was_given_out_before_is_dropped_and_a_second_answer_does_not_replace_the_first() -> None:
    pairing = Pairing(["a", "b"], 4, processed=32)
    pairing.add(embedding(7, "a"))
    assert pairing.waiting == 0
    pairing.add(embedding(33, "a"))
    pairing.add(embedding(33, "a", error="again"))
    pairing.add(embedding(33, "b"))
    pairing.add(embedding(33, "unknown"))
    pairing.last_seq = 33
    (pair,) = pairing.next_block() or []
    assert not pair.failed
