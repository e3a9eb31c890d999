"""``contraflow service``: one service of a run, for a cluster or for ``contraflow run --processes``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contraflow.cli.group import await_, main, metrics_option, overrides_option, quiet_libraries, runs_folder
from contraflow.errors import ConfigurationError, ContraflowError
from contraflow.runtime.memory import collect_rarely
from contraflow.runtime.supervisor import may_pass
from contraflow.topics import SERVICES

if TYPE_CHECKING:
    from contraflow.experiment import Experiment

__all__ = ["command_of", "service"]


@main.command()
@click.argument("name", type=click.Choice(SERVICES))
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option("--run", "run", required=True, help="The run that it serves, such as kitchen-1.")
@click.option("--arm", help="The arm that a decoder answers for.")
@click.option("--device", help="The device that it decodes on, of those that the arm names, such as cuda:1.")
@overrides_option
@runs_folder
@metrics_option
@click.option("--with-parent", is_flag=True, hidden=True, help="Drain when standard input is closed.")
def service(
    name: str,
    experiment: Path,
    run: str,
    arm: str | None,
    device: str | None,
    overrides: tuple[str, ...],
    runs: Path,
    metrics: tuple[str, int] | None,
    with_parent: bool,
) -> None:
    """Run one service of a run until the run is done.

    Each service of a run has the same experiment and the same --set options. Decoders and embedders may have replicas,
    where the log is Kafka. It exits with 0 when the run is done, when it was asked to drain, and when another copy has
    taken its place; with 2 when a restart cannot help, and with another code when it can.
    """
    from contraflow.configuration import load_experiment
    from contraflow.serving import serve

    quiet_libraries()
    loaded = load_experiment(experiment, overrides)
    known = _service(name, arm, tuple(loaded.experiment.arms))
    _check_device(loaded.experiment, arm, device)

    async def go() -> Any:
        return await serve(
            loaded, runs, run, known, with_parent=with_parent, metrics=metrics, say=click.echo, device=device
        )

    where = f" on {device}" if device else ""
    click.echo(f"{known}{where} of {run}: starts")
    collect_rarely()
    try:
        ended = await_(go)
    except ContraflowError as error:
        if not may_pass(error):
            raise
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    click.echo(f"{known} of {run}: ends ({ended})")


def _service(name: str, arm: str | None, arms: tuple[str, ...]) -> str:
    from contraflow.pipeline import decoder_of

    if name != "decoder":
        if arm is not None:
            raise ConfigurationError(f"--arm: a {name} serves every arm; leave it out")
        return name
    if arm not in arms:
        given = "is missing" if arm is None else f"{arm!r} is no arm of the experiment"
        raise ConfigurationError(f"--arm: {given}; name one of {', '.join(arms)}")
    return decoder_of(arm)


def _check_device(experiment: Experiment, arm: str | None, device: str | None) -> None:
    declared = experiment.arms[arm].devices if arm is not None else ()
    if device is not None and device not in declared:
        known = f"names {', '.join(declared)}" if declared else "names no devices"
        raise ConfigurationError(f"--device: {device!r} is not one of arms.{arm}.devices, which {known}")
    if device is None and len(declared) > 1 and experiment.log == "embedded":
        raise ConfigurationError(f"--device: missing; arm {arm!r} has a process for each of {', '.join(declared)}")


def command_of(
    service: str,
    experiment: Path,
    run: str,
    overrides: tuple[str, ...],
    runs: Path,
    metrics: tuple[str, int] | None = None,
) -> list[str]:
    """The command line of a child that runs a service, by the name that the ring knows it by."""
    name, _, rest = service.partition(" of ")
    arm, _, device = rest.partition(" on ")
    command = [sys.executable, "-m", "contraflow", "service", name, str(experiment), "--run", run, "--runs", str(runs)]
    for override in overrides:
        command += ["--set", override]
    if metrics is not None:
        command += ["--metrics", ":".join(map(str, metrics))]
    return [*command, *(["--arm", arm] if arm else []), *(["--device", device] if device else []), "--with-parent"]
