"""Before the first call to a paid model: what it may cost, what leaves the machine, and whether to go on."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from contraflow.errors import ConfigurationError
from contraflow.experiment import Experiment

__all__ = ["confirm", "yes_option"]

yes_option = click.option("--yes", is_flag=True, help="Do not ask before texts are sent to a model that costs money.")


def confirm(experiment: Experiment, said: Console, *, yes: bool) -> None:
    """Say what language models may cost and read, and ask, unless ``yes`` or nothing leaves or costs.

    :raises ConfigurationError: if nobody is there to answer.
    :raises click.Abort: if the answer is no.
    """
    from contraflow.llm.estimate import STATEMENTS, estimates, hosts_of_arms

    decode = hosts_of_arms(experiment)
    for host, arms in decode.items():
        said.print(
            f"the prompts leave this machine, for {host}, which answers them as {' and '.join(arms)}. What that costs is bounded "
            f"by budget.texts and budget.tokens; budget.dollars is for judges.",
            highlight=False,
        )
    asked = [estimate for estimate in estimates(experiment) if estimate.asks]
    for estimate in asked:
        said.print(
            f"{estimate.tier} reads at most {estimate.texts} texts a statement"
            + (f"; they leave this machine, for {estimate.host}" if estimate.leaves else "")
            + f". A statement that is judged to the end costs about ${estimate.usual:,.4f}, at most ${estimate.most:,.4f}; "
            f"{STATEMENTS} of them about ${STATEMENTS * estimate.usual:,.2f}.",
            highlight=False,
        )
    if not asked and not decode:
        return
    if asked:
        total = f"All models together may spend ${experiment.budget.dollars:,.2f} (budget.dollars)."
        said.print(total, highlight=False)
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError("nobody is there to ask whether that is meant; run the command again with --yes")
    click.confirm("Go on?", abort=True, err=True)
