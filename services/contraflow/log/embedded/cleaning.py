"""Compaction and retention: what may go, and never before the slowest group has read it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from contraflow.log.embedded.database import OFFSET_BITS

__all__ = ["AT_ONCE", "drop", "expire_some", "shrink", "superseded"]

AT_ONCE = 2000
"""Records that one transaction removes: other writers want their turn."""


def superseded(connection: sqlite3.Connection, topic: str, groups: frozenset[str]) -> list[int]:
    """The rows of a compacted topic that may go, in this order: those with a newer of their key, then tombstones.

    They may go whatever is written meanwhile. No tombstone goes before every value of its key: an older one would be the
    newest again.
    """
    values: list[int] = []
    tombstones: list[int] = []
    for partition, _, end in _partitions(connection, topic):
        base, top = partition << OFFSET_BITS, (partition + 1) << OFFSET_BITS
        read = base | _slowest(connection, partition, end, groups)
        newest: set[str] = set()
        for row, key, deleted in connection.execute(
            "SELECT id, key, value IS NULL FROM records WHERE id >= ? AND id < ? ORDER BY id DESC", (base, top)
        ):
            if row < read and key in newest:
                values.append(row)
            elif row < read and deleted:
                tombstones.append(row)
            newest.add(key)
    return values + tombstones


def drop(connection: sqlite3.Connection, rows: Sequence[int]) -> int:
    """Remove these rows; returns how many were there."""
    return connection.executemany("DELETE FROM records WHERE id = ?", [(row,) for row in rows]).rowcount


def expire_some(
    connection: sqlite3.Connection,
    topic: str,
    limits: tuple[float | None, int | None],
    groups: frozenset[str],
    now: float,
) -> int:
    """Remove the oldest records beyond ``limits`` of age (seconds) and size (bytes); how many went, 0 when none is left."""
    return sum(
        _expire(connection, partition, first, _slowest(connection, partition, end, groups), limits, now)
        for partition, first, end in _partitions(connection, topic)
    )


def shrink(connection: sqlite3.Connection) -> None:
    """Give free pages back to the file system."""
    connection.execute("PRAGMA incremental_vacuum(1000)").fetchall()


def _partitions(connection: sqlite3.Connection, topic: str) -> list[tuple[int, int, int]]:
    """The number in the file, the first offset and the end of each partition."""
    return connection.execute(
        "SELECT p.id, p.first, p.next FROM partitions p JOIN topics t ON t.id = p.topic WHERE t.name = ?", (topic,)
    ).fetchall()


def _slowest(connection: sqlite3.Connection, partition: int, end: int, groups: frozenset[str]) -> int:
    """The first offset that some group has still to read; a group reads a topic if it has a position in it."""
    rows = connection.execute("SELECT grp, offset FROM positions WHERE partition = ?", (partition,)).fetchall()
    return min((offset for group, offset in rows if group in groups), default=end)


def _expire(
    connection: sqlite3.Connection,
    partition: int,
    first: int,
    safe: int,
    limits: tuple[float | None, int | None],
    now: float,
) -> int:
    age, size = limits
    base, top = partition << OFFSET_BITS, (partition + 1) << OFFSET_BITS
    rows = connection.execute(
        "SELECT id, timestamp, length(value) + length(key) FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        (base | first, base | safe, AT_ONCE),
    ).fetchall()
    kept = 0
    if size is not None:  # which reads all that there is
        (kept,) = connection.execute(
            "SELECT coalesce(sum(length(value) + length(key)), 0) FROM records WHERE id >= ? AND id < ?", (base, top)
        ).fetchone()
    last = None
    for record, timestamp, length in rows:
        too_old = age is not None and timestamp < (now - age) * 1000
        too_much = size is not None and kept > size
        if not (too_old or too_much):
            break
        kept -= length or 0
        last = record
    if last is None:
        return 0
    gone = connection.execute("DELETE FROM records WHERE id >= ? AND id <= ?", (base | first, last)).rowcount
    connection.execute("UPDATE partitions SET first = ? WHERE id = ?", ((last - base) + 1, partition))
    return gone
