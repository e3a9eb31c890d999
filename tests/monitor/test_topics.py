"""Rates and lag as a monitor tells them: exact where the log counts, unknown where it does not, and never 0 for unknown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anyio
import pytest

from contraflow.log.embedded import EmbeddedLog
from contraflow.log.protocol import Outgoing, Partition, PartitionInfo, Position
from contraflow.monitor.topics import Sample, flows, lag, sample

ZERO, ONE = Partition("r-1.texts", 0), Partition("r-1.texts", 1)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    async with await EmbeddedLog.open(tmp_path / "log") as opened:
        await opened.create_topics(
            [("r-1.texts", 2, "delete"), ("r-1.control", 1, "compact"), ("r-10.texts", 1, "delete")]
        )
        yield opened


def at(
    seconds: float,
    records: Mapping[Partition, int | None],
    groups: Mapping[str, Mapping[Partition, Position]] | None = None,
) -> Sample:
    """A sample of a log whose every other offset is no record."""
    infos = {p: PartitionInfo(0, 2 * (n or 1), n, None if n is None else 100 * n) for p, n in records.items()}
    return Sample(seconds, infos, groups or {})


async def test_rates_are_differences_by_partition_over_the_time_between_two_samples(log: EmbeddedLog) -> None:
    before = at(10.0, {ZERO: 100, ONE: 0}, {"r-1.g": {ZERO: Position(9, records=50)}})
    after = at(12.0, {ZERO: 104, ONE: 30}, {"r-1.g": {ZERO: Position(9, records=70), ONE: Position(1, records=1)}})
    [topic], [group] = await flows(log, before, after, "r-1")
    assert (topic.topic, topic.records, topic.records_s, topic.bytes_s) == ("texts", 134, 17.0, 1700.0)
    assert (group.group, group.records, group.records_s, group.lag) == ("g", 71, 10.5, 63)
    assert topic.read_s == 10.5


async def test_what_is_not_known_is_none(log: EmbeddedLog) -> None:
    positions = {"r-1.g": {ZERO: Position(0), ONE: Position(0, records=0)}}
    [topic], [group] = await flows(log, at(0.0, {ZERO: None, ONE: 5}), at(1.0, {ZERO: None, ONE: 5}, positions), "r-1")
    assert (topic.records, topic.records_s, topic.bytes, topic.read_s) == (None, None, None, None)
    assert (group.records, group.lag) == (None, None)


@pytest.mark.parametrize(
    ("info", "position", "expected"),
    [
        (PartitionInfo(0, 12, 10, 0), Position(9, "m", 4), 6),
        (PartitionInfo(0, 12, 10, 0), Position(9), None),  # some offsets are no records
        (PartitionInfo(0, 10, 10, 0), Position(7), 3),  # every offset is one
        (PartitionInfo(0, 0, 0, 0), None, 0),
        (PartitionInfo(0, 10, 10, 0), None, None),
        (PartitionInfo(0, 12, None, None), Position(3, records=3), None),
    ],
)
def test_lag_is_what_was_appended_and_not_processed(
    info: PartitionInfo, position: Position | None, expected: int | None
) -> None:
    assert lag(info, position) == expected


async def test_lag_in_seconds_is_the_age_of_the_oldest_record_that_is_not_processed(log: EmbeddedLog) -> None:
    await log.append([Outgoing(*ZERO, "old", b""), Outgoing(*ONE, "done", b"")])
    await anyio.sleep(0.3)
    await log.append([Outgoing(*ZERO, "new", b"")])
    producer = await log.producer("p")
    ages = []
    for position in (Position(0, records=0), Position(1, records=1), Position(2, records=2)):
        await producer.commit([], group="r-1.g", positions={ZERO: position, ONE: Position(1, records=1)})
        now = await sample(log, "r-1")
        [group] = (await flows(log, now, now, "r-1"))[1]
        ages.append((group.lag, group.lag_s))
    (two, oldest), (one, newest), none = ages
    assert (two, one, none) == (2, 1, (0, 0.0))
    assert oldest is not None and newest is not None
    assert 0.3 <= oldest < 5.0
    assert newest < oldest - 0.25


async def test_other_runs_and_a_place_held_on_purpose_are_left_out(log: EmbeddedLog) -> None:
    producer = await log.producer("p")
    control = Partition("r-1.control", 0)
    await log.append([Outgoing(*control, "r-1", b"")])
    await producer.commit([], group="r-1.clusterer", positions={control: Position(0, records=0), ZERO: Position(0)})
    await producer.commit([], group="r-10.clusterer", positions={Partition("r-10.texts", 0): Position(0)})
    now = await sample(log, "r-1")
    topics, groups = await flows(log, now, now, "r-1")
    assert {row.topic for row in topics} == {"texts", "control"}
    assert [(row.group, row.topic) for row in groups] == [("clusterer", "texts")]
