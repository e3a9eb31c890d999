"""``contraflow`` itself, and what every command shares."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import anyio
import click
from rich.console import Console

from contraflow.errors import ContraflowError
from contraflow.runs import RUNS
from contraflow.runtime.children import HOPELESS
from contraflow.runtime.memory import share_one_arena

__all__ = [
    "as_json",
    "await_",
    "cell",
    "command_line",
    "console",
    "main",
    "metrics_option",
    "overrides_option",
    "quiet_libraries",
    "runs_folder",
]

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
overrides_option = click.option(
    "--set", "overrides", multiple=True, metavar="A.B=C", help="Override a value of the experiment file."
)


def _address(ctx: click.Context, option: click.Parameter, value: str | None) -> tuple[str, int] | None:
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not port.isdigit() or int(port) > 65_535:
        raise click.BadParameter(f"{value!r} is no address; give a port, or a host and a port such as 127.0.0.1:9100")
    return host.strip("[]") or "127.0.0.1", int(port)


metrics_option = click.option(
    "--metrics",
    metavar="[HOST:]PORT",
    callback=_address,
    help="Serve /metrics for Prometheus, and /healthz. Without a host to this machine alone; port 0 takes a free one.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def await_(function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
    """Run a coroutine to its end."""
    return anyio.run(function, *arguments)


def command_line(*words: str | Path, runs: Path) -> str:
    """What to type, quoted for a shell: the program as it was called where the shell would not find it by name."""
    called = Path(sys.argv[0])
    program = called if called.name == "contraflow" and shutil.which("contraflow") is None else "contraflow"
    there = () if runs == RUNS else ("--runs", runs)
    return shlex.join(map(str, (program, *words, *there)))


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
            ctx.exit(HOPELESS)


@click.group(cls=_Cli)
@click.version_option(package_name="contraflow")
@click.option("-v", "--verbose", is_flag=True, help="Log what the services do.")
def main(verbose: bool) -> None:
    """Find, while two language models are still generating, where they behave differently."""
    share_one_arena()
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("contraflow").setLevel(logging.INFO if verbose else logging.WARNING)
    # what it logs as an error is raised as well, or tried again: we say it in words
    logging.getLogger("aiokafka").setLevel(logging.INFO if verbose else logging.CRITICAL)


def quiet_libraries() -> None:
    """Keep libraries' progress bars and advice out of what we print."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    warnings.filterwarnings("ignore", module=r"(transformers|torch|sentence_transformers|peft)(\..*)?")
