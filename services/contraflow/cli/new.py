"""``contraflow new``: writes what one starts from."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from contraflow.cli.group import main

__all__ = ["new"]


@main.group()
def new() -> None:
    """Write what one starts from."""


@new.command("consumer")
@click.argument("name")
@click.option(
    "--in",
    "parent",
    type=click.Path(path_type=Path),
    default=Path(),
    help="The folder to write it in.  [default: here]",
)
def new_consumer(name: str, parent: Path) -> None:
    """Write the package of a consumer of your own, ready to install, to test and to run."""
    from contraflow.consumers.scaffold import scaffold

    for path in scaffold(name, parent):
        click.echo(str(path))
    click.echo(f"Next: pip install -e {_path(parent / name)}, then: contraflow consume {name} --run RUN")


def _path(folder: Path) -> str:
    """As pip takes it: a bare name would be a package of an index."""
    return shlex.quote(str(folder) if folder.is_absolute() else f"./{folder}")
