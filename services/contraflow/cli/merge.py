"""``contraflow merge``: a checkpoint with an arm's adapter in its weights."""

from __future__ import annotations

from pathlib import Path

import click

from contraflow.cli.group import main, overrides_option, quiet_libraries

__all__ = ["merge"]

_WHY = (
    "Why merge: vLLM keeps an adapter apart and adds what it says in every step, for every text beside it, too. On a GPU "
    "that costs little; on a CPU it was measured to take five times as long. Merged weights run at full speed, and cost "
    "{size:.1f} GB of disk and an engine of their own."
)


@main.command()
@click.argument("experiment", type=click.Path(path_type=Path))
@click.argument("arm")
@click.argument("folder", type=click.Path(path_type=Path))
@overrides_option
def merge(experiment: Path, arm: str, folder: Path, overrides: tuple[str, ...]) -> None:
    """Write the model of an ARM with its adapter merged into FOLDER, as safetensors."""
    from contraflow.configuration import load_experiment
    from contraflow.decoder.transformers.merging import merge_arm

    quiet_libraries()
    size = merge_arm(load_experiment(experiment, overrides), arm, folder)
    click.echo(_WHY.format(size=size / 1e9))
    click.echo(f"Next: in {experiment} write {arm}: {{model: {folder.resolve()}}}, without lora")
