"""What every log promises. Nothing here knows which log it runs on; offsets grow, but may have gaps."""

from __future__ import annotations

import time

import anyio
import pytest

from contraflow.errors import Fenced, LogError
from contraflow.log.limits import MAX_METADATA
from contraflow.log.protocol import Log, Outgoing, Partition, Position, Record
from contraflow.log.reading import read_until_now
from contraflow.runtime.progress import Progress

PLAIN = Partition("plain", 0)
KEPT = Partition("kept", 0)


def out(key: str, value: bytes | None = b"v", partition: Partition = PLAIN) -> Outgoing:
    return Outgoing(*partition, key, value, {"name": key.encode()})


async def read_all(log: Log, *partitions: Partition) -> list[Record]:
    reader = await log.reader(dict.fromkeys(partitions or [PLAIN]))
    found: list[Record] = []
    while records := await reader.fetch(100, wait=0.05):
        found += records
    await reader.close()
    return found


async def test_records_come_back_in_order_with_everything_they_were_given(log: Log) -> None:
    offsets = await log.append([out("a", b"1"), out("b", None), out("c", b"")])
    records = await read_all(log)
    assert [(r.topic, r.partition, r.key, r.value) for r in records] == [
        ("plain", 0, "a", b"1"),
        ("plain", 0, "b", None),
        ("plain", 0, "c", b""),
    ]
    assert [r.offset for r in records] == offsets == sorted(set(offsets))
    assert records[0].headers == {"name": b"a"}
    assert abs(records[0].timestamp / 1000 - time.time()) < 60


async def test_partitions_have_offsets_of_their_own(log: Log) -> None:
    other = Partition("plain", 1)
    await log.append([out("a"), out("b", partition=other), out("c")])
    assert [r.key for r in await read_all(log, PLAIN)] == ["a", "c"]
    assert [r.key for r in await read_all(log, other)] == ["b"]


async def test_a_reader_starts_where_it_is_told_and_can_seek(log: Log) -> None:
    offsets = await log.append([out(key) for key in "abcd"])
    reader = await log.reader({PLAIN: offsets[2]})
    assert [r.key for r in await reader.fetch(wait=0.0)] == ["c", "d"]
    reader.seek(PLAIN, offsets[1])
    assert [r.key for r in await reader.fetch(2, wait=0.0)] == ["b", "c"]
    await reader.close()


async def test_a_fetch_takes_from_every_partition_however_full_one_is(log: Log) -> None:
    other = Partition("plain", 1)
    await log.append([out(f"a{i}") for i in range(100)] + [out("b", partition=other)])
    reader = await log.reader({PLAIN: None, other: None})
    assert {r.partition for r in await reader.fetch(10, wait=0.0)} == {0, 1}
    await reader.close()


async def test_a_waiting_fetch_wakes_up_when_something_is_written(log: Log) -> None:
    reader = await log.reader({PLAIN: None})
    woken: list[float] = []

    async def wait() -> None:
        assert [r.key for r in await reader.fetch(wait=10.0)] == ["late"]
        woken.append(time.monotonic())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(0.1)
        written = time.monotonic()
        await log.append([out("late")])
    assert woken[0] - written < 2.0
    await reader.close()


async def test_a_fetch_without_records_returns_after_its_wait(log: Log) -> None:
    reader = await log.reader({PLAIN: None})
    started = time.monotonic()
    assert await reader.fetch(wait=0.2) == []
    assert 0.15 < time.monotonic() - started < 5.0
    await reader.close()


async def test_a_cancelled_fetch_loses_nothing(log: Log) -> None:
    reader = await log.reader({PLAIN: None})
    with anyio.move_on_after(0.05):
        await reader.fetch(wait=10.0)
    await log.append([out("a")])
    found: list[Record] = []
    for _ in range(20):  # a cancellation may fall on a fetch that has already found the record, or come too late for it
        with anyio.move_on_after(0):
            found += await reader.fetch(wait=1.0)
    found += await reader.fetch(wait=0.0 if found else 1.0)
    assert [r.key for r in found] == ["a"]
    await reader.close()


