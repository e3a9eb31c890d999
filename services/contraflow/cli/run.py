"""``contraflow run``: an experiment, from its file to its findings."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from contraflow.cli.group import (
    as_json,
    await_,
    command_line,
    console,
    main,
    metrics_option,
    overrides_option,
    quiet_libraries,
    runs_folder,
)
from contraflow.cli.money import confirm, yes_option
from contraflow.cli.service import command_of
from contraflow.runtime.memory import collect_rarely

if TYPE_CHECKING:
    from contraflow.configuration import Loaded
    from contraflow.experiment import Arm
    from contraflow.results import Results
    from contraflow.runner import Outcome

__all__ = ["carry_out", "run", "write_the_report"]


@main.command()
@click.argument("experiment", type=click.Path(path_type=Path))
@overrides_option
@click.option("--new", is_flag=True, help="Start a new run although an unfinished one is there.")
@click.option("--kafka", metavar="HOST:PORT", help="Run on this Kafka cluster; the same as --set log.kafka=HOST:PORT.")
@click.option("--processes", is_flag=True, help="Run each service in a process of its own.")
@yes_option
@runs_folder
@metrics_option
@as_json
def run(
    experiment: Path,
    overrides: tuple[str, ...],
    new: bool,
    kafka: str | None,
    processes: bool,
    yes: bool,
    runs: Path,
    metrics: tuple[str, int] | None,
    as_json: bool,
) -> None:
    """Run an experiment, or resume its newest unfinished run.

    With --processes each service serves its metrics on a port of its own: the one that is given, and those after it.
    """
    from contraflow.configuration import load_experiment

    if kafka:
        overrides = (*overrides, f"log.kafka={kafka}")
    loaded = load_experiment(experiment, overrides)
    ports = _ports(metrics, loaded.experiment.arms) if processes else {}

    def command(service: str, run: str) -> list[str]:
        return command_of(service, experiment, run, overrides, runs, ports.get(service))

    said = Console(stderr=True, soft_wrap=True) if as_json else console
    for service, (host, port) in ports.items():
        said.print(f"metrics of {service}: {host}:{port}", highlight=False)
    apart = ("--processes",) if processes else ()
    options = [word for override in overrides for word in ("--set", override)]
    again = command_line("run", experiment, *options, *apart, runs=runs)
    how = {"command": command} if processes else {"metrics": metrics}
    carry_out(loaded, runs, again, new=new, yes=yes, as_json=as_json, **how)


def carry_out(loaded: Loaded, runs: Path, again: str, *, new: bool, yes: bool, as_json: bool, **how: Any) -> None:
    """Run an experiment to its end and print what it found, or, drained, the command to type ``again``; then exit.

    ``how`` is as ``execute`` takes it: where the services run, and where their metrics are.
    """
    from contraflow.runner import execute

    quiet_libraries()
    said = Console(stderr=True, soft_wrap=True) if as_json else console
    confirm(loaded.experiment, said, yes=yes)

    async def go() -> Outcome:
        return await execute(loaded, runs, new=new, console=said, **how)

    collect_rarely()
    outcome = await_(go)
    if outcome.results is None:
        kept = f"Drained ({escape(outcome.why)}); everything that was committed is kept."
        said.print(f"{kept} To resume: [bold]{escape(again)}[/]", emoji=False)
        sys.exit(130)
    write_the_report(outcome.results)
    if as_json:
        _print_json(outcome.results)
    else:
        _print_findings(outcome.results, runs)


def _ports(metrics: tuple[str, int] | None, arms: Mapping[str, Arm]) -> dict[str, tuple[str, int]]:
    """Each process has a port of its own: the one that was asked for, and those after it."""
    from contraflow.pipeline import processes_of

    if metrics is None:
        return {}
    host, first = metrics
    return {name: (host, first + i if first else 0) for i, name in enumerate(processes_of(arms))}


def write_the_report(results: Results) -> Path:
    """Write the HTML report of a run into its folder; returns its path."""
    from contraflow.report.page import write_report

    return write_report(results, results.folder.report)


def _print_findings(results: Results, runs: Path) -> None:
    from contraflow.llm.spending import read_spending
    from contraflow.monitor.live import spent
    from contraflow.report.console import findings_in_lines

    for lines in findings_in_lines(results):
        console.print(lines, highlight=False, emoji=False)
    run = results.folder.run
    look = "   ".join(escape(command_line(name, run, runs=runs)) for name in ("export", "topics"))
    spending = read_spending(results.folder.identity)
    if spending is not None:
        console.print(f"Spent:         {spent(spending.dollars, spending.budget)} on language models", highlight=False)
    console.print(f"Report:        {escape(str(results.folder.report))}", highlight=False, emoji=False)
    console.print(f"Look further:  {look}", highlight=False, emoji=False)


def _print_json(results: Results) -> None:
    from contraflow.report.console import warning

    if said := warning(results):
        click.echo(said, err=True)
    found = {"run": results.folder.run, "why": results.why, "report": str(results.folder.report)}
    click.echo(json.dumps({**found, "findings": results.rows("findings")}))
