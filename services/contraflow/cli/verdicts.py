"""``contraflow verdicts``: what judges settled, and every answer that it was settled by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.markup import escape
from rich.table import Table

from contraflow.cli.group import as_json, await_, command_line, console, main, runs_folder
from contraflow.report.console import COLOURS, agreement, printable
from contraflow.runs import open_run

if TYPE_CHECKING:
    from contraflow.report.audit import Audited, Trial
    from contraflow.results import Results

__all__ = ["verdicts"]

_LONGEST = 160
"""Characters of a text that are shown."""


@main.group()
def verdicts() -> None:
    """Look at verdicts: which there are, and every judged pair behind one."""


def _read(name: str, runs: Path) -> Results:
    from contraflow.results import read_results

    return await_(read_results, open_run(runs, name).path)


@verdicts.command("list")
@click.argument("name", metavar="RUN")
@runs_folder
@as_json
def list_(name: str, runs: Path, as_json: bool) -> None:
    """Show every statement with its verdict, counts and cost."""
    from contraflow.report.audit import biases

    results = _read(name, runs)
    if as_json:
        click.echo(json.dumps(results.rows("verdicts")))
        return
    newest = {verdict.hypothesis_id: verdict for verdict in results.verdicts}
    if not newest:
        console.print(f"{results.folder.run} has no statement yet", highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("id", "verdict", "for it", "alike", "tiers", "cost", "statement"):
        table.add_column(name, no_wrap=True)
    for hypothesis in results.hypotheses:
        verdict = newest[hypothesis.hypothesis_id]
        status = str(verdict.status)
        table.add_row(
            hypothesis.hypothesis_id,
            f"[{COLOURS.get(status, 'yellow')}]{status}[/]",
            f"{verdict.s} of {verdict.n}",
            str(verdict.ties),
            " ".join(tier.tier for tier in verdict.tiers),
            f"${verdict.cost:.4f}",
            escape(_short(printable(hypothesis.statement), max(20, console.width - 65))),
        )
    console.print(table)
    for tier, bias in biases(results).items():
        console.print(
            f"\n{tier} prefers the first text on {bias.share:.0%} of {bias.pairs} pairs asked in both orders "
            f"({bias.low:.0%} to {bias.high:.0%}; it contradicts itself on {bias.contradicted})",
            highlight=False,
        )
    shown = command_line("verdicts", "show", results.folder.run, "ID", runs=runs)
    console.print(f"\nEvery judged pair of one: {shown}", highlight=False)


@verdicts.command()
@click.argument("name", metavar="RUN")
@click.argument("hypothesis", metavar="ID")
@runs_folder
@as_json
def show(name: str, hypothesis: str, runs: Path, as_json: bool) -> None:
    """Show the statement ID: every judged pair with the answer, the tiers, the evidence after each, and the cost."""
    from contraflow.report.audit import audit, rows

    trial = audit(_read(name, runs), hypothesis)
    if as_json:
        click.echo(json.dumps({"verdict": msgspec.to_builtins(trial.verdict), "judgments": list(rows(trial))}))
        return
    for line in _lines(trial):
        click.echo(line)


def _lines(trial: Trial) -> list[str]:
    verdict = trial.verdict
    lines = [trial.hypothesis.statement, f"written by: {trial.hypothesis.author}"]
    if verdict is not None:
        lines.append(f"{verdict.status}: {verdict.reason or 'still judging'}   ${verdict.cost:.4f}")
        lines += [
            f"tier {tier.tier}: {tier.s} of {tier.n} for it, {tier.ties} alike ({tier.unparsable} unreadable), "
            f"log E {tier.log_e:.2f}, score {tier.score:.2f}, ${tier.cost:.4f}; {agreement(tier)}"
            for tier in verdict.tiers
        ]
        if verdict.placebo_statement is not None:
            lines.append(
                f"placebo “{verdict.placebo_statement}”: preferred over it on {verdict.placebo_n - verdict.placebo_s} of "
                f"the {verdict.placebo_n} pairs where exactly one was picked, log E {verdict.placebo_log_e:.2f} "
                f"(by itself it was picked for the named arm {verdict.placebo_named} times of {verdict.placebo_answered}, with "
                f"{verdict.placebo_ties} ties: a judge that sees it nowhere is not tested by it)"
            )
        if verdict.elsewhere_n:
            lines.append(
                f"on pairs of other clusters: {verdict.elsewhere_s} of {verdict.elsewhere_n} for it (half of them says nothing)"
            )
    return [printable(line) for line in [*lines, "", *(part for answer in trial.answers for part in _answer(answer))]]


def _answer(answer: Audited) -> list[str]:
    judgment = answer.judgment
    first, second = judgment.order
    kinds = {"placebo": judgment.placebo, "in the other order": judgment.again, "elsewhere": judgment.elsewhere}
    of = next((kind for kind, it in kinds.items() if it), f"log E {answer.log_e:.2f}")
    extra = "   from the cache" if judgment.cached else ""
    return [
        f"pair {judgment.seq}  {judgment.tier}: {judgment.answer}   {of}   ${judgment.price:.4f}{extra}",
        f"  prompt  {_short(answer.prompt)}",
        f"  first   ({first}) {_short(answer.first)}",
        f"  second  ({second}) {_short(answer.second)}",
    ]


def _short(text: str, most: int = _LONGEST) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[:most] + " …"


@verdicts.command()
@click.argument("name", metavar="RUN")
@click.option(
    "--to", "target", type=click.Path(path_type=Path), help="The folder to write to.  [default: RUN/verdicts]"
)
@click.option("--format", "kind", type=click.Choice(["parquet", "jsonl"]), default="parquet", show_default=True)
@runs_folder
def export(name: str, target: Path | None, kind: str, runs: Path) -> None:
    """Write verdicts, and a row for every answer of a judge, for other tools."""
    from contraflow.report.audit import audit, rows
    from contraflow.report.export import write_table

    results = _read(name, runs)
    folder = target or results.folder.path / "verdicts"
    trials = [audit(results, hypothesis.hypothesis_id) for hypothesis in results.hypotheses]
    tables: dict[str, list[dict[str, Any]]] = {
        "verdicts": results.rows("verdicts"),
        "judgments": [row for trial in trials for row in rows(trial)],
    }
    for table, found in tables.items():
        console.print(str(write_table(found, folder, table, kind)), highlight=False)