async def test_a_commit_writes_outputs_and_positions_together(log: Log) -> None:
    producer = await log.producer("worker")
    await producer.commit([out("a"), out("s", b"1", KEPT)], group="g", positions={PLAIN: Position(7, "meta")})
    assert [r.key for r in await read_all(log)] == ["a"]
    assert [r.key for r in await read_all(log, KEPT)] == ["s"]
    assert await log.positions("g", [PLAIN, KEPT]) == {PLAIN: Position(7, "meta")}
    assert (await log.groups())["g"] == {PLAIN: Position(7, "meta")}
    await producer.close()


async def test_an_unknown_group_has_no_positions(log: Log) -> None:
    assert await log.positions("nobody", [PLAIN]) == {}


async def test_the_newest_owner_of_a_transactional_id_fences_the_others(log: Log) -> None:
    old = await log.producer("worker")
    await old.commit([out("old")], group="g", positions={PLAIN: Position(1)})
    new = await log.producer("worker")
    with pytest.raises(Fenced):
        await old.commit([out("late")], group="g", positions={PLAIN: Position(2)})
    await new.commit([out("new")], group="g", positions={PLAIN: Position(3)})
    other = await log.producer("another worker")
    await other.commit([out("other")])
    assert [r.key for r in await read_all(log)] == ["old", "new", "other"]
    assert await log.positions("g", [PLAIN]) == {PLAIN: Position(3)}
    for producer in (old, new, other):
        await producer.close()


async def test_a_refused_commit_writes_nothing(log: Log) -> None:
    producer = await log.producer("worker")
    nowhere = Partition("plain", 9)
    with pytest.raises(LogError):
        await producer.commit([out("a"), out("b", partition=nowhere)], group="g", positions={PLAIN: Position(1)})
    with pytest.raises(LogError, match=r"key 'big'"):
        await producer.commit([out("a"), out("big", b"x" * (9 << 20))])
    with pytest.raises(LogError, match="metadata"):
        await producer.commit([out("a")], group="g", positions={PLAIN: Position(1, "x" * 5000)})
    assert await read_all(log) == []
    assert await log.positions("g", [PLAIN]) == {}
    await producer.commit([out("fine")])
    assert [r.key for r in await read_all(log)] == ["fine"]
    await producer.close()


async def test_concurrent_commits_are_all_there_and_each_is_whole(log: Log) -> None:
    async def work(name: str) -> None:
        producer = await log.producer(name)
        for i in range(20):
            outputs = [out(f"{name}-{i}-{j}") for j in range(5)]
            await producer.commit(outputs, group=name, positions={PLAIN: Position(i)})
        await producer.close()

    async with anyio.create_task_group() as tasks:
        for name in "wxyz":
            tasks.start_soon(work, name)
    keys = [r.key for r in await read_all(log)]
    assert sorted(keys) == sorted(f"{n}-{i}-{j}" for n in "wxyz" for i in range(20) for j in range(5))
    starts = [i for i, key in enumerate(keys) if key.endswith("-0")]
    assert all(keys[s : s + 5] == [keys[s][:-1] + str(j) for j in range(5)] for s in starts)


async def test_compaction_keeps_the_newest_of_each_key(log: Log) -> None:
    for i in range(5):
        await log.append([out("a", str(i).encode(), KEPT), out("b", str(i).encode(), KEPT)])
    await log.append([out("b", None, KEPT)])
    await log.clean({}, [])
    folded = {r.key: r.value for r in await read_all(log, KEPT)}
    assert {key: value for key, value in folded.items() if value is not None} == {"a": b"4"}


