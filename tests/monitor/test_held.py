"""Where the ring is held back: the stage that the requests in flight wait for, and nobody who only waits with them."""

from __future__ import annotations

import pytest

from contraflow.log.protocol import Partition, PartitionInfo, Position
from contraflow.monitor.held import Shape, held, waiting
from contraflow.monitor.topics import Sample

SHAPE = Shape(arms=("base", "tuned"), pairs=None, epoch=32, in_flight=4)


def ring(asked: int, base: int, tuned: int, embedded: int, clustered: int | None) -> Sample:
    """A ring that has asked, answered, embedded and clustered so many records."""
    appended = {"requests": asked, "texts": base + tuned, "embeddings": embedded}
    done = {
        "decoder.base": ("requests", base),
        "decoder.tuned": ("requests", tuned),
        "embedder": ("texts", embedded),
        "clusterer": ("embeddings", clustered),
    }
    infos = {Partition(f"r-1.{topic}", 0): PartitionInfo(0, 2 * n, n, 0) for topic, n in appended.items()}
    groups = {f"r-1.{group}": {Partition(f"r-1.{t}", 0): Position(1, records=n)} for group, (t, n) in done.items()}
    return Sample(0.0, infos, groups)


@pytest.mark.parametrize(
    ("sample", "stage"),
    [
        (ring(320, 318, 250, 560, 420), "decoder.tuned"),  # the clusterer has 140 to read, and waits for pairs
        (ring(320, 310, 309, 500, 480), "embedder"),
        (ring(320, 318, 319, 636, 440), "clusterer"),
        (ring(320, 318, 316, 630, 600), "sampler"),  # of 128 that may be in flight 20 are, 96 should be
    ],
)
def test_it_is_held_back_where_most_requests_wait(sample: Sample, stage: str) -> None:
    waits = waiting(sample, "r-1", SHAPE, complete=False)
    assert waits is not None
    found = held([waits])
    assert found is not None
    assert found.stage == stage
    assert found.in_flight == waits[""]


def test_a_sampler_that_has_asked_its_last_request_holds_nothing_back() -> None:
    waits = waiting(ring(320, 320, 320, 640, 600), "r-1", SHAPE, complete=True)
    assert waits is not None
    assert held([waits]) is None, "the last block is under way, which is nobody's fault"


def test_several_looks_are_averaged() -> None:
    looks = [{"": 60.0, "embedder": 50.0, "clusterer": 0.0}, *2 * [{"": 60.0, "embedder": 0.0, "clusterer": 40.0}]]
    found = held(looks)
    assert found is not None
    assert (found.stage, round(found.waiting, 1)) == ("clusterer", 26.7)


def test_what_is_not_counted_is_not_guessed() -> None:
    assert waiting(ring(320, 318, 250, 560, None), "r-1", SHAPE, complete=False) is None
    assert held([]) is None


def test_a_ring_that_has_just_begun_waits_for_its_decoders() -> None:
    begun = ring(64, 0, 0, 0, 0)
    waits = waiting(begun._replace(groups={}), "r-1", SHAPE, complete=False)
    assert waits is not None
    assert waits["decoder.base"] == waits["decoder.tuned"] == waits[""] == 64
