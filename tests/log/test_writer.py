"""The writing thread outlives whatever a task or the disk does to it, and nobody waits for ever."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from contraflow.errors import LogError
from contraflow.log.embedded.database import connect, prepare, translate
from contraflow.log.embedded.writer import Work, Writer

WAIT = 5.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "log.sqlite3"
    with closing(connect(path, "NORMAL")) as connection:
        prepare(connection, path)
        connection.execute("CREATE TABLE numbers (number INTEGER NOT NULL, filler BLOB)")
    return path


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    with closing(Writer(path, "NORMAL", clock=lambda: 0.0, committed=lambda touched: None)) as writer:
        yield writer


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow past ``size``, as a full disk would."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


def add(number: int | None, filler: int = 0) -> Work:
    return lambda c: c.execute("INSERT INTO numbers VALUES (?, zeroblob(?))", (number, filler)).rowcount


def added_and_raised(number: int, error: Exception) -> Work:
    def work(connection: sqlite3.Connection) -> None:
        add(number)(connection)
        raise error

    return work


def together(writer: Writer, *tasks: Work) -> list[Future[Any]]:
    """Submit tasks so that one transaction takes them all."""
    go, started = Event(), Event()

    def hold(connection: sqlite3.Connection) -> None:
        started.set()
        go.wait(WAIT)

    writer.submit(hold)
    started.wait(WAIT)
    futures = [writer.submit(task) for task in tasks]
    go.set()
    return futures


def numbers(path: Path) -> list[int]:
    with closing(connect(path, "NORMAL")) as connection:
        return [row[0] for row in connection.execute("SELECT number FROM numbers ORDER BY rowid")]


@pytest.mark.parametrize("error", [ValueError("a disk full of nonsense"), UnicodeError("surrogate"), KeyError("k")])
def test_what_a_task_raises_fails_that_task_alone(writer: Writer, path: Path, error: Exception) -> None:
    before, bad, after = together(writer, add(1), added_and_raised(2, error), add(3))
    assert before.result(WAIT) == after.result(WAIT) == 1
    said = rf"log {path} failed: {type(error).__name__}: .*What was committed is kept; run the same command again"
    with pytest.raises(LogError, match=said) as caught:
        bad.result(WAIT)
    assert caught.value.__cause__ is error
    assert numbers(path) == [1, 3]


def test_a_row_that_sqlite_refuses_fails_its_task_alone(writer: Writer, path: Path) -> None:
    before, bad, after = together(writer, add(1), add(None), add(3))
    assert before.result(WAIT) == after.result(WAIT) == 1
    with pytest.raises(LogError, match="NOT NULL"):
        bad.result(WAIT)
    assert numbers(path) == [1, 3]


def test_a_task_that_breaks_the_transaction_fails_the_batch_and_the_writer_goes_on(writer: Writer, path: Path) -> None:
    first, bad, last = together(writer, add(1), lambda c: c.execute("COMMIT") and 1 / 0, add(3))
    for future in (first, bad, last):
        with pytest.raises(LogError, match="ZeroDivisionError"):
            future.result(WAIT)
    assert writer.submit(add(4)).result(WAIT) == 1


def test_a_future_cannot_be_cancelled_and_its_caller_stops_no_other(writer: Writer, path: Path) -> None:
    given_up, other = together(writer, add(1), add(2))
    assert not given_up.cancel()
    assert other.result(WAIT) == 1
    assert writer.submit(add(3)).result(WAIT) == 1
    assert numbers(path) == [1, 2, 3]


def test_a_disk_that_refuses_to_write_is_said_to_be_full_or_failing_and_the_writer_goes_on(
    writer: Writer, path: Path
) -> None:
    writer.submit(add(1)).result(WAIT)
    with (
        no_file_beyond(1 << 20),
        pytest.raises(LogError, match=r"full or failing \(disk I/O error\).*the same command"),
    ):
        writer.submit(add(2, filler=3 << 20)).result(WAIT)
    writer.submit(add(3)).result(WAIT)
    assert numbers(path) == [1, 3]


def test_a_checkpoint_that_fails_takes_no_commit_back(writer: Writer, path: Path) -> None:
    writer.submit(add(1, filler=18 << 20)).result(WAIT)  # enough that every later commit checkpoints
    with no_file_beyond(4 << 20):
        assert writer.submit(add(2, filler=100_000)).result(WAIT) == 1
    assert numbers(path) == [1, 2]


def test_a_log_that_has_been_checkpointed_once_is_not_with_every_later_commit(writer: Writer, path: Path) -> None:
    writer.submit(add(1, filler=18 << 20)).result(WAIT)
    writer.submit(add(2)).result(WAIT)
    main_file = path.read_bytes()
    writer.submit(add(3)).result(WAIT)
    assert path.read_bytes() == main_file
    assert numbers(path) == [1, 2, 3]


def test_an_unexpected_error_of_sqlite_says_what_to_do_next(tmp_path: Path) -> None:
    said = str(translate(sqlite3.OperationalError("database is locked"), tmp_path))
    assert "database is locked" in said
    assert said.endswith("What was committed is kept; run the same command again.")
