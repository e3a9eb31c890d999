"""The command line."""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contraflow.errors import ContraflowError
from contraflow.runs import RUNS, RunFolder, list_runs, open_run

if TYPE_CHECKING:
    from contraflow.results import Results

__all__ = ["main"]

T = TypeVar("T")

console = Console(soft_wrap=True)
_runs = click.option(
    "--runs",
    "runs",
    type=click.Path(path_type=Path),
    default=RUNS,
    show_default=True,
    help="The folder of runs.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _await(function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
    return anyio.run(function, *arguments)


class _Cli(click.Group):
    """Prints contraflow's own errors as they are, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ContraflowError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(2)


@click.group(cls=_Cli)
@click.version_option(package_name="contraflow")
@click.option("-v", "--verbose", is_flag=True, help="Log what the services do.")
def main(verbose: bool) -> None:
    """Find, while two language models are still generating, where they behave differently."""
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("contraflow").setLevel(logging.INFO if verbose else logging.WARNING)


@main.command()
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Override a value of the experiment file.")
@click.option("--new", is_flag=True, help="Start a new run although an unfinished one is there.")
@_runs
@_json
def run(experiment: Path, overrides: tuple[str, ...], new: bool, runs: Path, as_json: bool) -> None:
    """Run an experiment, or resume its newest unfinished run."""
    from contraflow.configuration import load_experiment
    from contraflow.runner import execute

    _quiet_libraries()
    loaded = load_experiment(experiment, overrides)
    said = Console(stderr=True, soft_wrap=True) if as_json else console

    async def go() -> Any:
        return await execute(loaded, runs, new=new, console=said)

    outcome = _await(go)
    if outcome.results is None:
        again = _command("run", experiment, *(word for o in overrides for word in ("--set", o)), runs=runs)
        kept = f"Drained ({escape(outcome.why)}); everything that was committed is kept."
        said.print(f"{kept} To resume: [bold]{escape(again)}[/]", emoji=False)
        sys.exit(130)
    _write_report(outcome.results)
    if as_json:
        _print_json(outcome.results)
    else:
        _print_findings(outcome.results, runs)


def _command(*words: str | Path, runs: Path) -> str:
    """What to type, quoted for a shell."""
    there = () if runs == RUNS else ("--runs", runs)
    return shlex.join(map(str, ("contraflow", *words, *there)))


def _quiet_libraries() -> None:
    import os

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    import warnings

    warnings.filterwarnings("ignore", module=r"(transformers|torch|sentence_transformers|peft)(\..*)?")


def _write_report(results: Results) -> Path:
    from contraflow.report.page import write_report
    from contraflow.results import read_vectors

    return write_report(results, _await(read_vectors, results), results.folder.report)


def _print_findings(results: Results, runs: Path) -> None:
    from contraflow.report.console import findings_in_lines

    for lines in findings_in_lines(results):
        console.print(lines, highlight=False, emoji=False)
    run = results.folder.run
    look = "   ".join(escape(_command(name, run, runs=runs)) for name in ("export", "topics"))
    console.print(f"Report:        {escape(str(results.folder.report))}", highlight=False, emoji=False)
    console.print(f"Look further:  {look}", highlight=False, emoji=False)


def _print_json(results: Results) -> None:
    from contraflow.report.console import warning

    if said := warning(results):
        click.echo(said, err=True)
    found = {"run": results.folder.run, "why": results.why, "report": str(results.folder.report)}
    click.echo(json.dumps({**found, "findings": results.rows("findings")}))


@main.command("runs")
@_runs
@_json
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
@_runs
def report(name: str, runs: Path) -> None:
    """Write the HTML report of a run, finished or not."""
    from contraflow.results import read_results

    written = _write_report(_await(read_results, open_run(runs, name).path))
    console.print(f"Report: {escape(str(written))}", highlight=False)


@main.command()
@click.argument("name", metavar="RUN")
@click.option("--to", "target", type=click.Path(path_type=Path), help="The folder to write to.  [default: RUN/export]")
@click.option("--format", "kind", type=click.Choice(["parquet", "jsonl"]), default="parquet", show_default=True)
@_runs
def export(name: str, target: Path | None, kind: str, runs: Path) -> None:
    """Write texts with vectors, clusters and findings for other tools."""
    from contraflow.report.export import export as write
    from contraflow.results import read_results, read_vectors

    folder = open_run(runs, name)

    async def go() -> list[Path]:
        results = await read_results(folder.path)
        vectors = await read_vectors(results)
        return write(results, vectors, target or folder.path / "export", kind=kind)

    for path in _await(go):
        console.print(str(path), highlight=False)


@main.command()
@click.argument("name", metavar="RUN")
@click.option("--seconds", default=1.0, show_default=True, help="How long to measure rates.")
@_runs
@_json
def topics(name: str, seconds: float, runs: Path, as_json: bool) -> None:
    """Show every topic of a run: records, rates, and lag by group."""
    from contraflow.monitor.topics import measure

    folder = open_run(runs, name)
    rows, lags = _await(measure, folder, seconds)
    if as_json:
        click.echo(json.dumps({"topics": rows, "groups": lags}))
        return
    table = Table("topic", box=None, pad_edge=False)
    for column in ("partitions", "records", "bytes", "records/s", "bytes/s"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    console.print(table)
    groups = Table("group", "topic", box=None, pad_edge=False)
    groups.add_column("lag", justify="right")
    for lag in lags:
        groups.add_row(lag["group"], lag["topic"], _cell(lag["lag"]))
    console.print()
    console.print(groups)


def _cell(value: str | float | None) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, str):
        return value
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


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
