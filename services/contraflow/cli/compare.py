"""``contraflow compare``: what two runs have in common, and what differs."""

from __future__ import annotations

import json
from pathlib import Path

import click
import msgspec

from contraflow.cli.group import as_json, await_, console, main, runs_folder
from contraflow.runs import open_run

__all__ = ["compare"]


@main.command()
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@runs_folder
@as_json
def compare(first: str, second: str, runs: Path, as_json: bool) -> None:
    """Compare two runs: configuration, findings, cost.

    Findings are matched one to one. What only the first has is gone, what only the second has is new.
    """
    from contraflow.comparing.reading import read_and_compare
    from contraflow.report.compared import comparison_in_parts

    compared = await_(read_and_compare, open_run(runs, first), open_run(runs, second))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(compared)))
        return
    for part in comparison_in_parts(compared):
        console.print(part, highlight=False, soft_wrap=False)
