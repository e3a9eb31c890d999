"""``contraflow consume``: a consumer of your own over a run, beside it or afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from contraflow.cli.group import as_json, await_, main, metrics_option, runs_folder
from contraflow.runs import open_run

__all__ = ["consume"]


@main.command()
@click.argument("name", metavar="CONSUMER")
@click.option("--run", "run", required=True, help="The run that it reads, such as kitchen-1.")
@click.option(
    "--from",
    "start",
    default="beginning",
    show_default=True,
    metavar="PLACE",
    help="Where it starts if it has not read the run before: beginning, end, offset:N or a time (2026-11-25T14:00).",
)
@click.option("--replay", is_flag=True, help="Start over from there although it has read the run before.")
@click.option("--group", help="Keep a place of its own under this name, beside the one that the consumer has.")
@runs_folder
@metrics_option
@as_json
def consume(
    name: str,
    run: str,
    start: str,
    replay: bool,
    group: str | None,
    runs: Path,
    metrics: tuple[str, int] | None,
    as_json: bool,
) -> None:
    """Give a run's events to a consumer of your own.

    CONSUMER is module:function, looked for in the current folder too, or the name of an installed one. It goes on beside
    the run until the run is done and everything is read; the same command goes on where it stopped. Ctrl-C drains.
    """
    from contraflow.consumers.finding import find
    from contraflow.consumers.placing import read_start
    from contraflow.consumers.running import consume as go_on

    consumer, folder, place = find(name), open_run(runs, run), read_start(start)

    def say(what: str) -> None:
        click.echo(what, err=as_json)

    async def go() -> Any:
        return await go_on(consumer, folder, start=place, replay=replay, group=group, metrics=metrics, say=say)

    done = await_(go)
    if as_json:
        counts = {"read": done.read, "written": done.written, "dead": done.dead}
        click.echo(json.dumps({"run": folder.run, "consumer": consumer.name, **counts, "why": done.why}))
    else:
        click.echo(
            f"{done.read:,} events read, {done.written:,} written, {done.dead:,} to the dead letters ({done.why})"
        )
