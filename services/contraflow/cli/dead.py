"""``contraflow dead``: the records that could not be processed: which, why, and once more."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from contraflow.cli.group import as_json, await_, cell, command_line, console, main, runs_folder
from contraflow.log.opening import open_log
from contraflow.monitor.letters import Letter, dead_topics, find_topic, read_letters
from contraflow.report.console import printable
from contraflow.runs import open_run

__all__ = ["dead"]

_BYTES = 400
"""Bytes that are shown of a record that cannot be decoded."""


@main.group()
def dead() -> None:
    """Look at the records that could not be processed, and give those of consumers to them once more."""


@dead.command("list")
@click.argument("name", metavar="RUN")
@runs_folder
@as_json
def list_(name: str, runs: Path, as_json: bool) -> None:
    """Show how many there are, by topic, whose they are, and the newest error."""
    folder = open_run(runs, name)

    async def go() -> list[dict[str, Any]]:
        async with open_log(folder) as log:
            return [asdict(row) for row in await dead_topics(log, folder.run)]

    rows = await_(go)
    if as_json:
        click.echo(json.dumps(rows))
        return
    if not rows:
        console.print(f"{folder.run} has no dead letters", highlight=False)
        return
    table = Table("topic", "of", "records", "replayed", "newest", "its error", box=None, pad_edge=False)
    for row in rows:
        counts = (cell(row["records"]), cell(row["replayed"]))
        table.add_row(row["topic"], row["service"], *counts, _when(row["timestamp"]), escape(printable(row["error"])))
    console.print(table)
    console.print(f"\nOne by one: {command_line('dead', 'show', folder.run, 'TOPIC', runs=runs)}", highlight=False)


@dead.command()
@click.argument("name", metavar="RUN")
@click.argument("topic")
@click.option("--offset", type=click.IntRange(min=0), help="Only the record at this offset.")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(min=1), help="How many of the newest.")
@runs_folder
@as_json
def show(name: str, topic: str, offset: int | None, limit: int, runs: Path, as_json: bool) -> None:
    """Show dead letters of TOPIC: where each came from, why it is dead, and what is in it."""
    folder = open_run(runs, name)

    async def go() -> list[Letter]:
        async with open_log(folder) as log:
            found = await find_topic(log, folder.run, topic)
            return await read_letters(log, folder.run, found, most=limit, offset=offset)

    letters = await_(go)
    if as_json:
        click.echo(json.dumps([_row(letter) for letter in letters]))
        return
    for letter in letters:
        click.echo("\n".join(printable(line) for line in _lines(letter)) + "\n")


@dead.command()
@click.argument("name", metavar="RUN")
@click.argument("topic")
@click.option("--offset", "offsets", multiple=True, type=click.IntRange(min=0), help="Only the record at this offset.")
@click.option(
    "--with", "with_", metavar="CONSUMER", help="The consumer, as module:function, if it is not an installed one."
)
@runs_folder
@as_json
def replay(name: str, topic: str, offsets: tuple[int, ...], with_: str | None, runs: Path, as_json: bool) -> None:
    """Give the dead letters of a consumer to it once more, now and here, and to nobody else.

    What was replayed is not replayed again by the same command; what fails again is a new dead letter. Those of the
    ring cannot be replayed: their pairs are closed.
    """
    from contraflow.consumers.finding import find
    from contraflow.consumers.replaying import consumer_of, replay

    folder = open_run(runs, name)

    async def found() -> str:
        async with open_log(folder) as log:
            return await find_topic(log, folder.run, topic)

    letters = await_(found)
    consumer = find(with_ or consumer_of(folder.run, letters))
    done = await_(replay, consumer, folder, letters, set(offsets) or None)
    if as_json:
        click.echo(json.dumps({"run": folder.run, "topic": letters, **asdict(done)}))
        return
    click.echo(
        f"{done.replayed:,} given to {consumer.name}, {done.written:,} events written, {done.dead:,} dead again; "
        + ("those are not given again by another replay" if done.replayed else "what was asked for was replayed before")
    )


def _when(timestamp: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timestamp / 1000))


def _row(letter: Letter) -> dict[str, Any]:
    record = letter.record
    return {
        "topic": letter.topic,
        "offset": letter.offset,
        "timestamp": letter.timestamp,
        "origin": {"topic": record.topic, "partition": record.partition, "offset": record.offset},
        "key": record.key,
        "error": letter.error,
        "schema": letter.schema,
        "event": None if letter.event is None else msgspec.to_builtins(letter.event),
        "unreadable": letter.unreadable,
        "value": None if record.value is None else base64.b64encode(record.value).decode(),
    }


def _lines(letter: Letter) -> list[str]:
    record = letter.record
    lines = [
        f"{letter.topic} offset {letter.offset}, {_when(letter.timestamp)}",
        f"  from   {record.topic} {record.partition}, offset {record.offset}, key {record.key}",
        f"  error  {letter.error}",
    ]
    if letter.event is None:
        value = record.value or b""
        cut = f" and {len(value) - _BYTES:,} bytes more" if len(value) > _BYTES else ""
        return [*lines, f"  value  cannot be read: {letter.unreadable}", f"         {value[:_BYTES]!r}{cut}"]
    shown = json.dumps(_shown(msgspec.to_builtins(letter.event, builtin_types=(bytes,))), indent=2, ensure_ascii=False)
    return [*lines, f"  {letter.schema}", *(f"  {line}" for line in shown.splitlines())]


def _shown(event: dict[str, Any]) -> dict[str, Any]:
    """Vectors say nothing to a reader."""
    return {k: f"{len(v):,} bytes" if isinstance(v, bytes) else v for k, v in event.items()}
