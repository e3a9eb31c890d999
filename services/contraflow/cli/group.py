"""``contraflow`` itself, and what every command shares."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import anyio
import click
from rich.console import Console

from contraflow.errors import ContraflowError
from contraflow.runs import RUNS

__all__ = ["as_json", "await_", "cell", "command_line", "console", "main", "runs_folder"]

T = TypeVar("T")

console = Console(soft_wrap=True)
runs_folder = click.option(
    "--runs",
    "runs",
    type=click.Path(path_type=Path),
    default=RUNS,
    show_default=True,
    help="The folder of runs.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def await_(function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
    """Run a coroutine to its end."""
    return anyio.run(function, *arguments)


def command_line(*words: str | Path, runs: Path) -> str:
    """What to type, quoted for a shell."""
    there = () if runs == RUNS else ("--runs", runs)
    return shlex.join(map(str, ("contraflow", *words, *there)))


def cell(value: str | float | None) -> str:
    """A value in a table."""
    if value is None:
        return "unknown"
    if isinstance(value, str):
        return value
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


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
