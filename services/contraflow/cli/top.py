"""``contraflow top``: watch a run, from any terminal."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from contraflow.cli.group import await_, main, runs_folder
from contraflow.errors import ConfigurationError
from contraflow.runs import open_run

__all__ = ["top"]


@main.command()
@click.argument("name", metavar="RUN")
@click.option("--every", default=8.0, show_default=True, type=click.FloatRange(min=0.2), help="Seconds between looks.")
@runs_folder
def top(name: str, every: float, runs: Path) -> None:
    """Watch a run: what flows, where it is held back, what it has found. q leaves it, and it goes on."""
    try:
        from contraflow.monitor.top import Top
    except ImportError as error:
        raise ConfigurationError(
            f"contraflow top needs textual, which is not installed ({error}): pip install 'contraflow[ui]'"
        ) from error
    app = Top(open_run(runs, name), every=every)
    logging.disable()  # a library's line would tear the screen; what fails is shown in it
    try:
        await_(app.run_async)
    finally:
        logging.disable(logging.NOTSET)
