"""What is true of the embedded log alone: its file, several processes, crashes, a full disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from contraflow.errors import Fenced, FormatTooNew, LogError
from contraflow.log.embedded import EmbeddedLog
from contraflow.log.embedded.reader import EmbeddedReader
from contraflow.log.protocol import Outgoing, Partition, Position, Record

PART = Partition("t", 0)

WRITER = """
import anyio, sys
from pathlib import Path
from contraflow.log.embedded import EmbeddedLog
from contraflow.log.protocol import Outgoing, Partition, Position

async def main(folder, name, count):
    async with await EmbeddedLog.open(Path(folder)) as log:
        producer = await log.producer(name)
        for i in range(int(count)):
            outputs = [Outgoing("t", 0, f"{name}:{i}:{j}", b"x" * 200) for j in range(4)]
            await producer.commit(outputs, group=name, positions={Partition("t", 0): Position(i + 1)})
            print(i, flush=True)

anyio.run(main, *sys.argv[1:])
"""


async def open_log(folder: Path, *, max_pages: int | None = None) -> EmbeddedLog:
    log = await EmbeddedLog.open(folder, max_pages=max_pages)
    await log.create_topics([("t", 1, "delete")])
    return log


def start_writer(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def everything(log: EmbeddedLog) -> list[Record]:
    reader = await log.reader({PART: None})
    found: list[Record] = []
    while records := await reader.fetch(1000, wait=0.0):
        found += records
    await reader.close()
    return found


async def test_reopening_keeps_everything(tmp_path: Path) -> None:
    async with await open_log(tmp_path) as log:
        producer = await log.producer("p")
        await producer.commit([Outgoing("t", 0, "a", b"1")], group="g", positions={PART: Position(1, "m")})
    async with await open_log(tmp_path) as log:
        assert [r.key for r in await everything(log)] == ["a"]
        assert await log.positions("g", [PART]) == {PART: Position(1, "m")}


async def test_several_processes_append_at_once_without_a_loss(tmp_path: Path) -> None:
    async with await open_log(tmp_path) as log:
        writers = [start_writer(tmp_path, name, 40) for name in ("a", "b", "c")]
        for writer in writers:
            assert writer.wait(timeout=15) == 0
            assert writer.stdout is not None
            writer.stdout.close()
        keys = [r.key for r in await everything(log)]
    assert sorted(keys) == sorted(f"{n}:{i}:{j}" for n in "abc" for i in range(40) for j in range(4))


async def test_a_reader_sees_what_another_process_writes(tmp_path: Path) -> None:
    async with await open_log(tmp_path) as log:
        reader = await log.reader({PART: None})
        writer = start_writer(tmp_path, "a", 1)
        records = await reader.fetch(wait=15.0)
        assert records[0].key == "a:0:0"
        writer.communicate(timeout=15)
        await reader.close()


async def test_what_another_process_has_committed_is_found_at_once_however_short_the_wait(tmp_path: Path) -> None:
    async with await open_log(tmp_path) as log, await EmbeddedLog.open(tmp_path) as other:
        reader = await log.reader({PART: 0})
        assert await reader.fetch(wait=0.0) == []
        for wait in (0.0, 0.001, 0.0, 0.5):
            await other.append([Outgoing(*PART, "k", b"v")])
            assert [record.value for record in await reader.fetch(wait=wait)] == [b"v"]
        await reader.close()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[EmbeddedReader]:
    """The reader of every look at the file, in turn."""
    seen: list[EmbeddedReader] = []
    read = EmbeddedReader._read

    def counted(reader: EmbeddedReader, connection: sqlite3.Connection, most: int) -> Any:
        seen.append(reader)
        return read(reader, connection, most)

    monkeypatch.setattr(EmbeddedReader, "_read", counted)
    return seen


async def test_a_reader_looks_again_only_when_something_was_written_or_its_wait_is_over(
    tmp_path: Path, looks: list[EmbeddedReader]
) -> None:
    async with await open_log(tmp_path) as log:
        reader = await log.reader({PART: 0})
        await log.append([Outgoing(*PART, "k", b"v")] * 3)
        assert len(await reader.fetch(2)) == 2
        assert len(await reader.fetch(2)) == 1
        assert len(looks) == 2
        assert await reader.fetch(wait=0.05) == []
        assert len(looks) == 3, "once, when the wait is over"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log.append, [Outgoing(*PART, "k", b"v")])
            assert len(await reader.fetch(wait=5.0)) == 1
        assert len(looks) == 4
        reader.seek(PART, 0)
        assert len(await reader.fetch(wait=5.0)) == 4
        await reader.close()


async def test_what_another_process_writes_wakes_the_readers_of_that_partition_alone(
    tmp_path: Path, looks: list[EmbeddedReader]
) -> None:
    here, there = Partition("two", 0), Partition("two", 1)
    async with await open_log(tmp_path) as log, await EmbeddedLog.open(tmp_path) as other:
        await other.create_topics([("two", 2, "delete")])
        mine, foreign = await log.reader({here: 0}), await log.reader({there: 0})
        assert await mine.fetch(wait=0.3) == []  # by then the log has heard of the topic
        looks.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(mine.fetch, 500, 1.0)
            for i in range(5):
                await other.append([Outgoing(*there, f"{i}", b"v")])
                (record,) = await foreign.fetch(wait=5.0)
                assert record.key == f"{i}"
            assert mine not in looks
        assert looks.count(mine) == 1, "once, when the wait is over"


async def test_a_write_that_was_undone_does_not_hide_one_by_another_process(tmp_path: Path) -> None:
    async with await open_log(tmp_path) as log, await EmbeddedLog.open(tmp_path) as other:
        reader, producer = await log.reader({PART: 0}), await log.producer("p")
        assert await reader.fetch(wait=0.3) == []
        with pytest.raises(LogError, match="no partition 7"):
            nowhere = {Partition("t", 7): Position(1)}
            await producer.commit([Outgoing(*PART, "undone", b"v")], group="g", positions=nowhere)
        assert await reader.fetch(wait=0.0) == []
        await other.append([Outgoing(*PART, "kept", b"v")])
        with anyio.fail_after(5.0):
            (record,) = await reader.fetch(wait=30.0)
        assert record.key == "kept"


async def test_an_owner_in_another_process_fences_this_one(tmp_path: Path) -> None:
    async with await open_log(tmp_path) as log:
        mine = await log.producer("a")
        start_writer(tmp_path, "a", 1).communicate(timeout=15)
        with pytest.raises(Fenced):
            await mine.commit([Outgoing("t", 0, "late", b"")])


async def test_kill_9_loses_nothing_acknowledged_and_leaves_no_half_commit(tmp_path: Path) -> None:
    async with await open_log(tmp_path) as log:
        for round_ in range(5):
            name = f"r{round_}"
            writer = start_writer(tmp_path, name, 100_000)
            assert writer.stdout is not None
            acknowledged = -1
            deadline = time.monotonic() + 0.2 + 0.05 * round_
            while acknowledged < 5 or time.monotonic() < deadline:
                acknowledged = int(writer.stdout.readline())
            os.kill(writer.pid, signal.SIGKILL)
            acknowledged = max([acknowledged, *(int(line) for line in writer.stdout.read().split())])
            writer.wait()
            writer.stdout.close()
            position = (await log.positions(name, [PART]))[PART].offset
            keys = {r.key for r in await everything(log) if r.key.startswith(f"{name}:")}
            assert position >= acknowledged + 1
            assert keys == {f"{name}:{i}:{j}" for i in range(position) for j in range(4)}


async def test_a_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    log = await open_log(tmp_path, max_pages=40)
    producer = await log.producer("p")
    await producer.commit([Outgoing("t", 0, "before", b"x")], group="g", positions={PART: Position(1)})
    with pytest.raises(LogError, match=r"full.*free some space"):
        await producer.commit([Outgoing("t", 0, "big", b"x" * 2_000_000)], group="g", positions={PART: Position(2)})
    await producer.commit([Outgoing("t", 0, "after", b"x")])
    assert [r.key for r in await everything(log)] == ["before", "after"]
    assert await log.positions("g", [PART]) == {PART: Position(1)}
    await log.close()


async def test_a_log_of_format_1_is_brought_up_to_date_with_its_counts(tmp_path: Path) -> None:
    decoder, plain = Position(7, "bits:no colon was in a bitmap", 12), Position(5)
    async with await EmbeddedLog.open(tmp_path) as log:
        await log.create_topics([("t", 1, "delete")])
        producer = await log.producer("p")
        old = Position(7, "12:" + decoder.metadata)
        await producer.commit([Outgoing("t", 0, "a", b"")], group="decoder", positions={PART: old})
        await producer.commit([], group="plain", positions={PART: plain})
    connection = sqlite3.connect(tmp_path / "log.sqlite3")
    connection.execute("ALTER TABLE positions DROP COLUMN records")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    for _ in range(2):  # once is enough
        async with await EmbeddedLog.open(tmp_path) as log:
            assert await log.groups() == {"decoder": {PART: decoder}, "plain": {PART: plain}}


async def test_a_log_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    await (await open_log(tmp_path)).close()
    connection = sqlite3.connect(tmp_path / "log.sqlite3")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(FormatTooNew, match="log format 99"):
        await EmbeddedLog.open(tmp_path)


async def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.sqlite3").write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(LogError, match="damaged or is no log"):
        await EmbeddedLog.open(tmp_path)


async def test_the_file_stays_bounded_when_it_is_cleaned(tmp_path: Path) -> None:
    async with await open_log(tmp_path) as log:
        sizes = []
        for _ in range(6):
            await log.append([Outgoing("t", 0, "k", b"x" * 1000) for _ in range(2000)])
            await log.clean({"t": (None, 0)}, [])
            sizes.append((tmp_path / "log.sqlite3").stat().st_size)
    assert sizes[-1] < 4_000_000  # of 12 MB that were written


async def test_an_embedded_log_counts_every_record_and_byte(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    await log.append([Outgoing("t", 0, key, b"12345") for key in "ab"])
    info = (await log.describe())[Partition("t", 0)]
    assert (info.records, info.bytes) == (2, 12)
    await log.close()
