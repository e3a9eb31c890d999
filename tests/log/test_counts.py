"""What a Kafka producer keeps in the metadata of its positions: it comes back as it was, and never grows too long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraflow.errors import LogError
from contraflow.log.kafka.counts import Tally, pack, total, unpack, writes
from contraflow.log.limits import MAX_METADATA, check
from contraflow.log.protocol import Appended, Outgoing, Partition, Position

PARTITIONS = st.builds(Partition, st.text("abc-.", min_size=1, max_size=20), st.integers(0, 99))
COUNTS = st.dictionaries(PARTITIONS, st.builds(Appended, st.integers(0, 10**12), st.integers(0, 10**15)), max_size=8)
POSITIONS = st.builds(Position, st.integers(0), st.text(max_size=50), st.none() | st.integers(0))


@given(POSITIONS, COUNTS)
def test_position_and_counts_come_back_as_they_were(position: Position, counts: dict[Partition, Appended]) -> None:
    assert unpack(*pack(position, counts)) == (position, counts)


@pytest.mark.parametrize("metadata", ["", "plain", "with\ttab", 'looks\t{"like": 1}', "\t", "\tnull"])
def test_metadata_of_others_is_left_as_it_is_and_counts_nothing(metadata: str) -> None:
    assert unpack(7, metadata) == (Position(7, metadata), {})


def test_a_decoders_widest_bitmap_leaves_room_for_its_counts() -> None:
    run = "e" * 48 + "-123456"
    counts = {
        Partition(f"{run}.{topic}", number): Appended(10**11, 10**14)
        for topic, number in (("texts", 127), ("requests.dead", 0))
    }
    _, metadata = pack(Position(10**12, "~" * MAX_METADATA, 10**11), counts)
    assert len(metadata) <= 4096


def test_what_is_too_long_for_a_broker_is_refused_and_says_what_to_do() -> None:
    many = {Partition("run-1.texts", number): Appended(10**6, 10**9) for number in range(300)}
    with pytest.raises(LogError, match="Use fewer partitions"):
        pack(Position(0), many)


def test_a_tally_goes_on_from_what_is_committed_and_spreads_over_the_positions() -> None:
    a, b, out = Partition("in", 0), Partition("in", 1), "out"
    tally = Tally()
    assert tally.missing("g", [a, b]) == [a, b]
    tally.keep("g", {a: {Partition(out, 0): Appended(5, 50)}, b: {}})
    assert tally.missing("g", [a, b]) == []
    appended = check([Outgoing(out, number, "key", b"1234567") for number in (0, 0, 1, 2)], {})
    grown = tally.grown("g", [b, a], appended)
    assert grown == {
        a: {Partition(out, 0): Appended(7, 70), Partition(out, 2): Appended(1, 10)},
        b: {Partition(out, 1): Appended(1, 10)},
    }
    assert tally.grown("g", [b, a], {}) == {a: {Partition(out, 0): Appended(5, 50)}, b: {}}, "nothing is kept before it"
    tally.keep("g", grown)
    assert total(tally.grown("g", [b, a], appended).values())[Partition(out, 0)] == Appended(9, 90)


def test_a_commit_without_positions_counts_in_a_group_of_its_own() -> None:
    group, positions = writes("worker", [Outgoing("run-1.texts", 3, "k", b"")])
    assert (group, positions) == ("run-1.texts.worker~writes", {Partition("run-1.texts", 3): Position(0)})
