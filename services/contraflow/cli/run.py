"""``contraflow run``: an experiment, from its file to its findings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from contraflow.cli.group import as_json, await_, command_line, console, main, runs_folder

if TYPE_CHECKING:
    from contraflow.results import Results

__all__ = ["run", "write_the_report"]


@main.command()
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Override a value of the experiment file.")
@click.option("--new", is_flag=True, help="Start a new run although an unfinished one is there.")
@runs_folder
@as_json
def run(experiment: Path, overrides: tuple[str, ...], new: bool, runs: Path, as_json: bool) -> None:
    """Run an experiment, or resume its newest unfinished run."""
    from contraflow.configuration import load_experiment
    from contraflow.runner import execute

    _quiet_libraries()
    loaded = load_experiment(experiment, overrides)
    said = Console(stderr=True, soft_wrap=True) if as_json else console

    async def go() -> Any:
        return await execute(loaded, runs, new=new, console=said)

    outcome = await_(go)
    if outcome.results is None:
        again = command_line("run", experiment, *(word for o in overrides for word in ("--set", o)), runs=runs)
        kept = f"Drained ({escape(outcome.why)}); everything that was committed is kept."
        said.print(f"{kept} To resume: [bold]{escape(again)}[/]", emoji=False)
        sys.exit(130)
    write_the_report(outcome.results)
    if as_json:
        _print_json(outcome.results)
    else:
        _print_findings(outcome.results, runs)


def _quiet_libraries() -> None:
    import os

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    import warnings

    warnings.filterwarnings("ignore", module=r"(transformers|torch|sentence_transformers|peft)(\..*)?")


def write_the_report(results: Results) -> Path:
    """Write the HTML report of a run into its folder; returns its path."""
    from contraflow.report.page import write_report
    from contraflow.results import read_vectors

    return write_report(results, await_(read_vectors, results), results.folder.report)


def _print_findings(results: Results, runs: Path) -> None:
    from contraflow.report.console import findings_in_lines

    for lines in findings_in_lines(results):
        console.print(lines, highlight=False, emoji=False)
    run = results.folder.run
    look = "   ".join(escape(command_line(name, run, runs=runs)) for name in ("export", "topics"))
    console.print(f"Report:        {escape(str(results.folder.report))}", highlight=False, emoji=False)
    console.print(f"Look further:  {look}", highlight=False, emoji=False)


def _print_json(results: Results) -> None:
    from contraflow.report.console import warning

    if said := warning(results):
        click.echo(said, err=True)
    found = {"run": results.folder.run, "why": results.why, "report": str(results.folder.report)}
    click.echo(json.dumps({**found, "findings": results.rows("findings")}))