async def test_retention_never_passes_the_slowest_group(log: Log) -> None:
    offsets = await log.append([out(f"k{i}", b"x" * 100) for i in range(10)])
    producer = await log.producer("p")
    await producer.commit([], group="slow", positions={PLAIN: Position(offsets[4])})
    await producer.commit([], group="fast", positions={PLAIN: Position(offsets[9])})
    await producer.close()
    await log.clean({"plain": (None, 0)}, ["slow", "fast"])
    assert [r.key for r in await read_all(log)] == [f"k{i}" for i in range(4, 10)]


async def test_reading_what_retention_dropped_says_so(log: Log) -> None:
    await log.append([out(f"k{i}") for i in range(4)])
    await log.clean({"plain": (None, 0)}, [])
    reader = await log.reader({PLAIN: 0})
    with pytest.raises(LogError, match="out of range"):
        await reader.fetch(wait=0.0)
    await reader.close()


async def test_a_topic_that_exists_must_be_as_it_is_asked_for(log: Log) -> None:
    await log.create_topics([("plain", 2, "delete")])
    with pytest.raises(LogError, match="exists with 2 partitions"):
        await log.create_topics([("plain", 3, "delete")])
    with pytest.raises(LogError, match="clean-up"):
        await log.create_topics([("kept", 1, "delete")])
    assert await log.partitions("plain") == 2
    with pytest.raises(LogError, match="no topic"):
        await log.partitions("missing")


async def test_describe_counts_what_was_appended(log: Log) -> None:
    empty = (await log.describe())[PLAIN]
    assert (empty.records, empty.bytes) == (0, 0)
    await log.append([out("a", b"12345"), out("b", b"12345"), out("c", None)])
    with anyio.fail_after(5):
        # a monitor may see a commit a moment after it was acknowledged, and nobody tells when
        while (info := (described := await log.describe())[PLAIN]).records == 0 or info.end == info.begin:  # noqa: ASYNC110
            await anyio.sleep(0.02)
    assert (info.records, info.bytes) == (3, 13)
    assert info.end > info.begin
    assert await log.ends([PLAIN, Partition("missing", 0)]) == {PLAIN: info.end}
    assert {p for p in described if p.topic == "kept"} == set(await log.describe("kep"))
    assert await log.groups() == {}, "who only writes reads nothing"


async def test_the_end_is_past_what_was_committed_before(log: Log) -> None:
    producer = await log.producer("worker")
    for number in range(1, 41):
        await producer.commit([out(str(number))])
        assert len(await read_until_now(log, {PLAIN: None})) == number
    await producer.close()


async def test_counts_are_exact_through_every_kind_of_commit_and_a_restarted_producer(log: Log) -> None:
    other = Partition("plain", 1)
    await log.append([out("a"), out("b", partition=other)])
    producers = [await log.producer("beside")]
    for life in range(3):  # each fences the one before, and goes on from its counts
        producer = await log.producer("worker")
        producers.append(producer)
        await producer.commit([out("no positions"), out("k", partition=KEPT)])
        await producer.commit([out("x"), out("y", partition=other)], group="g", positions={PLAIN: Position(life)})
        await producer.commit([out("z")], group="g", positions={PLAIN: Position(life), other: Position(9)})
        await producer.commit([], group="g", positions={other: Position(10)})
        with pytest.raises(LogError):
            await producer.commit([out("refused", partition=Partition("plain", 9))])
    await producers[0].commit([out("x")], group="g2", positions={KEPT: Position(1)})
    counted = {partition: info.records for partition, info in (await log.describe()).items()}
    assert counted == {PLAIN: 1 + 3 * 3 + 1, other: 1 + 3, KEPT: 3}
    for partition, records in counted.items():
        assert len(await read_all(log, partition)) == records
    assert set(await log.groups("g2")) == {"g2"}
    assert await log.overview() == (await log.describe(), await log.groups())
    assert set((await log.overview("g2")).groups) == {"g2"}
    for producer in producers:
        await producer.close()


