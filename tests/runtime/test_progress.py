"""Out-of-order finishing: what is committed is never done again, what is not is never lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraflow.log.limits import MAX_METADATA
from contraflow.log.protocol import Partition, Position
from contraflow.runtime.backlog import Backlog
from contraflow.runtime.progress import MAX_SPAN, Progress


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=120))
def test_a_restart_from_any_commit_skips_what_was_finished_and_repeats_nothing(moves: list[tuple[bool, int]]) -> None:
    progress, delivered = Progress(), 0
    unfinished: list[int] = []
    finished: set[int] = set()
    for deliver, pick in moves:
        if deliver or not unfinished:
            assert progress.deliver(delivered)
            unfinished.append(delivered)
            delivered += 1
        else:
            offset = unfinished.pop(pick % len(unfinished))
            progress.finish(offset)
            finished.add(offset)
    position = progress.position()
    assert position.offset == min(unfinished, default=delivered)
    restarted = Progress(position)
    again = [offset for offset in range(position.offset, delivered) if restarted.deliver(offset)]
    assert again == sorted(unfinished)
    assert position.records == restarted.position().records == len(finished)


def test_a_gap_in_the_offsets_does_not_hold_the_position_back() -> None:
    progress = Progress()
    for offset in (0, 3, 9):
        progress.deliver(offset)
        progress.finish(offset)
    assert progress.position() == Position(10, records=3)
    assert progress.open == 0


def test_the_widest_span_and_another_fetch_fit_into_a_positions_metadata() -> None:
    progress = Progress()
    widest = MAX_SPAN + 1_500
    for offset in range(widest):
        progress.deliver(offset)
    for offset in range(1, widest):
        progress.finish(offset)
    assert progress.span == widest
    assert len(progress.position().metadata) <= MAX_METADATA


def test_a_consumer_by_seq_commits_up_to_its_first_unprocessed_record() -> None:
    a, b = Partition("t", 0), Partition("t", 1)
    backlog = Backlog({a: Position(5, records=4)})
    for offset, seq in ((5, 1), (6, 4), (7, 2)):
        backlog.read(a, offset, seq)
    backlog.read(b, 0, 3)
    assert backlog.positions(0) == {a: Position(5, records=4), b: Position(0, records=0)}
    # seq 2 was read after seq 4: it is behind it in the partition, and is read again with it
    assert backlog.positions(3) == {a: Position(6, records=5), b: Position(1, records=1)}
    assert backlog.positions(4) == {a: Position(8, records=7), b: Position(1, records=1)}


@pytest.mark.parametrize("delivered", [0, 1, 100])
def test_all_finished_needs_no_bitmap(delivered: int) -> None:
    progress = Progress(Position(7, records=5))
    for offset in range(7, 7 + delivered):
        progress.deliver(offset)
        progress.finish(offset)
    assert progress.position() == Position(7 + delivered, records=5 + delivered)


def test_a_count_that_is_not_known_stays_so() -> None:
    progress, backlog = Progress(Position(7)), Backlog({Partition("t", 0): Position(7)})
    progress.deliver(7)
    progress.finish(7)
    backlog.read(Partition("t", 0), 7, 1)
    assert progress.position() == backlog.positions(1)[Partition("t", 0)] == Position(8)
