"""The SQLite file: its tables, its version, and how a connection is set up."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Literal

from contraflow.errors import FormatTooNew, LogError

__all__ = ["FORMAT", "Synchronous", "connect", "prepare", "translate"]

FORMAT = 2
_APPLICATION = 0x636F6E66  # "conf"
Synchronous = Literal["NORMAL", "FULL"]

_TABLES = """
CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL, cleanup TEXT NOT NULL);
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, number INTEGER NOT NULL,
    first INTEGER NOT NULL DEFAULT 0, next INTEGER NOT NULL DEFAULT 0,
    records INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, number)
);
CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL, value BLOB, headers BLOB, timestamp INTEGER NOT NULL
);
CREATE TABLE positions (
    grp TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, metadata TEXT NOT NULL, records INTEGER,
    PRIMARY KEY (grp, partition)
) WITHOUT ROWID;
CREATE TABLE owners (id TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;
"""

_FROM_1 = """
ALTER TABLE positions ADD COLUMN records INTEGER;
UPDATE positions SET records = CAST(metadata AS INTEGER), metadata = substr(metadata, instr(metadata, ':') + 1)
    WHERE instr(metadata, ':');
"""
"""In format 1 a decoder kept its count of records in its metadata, before a colon; the others kept none."""

OFFSET_BITS = 40
"""A record's rowid is its partition's id and its offset: appends go to the end of each partition's range of one B-tree."""


def connect(
    path: Path, synchronous: Synchronous, *, max_pages: int | None = None, cache_kib: int = 1000
) -> sqlite3.Connection:
    """A connection in WAL mode without implicit transactions. Readers go straight on, and need few pages again.

    :raises LogError: if the file cannot be opened.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
        if not connection.execute("PRAGMA page_count").fetchone()[0]:  # in a file that is there, the second is a write
            connection.execute("PRAGMA page_size = 8192")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        connection.execute("PRAGMA mmap_size = 268435456")
        if max_pages is not None:
            connection.execute(f"PRAGMA max_page_count = {max_pages}")
    except sqlite3.Error as error:
        raise translate(error, path) from error
    return connection


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables in a new file, or check the version of an old one.

    :raises FormatTooNew: if a newer version wrote it.
    :raises LogError: if it is something else, or damaged.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        if version == 0 and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            _execute(connection, _TABLES)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        elif version == 1 and application == _APPLICATION:
            _execute(connection, _FROM_1)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise translate(error, path) from error
    if version and application != _APPLICATION:
        raise LogError(f"{path} is a SQLite file, but not a log of contraflow; move it away or choose another folder")
    if version > FORMAT:
        raise FormatTooNew(
            f"{path} was written in log format {version}; this contraflow reads up to {FORMAT}. Use the version that "
            "wrote it, or a newer one."
        )


def _execute(connection: sqlite3.Connection, statements: str) -> None:
    """Bring the file to this format."""
    for statement in statements.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def translate(error: BaseException, path: Path) -> LogError:
    """What went wrong with the file, in words with the next step."""
    if not isinstance(error, sqlite3.Error | OSError):
        return _failed(path, f"{type(error).__name__}: {error}")
    text = str(error)
    if "full" in text or getattr(error, "errno", None) == errno.ENOSPC:
        return LogError(
            f"the disk that holds {path} is full ({text}). Nothing that was committed is lost: free some space and run "
            "the same command again."
        )
    if "disk I/O" in text:
        return LogError(
            f"the disk that holds {path} is full or failing ({text}). What was committed is kept: free some space, or "
            "look into the disk, and run the same command again."
        )
    if "not a database" in text or "malformed" in text:
        return LogError(
            f"{path} is damaged or is no log ({text}). Keep a copy, then `contraflow export` what can be read, or start "
            "another run with --new."
        )
    return _failed(path, text)


def _failed(path: Path, why: str) -> LogError:
    return LogError(f"the log {path} failed: {why}. What was committed is kept; run the same command again.")
