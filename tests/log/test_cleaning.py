"""Compaction in passes: whatever a crash leaves behind, no key comes back to a value that it no longer has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from contraflow.log.embedded import EmbeddedLog
from contraflow.log.embedded.cleaning import AT_ONCE, drop, superseded
from contraflow.log.embedded.database import connect
from contraflow.log.protocol import Outgoing, Partition, Position

KEPT = Partition("kept", 0)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    async with await EmbeddedLog.open(tmp_path) as opened:
        await opened.create_topics([("kept", 1, "compact")])
        yield opened


def one_pass(folder: Path, *groups: str) -> int:
    """What a cleaner does before it crashes: one transaction, committed."""
    with closing(connect(folder / "log.sqlite3", "NORMAL")) as connection:
        return drop(connection, superseded(connection, "kept", frozenset(groups))[:AT_ONCE])


async def write(log: EmbeddedLog, *records: tuple[str, bytes | None]) -> list[int]:
    return await log.append([Outgoing(*KEPT, key, value) for key, value in records])


async def rows(log: EmbeddedLog) -> list[tuple[str, bytes | None]]:
    reader = await log.reader({KEPT: None})
    found: list[tuple[str, bytes | None]] = []
    while records := await reader.fetch(10_000, wait=0.0):
        found += [(r.key, r.value) for r in records]
    await reader.close()
    return found


async def test_a_deleted_key_stays_deleted_between_the_passes_and_leaves_nothing(
    log: EmbeddedLog, tmp_path: Path
) -> None:
    await write(log, *[("k", b"old")] * (AT_ONCE + 1000), ("k", None), ("other", b"kept"))
    passes = 0
    while one_pass(tmp_path):
        passes += 1
        assert dict(await rows(log)).get("k") is None
    assert passes > 1
    assert await rows(log) == [("other", b"kept")]


async def test_a_tombstone_waits_until_the_values_of_every_key_before_it_are_gone(
    log: EmbeddedLog, tmp_path: Path
) -> None:
    await write(log, *[("k", b"old")] * AT_ONCE, ("k", None))
    assert one_pass(tmp_path) == AT_ONCE
    assert await rows(log) == [("k", None)]
    assert one_pass(tmp_path) == 1
    assert await rows(log) == []


async def test_more_tombstones_than_a_pass_removes_all_go(log: EmbeddedLog, tmp_path: Path) -> None:
    await write(log, *[(str(i), None) for i in range(AT_ONCE + 10)], ("other", b"kept"))
    assert [one_pass(tmp_path) for _ in range(3)] == [AT_ONCE, 10, 0]
    assert await rows(log) == [("other", b"kept")]


async def test_a_tombstone_that_a_group_has_still_to_read_stays(log: EmbeddedLog, tmp_path: Path) -> None:
    *_, unread = await write(log, ("k", b"old"), ("k", b"new"), ("k", None))
    producer = await log.producer("p")
    await producer.commit([], group="slow", positions={KEPT: Position(unread)})
    assert await log.clean({}, ["slow"]) == 2
    assert await rows(log) == [("k", None)]
    await producer.commit([], group="slow", positions={KEPT: Position(unread + 1)})
    assert await log.clean({}, ["slow"]) == 1
    assert await rows(log) == []


async def test_a_read_tombstone_before_an_unread_value_goes_and_the_value_stays(
    log: EmbeddedLog, tmp_path: Path
) -> None:
    *_, unread = await write(log, ("k", b"old"), ("k", None), ("k", b"back"))
    producer = await log.producer("p")
    await producer.commit([], group="slow", positions={KEPT: Position(unread)})
    assert await log.clean({}, ["slow"]) == 2
    assert await rows(log) == [("k", b"back")]


async def test_an_embedded_log_compacts_when_it_is_told_and_leaves_one_record_a_key(log: EmbeddedLog) -> None:
    for i in range(5):
        await write(log, ("a", str(i).encode()), ("b", str(i).encode()))
    await write(log, ("b", None))
    await log.clean({}, [])
    assert await rows(log) == [("a", b"4")]


async def test_what_is_written_while_a_cleaner_works_is_kept(log: EmbeddedLog, tmp_path: Path) -> None:
    await write(log, ("k", b"1"), ("k", b"2"), ("gone", b"1"), ("gone", None), ("k", b"3"))
    with closing(connect(tmp_path / "log.sqlite3", "NORMAL")) as connection:
        found = superseded(connection, "kept", frozenset())
        await write(log, ("gone", b"back"), ("k", b"4"))
        assert drop(connection, found) == 4
        assert await rows(log) == [("k", b"3"), ("gone", b"back"), ("k", b"4")]
        assert drop(connection, found) == 0, "as another cleaner would, that found the same"


async def test_retention_by_size_keeps_what_fits(log: EmbeddedLog) -> None:
    await log.create_topics([("plain", 1, "delete")])
    await log.append([Outgoing("plain", 0, f"k{i}", b"x" * 98) for i in range(10)])
    await log.clean({"plain": (None, 400)}, [])
    reader = await log.reader({Partition("plain", 0): None})
    assert [r.key for r in await reader.fetch(wait=0.0)] == ["k6", "k7", "k8", "k9"]
    await reader.close()
