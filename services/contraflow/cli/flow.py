"""Commands that look at what flows: ``topics`` and ``schemas``."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.table import Table

from contraflow.cli.group import as_json, await_, cell, console, main, runs_folder
from contraflow.runs import open_run

__all__ = ["schemas", "topics"]


@main.command()
@click.argument("name", metavar="RUN")
@click.option("--seconds", default=1.0, show_default=True, help="How long to measure rates.")
@runs_folder
@as_json
def topics(name: str, seconds: float, runs: Path, as_json: bool) -> None:
    """Show every topic of a run: records, rates, and lag by group."""
    from contraflow.monitor.topics import measure

    folder = open_run(runs, name)
    rows, lags = await_(measure, folder, seconds)
    if as_json:
        click.echo(json.dumps({"topics": rows, "groups": lags}))
        return
    table = Table("topic", box=None, pad_edge=False)
    for column in ("partitions", "records", "bytes", "records/s", "bytes/s"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*map(cell, row.values()))
    console.print(table)
    groups = Table("group", "topic", box=None, pad_edge=False)
    groups.add_column("lag", justify="right")
    for lag in lags:
        groups.add_row(lag["group"], lag["topic"], cell(lag["lag"]))
    console.print()
    console.print(groups)


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
