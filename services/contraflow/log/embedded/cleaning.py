"""Compaction and retention: what may go, and never before the slowest group has read it."""

from __future__ import annotations

import sqlite3

from contraflow.log.embedded.database import OFFSET_BITS

__all__ = ["clean_some", "shrink"]

_AT_ONCE = 5000


def clean_some(
    connection: sqlite3.Connection,
    topic: str,
    limits: tuple[float | None, int | None],
    groups: frozenset[str],
    now: float,
) -> int:
    """Remove up to a few thousand records of a topic; returns how many went, 0 when there is no more."""
    row = connection.execute("SELECT id, cleanup FROM topics WHERE name = ?", (topic,)).fetchone()
    gone = 0
    for partition, first, end in connection.execute(
        "SELECT id, first, next FROM partitions WHERE topic = ?", (row[0],)
    ).fetchall():
        safe = _slowest(connection, partition, end, groups)
        if row[1] == "compact":
            gone += _compact(connection, partition, safe)
        else:
            gone += _expire(connection, partition, first, safe, limits, now)
    return gone


def shrink(connection: sqlite3.Connection) -> None:
    """Give free pages back to the file system."""
    connection.execute("PRAGMA incremental_vacuum(1000)").fetchall()


def _slowest(connection: sqlite3.Connection, partition: int, end: int, groups: frozenset[str]) -> int:
    """The first offset that some group has still to read; a group reads a topic if it has a position in it."""
    rows = connection.execute("SELECT grp, offset FROM positions WHERE partition = ?", (partition,)).fetchall()
    return min((offset for group, offset in rows if group in groups), default=end)


def _compact(connection: sqlite3.Connection, partition: int, safe: int) -> int:
    gone = _drop_superseded(connection, partition, safe)
    if gone < _AT_ONCE:  # none is left, so a tombstone below ``safe`` is all that there is of its key
        gone += _drop_tombstones(connection, partition, safe, _AT_ONCE - gone)
    return gone


def _drop_superseded(connection: sqlite3.Connection, partition: int, safe: int) -> int:
    base, top = partition << OFFSET_BITS, (partition + 1) << OFFSET_BITS
    superseded = (
        "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY key ORDER BY id DESC) AS age "
        "FROM records WHERE id >= ? AND id < ?) WHERE age > 1 AND id < ? LIMIT ?"
    )
    cursor = connection.execute(f"DELETE FROM records WHERE id IN ({superseded})", (base, top, base | safe, _AT_ONCE))
    return cursor.rowcount


def _drop_tombstones(connection: sqlite3.Connection, partition: int, safe: int, most: int) -> int:
    """Only for a partition without superseded records below ``safe``: else an older value would be the newest again."""
    base = partition << OFFSET_BITS
    tombstones = "SELECT id FROM records WHERE id >= ? AND id < ? AND value IS NULL LIMIT ?"
    return connection.execute(f"DELETE FROM records WHERE id IN ({tombstones})", (base, base | safe, most)).rowcount


def _expire(
    connection: sqlite3.Connection,
    partition: int,
    first: int,
    safe: int,
    limits: tuple[float | None, int | None],
    now: float,
) -> int:
    age, size = limits
    if age is None and size is None:
        return 0
    base, top = partition << OFFSET_BITS, (partition + 1) << OFFSET_BITS
    rows = connection.execute(
        "SELECT id, timestamp, length(value) + length(key) FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        (base | first, base | safe, _AT_ONCE),
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
