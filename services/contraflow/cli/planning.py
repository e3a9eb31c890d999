"""``contraflow plan``: what a run will take, before it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from contraflow.cli.group import as_json, await_, console, main, overrides_option, quiet_libraries, runs_folder

if TYPE_CHECKING:
    from contraflow.planning.reckoning import Planned, ServerPlan

__all__ = ["plan"]


@main.command()
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option(
    "--seconds",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="How long to measure the generators on the experiment's prompts; 0 decodes nothing.",
)
@overrides_option
@runs_folder
@as_json
def plan(experiment: Path, seconds: float, overrides: tuple[str, ...], runs: Path, as_json: bool) -> None:
    """Say what a run will take: texts, tokens, hours, dollars, disk and memory, and what of that does not fit.

    It loads the models and decodes for ten seconds, as a run would; nothing is kept. A generator that is somebody's server
    may charge for those answers.
    """
    from contraflow.configuration import load_experiment
    from contraflow.planning.measuring import plan

    quiet_libraries()
    loaded = load_experiment(experiment, overrides)

    async def measure() -> Planned:
        return await plan(loaded, runs, seconds=seconds)

    found = await_(measure)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    table = Table("", "", box=None, pad_edge=False, show_header=False)
    for what, figure in _rows(found):
        table.add_row(what, escape(figure))
    console.print(f"[bold]{found.experiment}[/]", highlight=False)
    console.print(table, highlight=False)
    for warning in found.warnings:
        console.print(f"[yellow]{escape(warning)}[/]", highlight=False)


def _rows(plan: Planned) -> Iterator[tuple[str, str]]:
    from contraflow.monitor.live import duration

    yield "texts", f"{plan.texts:,} to {plan.prompts:,} prompts, until {plan.ends}"
    if plan.seconds is None:
        yield "tokens", f"at most {plan.tokens:,}"
        yield "time", "not measured (--seconds 0)"
    else:
        yield "tokens", f"{plan.tokens:,} generated"
        parts = f"decoding {duration(plan.decoding)}, embedding {duration(plan.embedding)}, if neither runs beside the other"
        yield "time", f"{duration(plan.seconds)} ({parts})"
    for name, arm in plan.arms.items():
        yield (
            name,
            f"{arm.texts_per_second:,.1f} texts/s, {arm.tokens_per_second:,.0f} tokens/s beside the other arms; an answer has "
            f"{arm.completion_tokens:,.0f} tokens, a prompt {arm.prompt_tokens:,.0f}",
        )
    for name, server in plan.servers.items():
        yield f"answers of {name}", _answers(plan, name, server)
    for tier in plan.tiers:
        leaves = "; texts leave this machine" if tier.leaves else ""
        costs = f"about ${tier.usual:,.2f} for {tier.statements} statements, at most ${tier.most:,.2f}{leaves}"
        yield f"judge {tier.tier}", costs
    if plan.tiers:
        yield "judges together", f"may spend ${plan.dollars:,.2f} (budget.dollars)"
    yield "disk", f"{plan.disk_mb:,.0f} MB with the embedding cache; {plan.disk_free_mb:,.0f} MB are free"
    if plan.memory_mb is not None:
        free = "" if plan.memory_free_mb is None else f"; {plan.memory_free_mb:,.0f} MB are free"
        yield "memory", f"{plan.memory_mb:,.0f} MB in one process{free}"
    for device, held in plan.gpu_mb.items():
        yield device, f"{held:,.0f} MB"


def _answers(plan: Planned, name: str, server: ServerPlan) -> str:
    if server.dollars is not None:
        return f"about ${server.dollars:,.2f}"
    if not server.priced:
        return f"no price is declared (arms.{name}.price: [dollars per million tokens read, written])"
    return "not known: its server tells no tokens" if name in plan.arms else "not measured (--seconds 0)"
