"""Commands that look at runs: ``runs``, ``report``, ``export``, and at the machine: ``doctor``."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from contraflow.cli.group import as_json, await_, console, main, runs_folder
from contraflow.cli.run import write_the_report
from contraflow.runs import RunFolder, list_runs, open_run

__all__ = ["doctor", "export", "report", "runs_"]


@main.command("runs")
@runs_folder
@as_json
def runs_(runs: Path, as_json: bool) -> None:
    """List the runs."""
    rows = [
        {"run": f.run, "state": "done" if f.done else "unfinished", "started": _started(f), "why": _why(f)}
        for f in list_runs(runs)
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table("run", "state", "started", "why it stopped", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row.values())
    console.print(table if rows else f"no runs in {runs}; start one with: contraflow run examples/kitchen.yaml")


def _started(folder: RunFolder) -> str:
    journal = folder.journal()
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(journal[0]["time"])) if journal else ""


def _why(folder: RunFolder) -> str:
    stopped = [entry for entry in folder.journal() if entry["event"] == "stopped"]
    return (folder.path / "done").read_text().strip() if folder.done else stopped[-1]["why"] if stopped else ""


@main.command()
@click.argument("name", metavar="RUN")
@runs_folder
def report(name: str, runs: Path) -> None:
    """Write the HTML report of a run, finished or not."""
    from contraflow.results import read_results

    written = write_the_report(await_(read_results, open_run(runs, name).path))
    console.print(f"Report: {escape(str(written))}", highlight=False)


@main.command()
@click.argument("name", metavar="RUN")
@click.option("--to", "target", type=click.Path(path_type=Path), help="The folder to write to.  [default: RUN/export]")
@click.option("--format", "kind", type=click.Choice(["parquet", "jsonl"]), default="parquet", show_default=True)
@runs_folder
def export(name: str, target: Path | None, kind: str, runs: Path) -> None:
    """Write texts with vectors, clusters and findings for other tools."""
    from contraflow.report.export import export as write
    from contraflow.results import read_results, read_vectors

    folder = open_run(runs, name)

    async def go() -> list[Path]:
        results = await read_results(folder.path)
        vectors = await read_vectors(results)
        return write(results, vectors, target or folder.path / "export", kind=kind)

    for path in await_(go):
        console.print(str(path), highlight=False)


@main.command()
def doctor() -> None:
    """Say what this machine has, and what is missing for what."""
    from contraflow.doctor import examine

    worst = True
    for name, ok, said in examine():
        console.print(
            f"[{'green' if ok else 'yellow'}]{'ok  ' if ok else 'note'}[/] {name:<22} {escape(said)}", highlight=False
        )
        worst = worst and ok
    console.print(
        "\neverything that the demo needs is here"
        if worst
        else "\nwhat is marked `note` is needed only for what it names"
    )
