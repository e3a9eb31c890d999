"""Commands that look at what flows: ``topics`` and ``schemas``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from contraflow.cli.group import as_json, await_, cell, console, main, runs_folder
from contraflow.runs import open_run

__all__ = ["schemas", "topics"]

_TOPICS = {
    "partitions": "partitions",
    "records": "records",
    "bytes": "bytes",
    "records_s": "records/s",
    "bytes_s": "bytes/s",
    "read_s": "read/s",
}
_GROUPS = {"records": "processed", "records_s": "records/s", "lag": "lag", "lag_s": "oldest, s"}


@main.command()
@click.argument("name", metavar="RUN")
@click.option("--seconds", default=1.0, show_default=True, help="How long to measure rates.")
@runs_folder
@as_json
def topics(name: str, seconds: float, runs: Path, as_json: bool) -> None:
    """Show every topic of a run: records and rates, and how far each group is behind, in records and seconds."""
    from contraflow.monitor.topics import measure

    found = await_(measure, open_run(runs, name), seconds)
    if as_json:
        click.echo(json.dumps(found))
        return
    _print(found["topics"], ["topic"], _TOPICS)
    console.print()
    _print(found["groups"], ["group", "topic"], _GROUPS)


def _print(rows: list[dict[str, Any]], names: Sequence[str], figures: Mapping[str, str]) -> None:
    table = Table(*names, box=None, pad_edge=False)
    for column in figures.values():
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(cell(row[key]) for key in (*names, *figures)))
    console.print(table)


@main.command()
@click.option("--write", "target", type=click.Path(path_type=Path), help="Write the schemas into this folder.")
def schemas(target: Path | None) -> None:
    """List the events on the topics, or write their JSON Schemas and examples."""
    from contraflow.events import tag_of
    from contraflow.schema_export import write_schemas
    from contraflow.topics import TOPICS

    if target is not None:
        write_schemas(target)
        console.print(f"wrote {target}", highlight=False)
        return
    table = Table("topic", "event", "key", "kept", "what", box=None, pad_edge=False)
    for spec in TOPICS.values():
        table.add_row(spec.name, tag_of(spec.event) if spec.event else "-", spec.key, spec.cleanup, spec.description)
    console.print(table)
