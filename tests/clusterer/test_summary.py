"""What a cluster says of itself follows from its sample alone, whatever was in it before."""

from __future__ import annotations

import random

from contraflow.clusterer.summary import Samples
from contraflow.events import Origin
from contraflow.pairs import Pair

WORDS = ["harbour", "ferry", "curry", "garlic", "suitcase", "airport", "novel", "poem"]


def pair(seq: int, rng: random.Random) -> Pair:
    texts = tuple(" ".join(rng.sample(WORDS, 4)) for _ in range(2))
    return Pair(seq, f"r:{seq}", "p0", Origin.EXPLORE, None, texts, (4, 4), (None, None))


def test_keywords_are_those_of_the_sample_as_it_is_after_texts_left_it_and_slots_were_born_again() -> None:
    rng = random.Random(0)
    samples = Samples(["a", "b"])
    for slot in range(3):
        samples.born(slot)
    for seq in range(200):
        samples.add(pair(seq, rng), [rng.randrange(3), rng.randrange(3)])
        if seq % 60 == 59:
            samples.born(rng.randrange(3))
    restored = Samples(["a", "b"])
    restored.load(samples.dump())
    assert samples.keywords([0, 1, 2]) == restored.keywords([0, 1, 2])
    assert all(samples.keywords([0, 1, 2]).values())
