"""``contraflow clusters``: what a run's texts fall into, by themes if wanted, and how good a clustering it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from contraflow.cli.group import as_json, await_, console, main, runs_folder
from contraflow.errors import TooEarly
from contraflow.runs import open_run

if TYPE_CHECKING:
    from contraflow.report.clusters import Listed
    from contraflow.results import Results

__all__ = ["clusters"]


@main.command()
@click.argument("name", metavar="RUN")
@click.option("--themes", "what", flag_value="themes", help="Show them by themes: clusters that resemble each other.")
@click.option("--check", "what", flag_value="check", help="Hold them against k-means and HDBSCAN over all texts.")
@runs_folder
@as_json
def clusters(name: str, what: str | None, runs: Path, as_json: bool) -> None:
    """List a run's clusters: how many answers of each arm, what they are about, and what was claimed.

    --check needs scikit-learn, and takes seconds for thousands of texts.
    """
    from contraflow.report.clusters import list_clusters
    from contraflow.results import read_results

    results = await_(read_results, open_run(runs, name).path)
    rows = list_clusters(results)
    if not rows:
        raise TooEarly(
            f"{results.folder.run} has no clusters yet: they are made when its warm start is complete. Let the run go "
            "on, and try again."
        )
    show = {None: _clusters, "themes": _themes, "check": _check}[what]
    show(rows, results, as_json)


def _clusters(rows: list[Listed], results: Results, as_json: bool) -> None:
    from contraflow.report.clusters_console import clusters_table

    if as_json:
        click.echo(json.dumps([_plain(row) for row in rows]))
        return
    console.print(clusters_table(rows, results), emoji=False, soft_wrap=False)


def _plain(row: Listed) -> dict[str, Any]:
    cluster = row.cluster
    return {
        "cluster_id": cluster.cluster_id,
        "state": str(cluster.state),
        "answers": row.answers,
        "counts": cluster.counts,
        "keywords": list(cluster.keywords),
        "claims": [msgspec.to_builtins(claim) for claim in row.claims],
    }


def _themes(rows: list[Listed], results: Results, as_json: bool) -> None:
    from contraflow.report.clusters import list_themes
    from contraflow.report.clusters_console import themes_tree

    themes = list_themes(results)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(themes)))
        return
    console.print(themes_tree(themes, rows, results), highlight=False, emoji=False, soft_wrap=False)


def _check(rows: list[Listed], results: Results, as_json: bool) -> None:
    from contraflow.checking import check_run
    from contraflow.report.clusters_console import check_in_lines, check_table
    from contraflow.results import read_vectors

    check = check_run(results, await_(read_vectors, results))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(check)))
        return
    against = (
        f"{check.texts:,} texts in {check.clusters} clusters, held against a k-means of as many that sees all at once"
    )
    console.print(f"[bold]{results.folder.run}[/]: {against}\n", highlight=False)
    console.print(check_table(check))
    for line in check_in_lines(check, rows):
        console.print(line, highlight=False, emoji=False)