async def test_a_position_keeps_its_count_and_its_widest_metadata(log: Log) -> None:
    producer = await log.producer("worker")
    widest = Position(7, "m" * MAX_METADATA, 123)
    await producer.commit([out("a"), out("k", partition=KEPT)], group="g", positions={PLAIN: widest})
    assert await log.positions("g", [PLAIN]) == {PLAIN: widest}
    with pytest.raises(LogError, match="metadata"):
        await producer.commit([], group="g", positions={PLAIN: Position(8, "m" * (MAX_METADATA + 1), 124)})
    await producer.commit([], group="g", positions={PLAIN: Position(8)})
    assert await log.positions("g", [PLAIN]) == {PLAIN: Position(8, "", None)}
    assert (await log.describe())[PLAIN].records == 1
    await producer.close()


async def test_the_lag_of_a_group_that_finishes_out_of_order_is_exact(log: Log) -> None:
    source = await log.producer("source")
    for i in range(6):  # six transactions: on Kafka each leaves an offset that is no record
        await source.commit([out(f"{i}-{j}") for j in range(5)], group="source", positions={KEPT: Position(i)})
    records = await read_all(log)
    worker, progress = await log.producer("worker"), Progress()
    for record in records[:20]:
        progress.deliver(record.offset)
    for record in (records[3], records[19], *records[5:10]):
        progress.finish(record.offset)
    await worker.commit([], group="g", positions={PLAIN: progress.position()})
    position = (await log.positions("g", [PLAIN]))[PLAIN]
    appended = (await log.describe())[PLAIN].records
    assert appended is not None and position.records is not None
    assert (appended, appended - position.records) == (30, 23)
    restarted = Progress(position)
    for record in records:
        if restarted.deliver(record.offset):
            restarted.finish(record.offset)
    await worker.commit([], group="g", positions={PLAIN: restarted.position()})
    assert (await log.positions("g", [PLAIN]))[PLAIN].records == appended
    for producer in (source, worker):
        await producer.close()


async def test_the_timestamp_at_an_offset_is_of_the_next_record_there(log: Log) -> None:
    other = Partition("plain", 1)
    first, _ = await log.append([out("a"), out("b")])
    await anyio.sleep(0.05)
    second, last = await log.append([out("c"), out("z", b"z" * 100_000, other)])
    records = {(r.partition, r.offset): r.timestamp for r in await read_all(log, PLAIN, other)}
    places = [(PLAIN, first), (PLAIN, first + 2), (PLAIN, second + 1), (other, 0), (other, last), (other, last + 1)]
    assert await log.timestamps(places) == {
        (PLAIN, first): records[0, first],
        (PLAIN, first + 2): records[0, second],
        (other, 0): records[1, last],
        (other, last): records[1, last],
    }
    assert await log.timestamps([]) == {}
    assert records[0, first] < records[0, second]


async def test_a_member_alone_has_every_partition_and_is_told_of_changes_only(log: Log) -> None:
    membership = await log.join("g", "plain")
    mine = await membership.partitions()
    assert mine == {PLAIN, Partition("plain", 1)}
    with anyio.move_on_after(0.2) as waiting:
        await membership.partitions(mine)
    assert waiting.cancelled_caught
    await membership.close()


async def test_a_time_is_found_as_an_offset(log: Log) -> None:
    other = Partition("plain", 1)
    await log.append([out("a"), out("b")])
    await anyio.sleep(0.05)
    (c, _) = await log.append([out("c"), out("d", partition=other)])
    records = {r.key: r for r in await read_all(log, PLAIN, other)}
    starts = await log.since([PLAIN, other], records["c"].timestamp)
    assert starts[PLAIN] == c
    assert starts[other] <= records["d"].offset
    assert (await log.since([PLAIN], 0))[PLAIN] <= records["a"].offset
    later = records["d"].timestamp + 60_000
    assert await log.since([PLAIN, other], later) == await log.ends([PLAIN, other])
