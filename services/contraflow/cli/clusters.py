"""``contraflow clusters``: what a run's texts fall into, by themes if wanted, and how good a clustering it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from contraflow.cli.group import as_json, await_, console, main, runs_folder
from contraflow.errors import TooEarly
from contraflow.runs import open_run

if TYPE_CHECKING:
    from contraflow.checking import Check, Missed
    from contraflow.report.clusters import Listed, Theme
    from contraflow.results import Results

__all__ = ["clusters"]

_FIGURES = {
    "explained": "explained variance, of that of k-means",
    "nmi": "NMI with k-means",
    "ari": "ARI with k-means",
    "hdbscan_nmi": "NMI with HDBSCAN, without its noise",
    "hdbscan_ari": "ARI with HDBSCAN, without its noise",
    "silhouette": "silhouette by cosine (no bar)",
}


@main.command()
@click.argument("name", metavar="RUN")
@click.option("--themes", "what", flag_value="themes", help="Show them by themes: clusters that resemble each other.")
@click.option("--check", "what", flag_value="check", help="Hold them against k-means and HDBSCAN over all texts.")
@runs_folder
@as_json
def clusters(name: str, what: str | None, runs: Path, as_json: bool) -> None:
    """List a run's clusters: how many answers of each arm, what they are about, and what was claimed.

    --check needs scikit-learn, and takes seconds for thousands of texts and minutes for 200,000.
    """
    from contraflow.report.clusters import list_clusters, list_themes
    from contraflow.results import read_results

    results = await_(read_results, open_run(runs, name).path)
    rows = list_clusters(results)
    if not rows:
        raise TooEarly(
            f"{results.folder.run} has no clusters yet: they are made when its warm start is complete. Let the run go "
            "on, and try again."
        )
    if what == "check":
        _say_check(_check(results), results.folder.run, rows, as_json)
    elif what == "themes":
        _say_themes(list_themes(results), rows, results, as_json)
    else:
        _say_clusters(rows, results, as_json)


def _check(results: Results) -> Check:
    from contraflow.checking import check_run
    from contraflow.results import read_vectors

    return check_run(results, await_(read_vectors, results))


def _say_clusters(rows: Sequence[Listed], results: Results, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([_plain(row) for row in rows]))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("cluster", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for arm in results.arms:
        table.add_column(escape(arm), justify="right", no_wrap=True)
    table.add_column("words")
    table.add_column("claimed: more often of")
    for row in rows:
        counts = (f"{row.cluster.counts.get(arm, 0):,}" for arm in results.arms)
        table.add_row(str(row.cluster.cluster_id), str(row.cluster.state), *counts, _words(row), _claimed(row, results))
    console.print(table, soft_wrap=False)


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


def _claimed(row: Listed, results: Results) -> str:
    told = (
        f"{c.arm if c.direction > 0 else results.reference} ({c.s if c.direction > 0 else c.n - c.s} of {c.n})"
        for c in row.claims
    )
    return escape(", ".join(told))


def _words(row: Listed) -> str:
    from contraflow.report.console import printable

    return escape(printable(", ".join(row.cluster.keywords[:6]))) or "-"


def _say_themes(themes: Sequence[Theme], rows: Sequence[Listed], results: Results, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(themes)))
        return
    by_id = {row.cluster.cluster_id: row for row in rows}
    tree = Tree(f"[bold]{results.folder.run}[/]: {len(themes)} themes", highlight=False)
    for theme in themes:
        _grow(tree, theme, by_id, results)
    console.print(tree, highlight=False, emoji=False, soft_wrap=False)


def _grow(tree: Tree, theme: Theme, by_id: dict[int, Listed], results: Results) -> None:
    from contraflow.report.console import printable

    words = escape(printable(", ".join(theme.keywords[:6]))) or "(no words in common)"
    claims = f"   [red]{theme.claims} claim{'s' * (theme.claims > 1)}[/]" if theme.claims else ""
    branch = tree.add(f"[bold]{words}[/]   {_counts(theme.counts, results)}{claims}")
    for part in theme.parts:
        _grow(branch, part, by_id, results)
    for cluster in () if theme.parts else theme.clusters:
        row = by_id[cluster]
        claimed = f"   [red]claimed: more often of {_claimed(row, results)}[/]" if row.claims else ""
        branch.add(f"{cluster}  {_words(row)}   {_counts(row.cluster.counts, results)}{claimed}")


def _counts(counts: dict[str, int], results: Results) -> str:
    return ", ".join(f"{escape(arm)} {counts.get(arm, 0):,}" for arm in results.arms)


def _say_check(check: Check, run: str, rows: Sequence[Listed], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(check)))
        return
    table = Table("", "this run", "k-means again", box=None, pad_edge=False)
    for key, figure in _FIGURES.items():
        values = (getattr(figures, key) for figures in (check.run, check.ceiling))
        table.add_row(figure, *("-" if value is None else f"{value:.3f}" for value in values))
    console.print(
        f"[bold]{run}[/]: {check.texts:,} texts in {check.clusters} clusters, held against a k-means of as many that sees "
        "all texts at once\n",
        highlight=False,
    )
    console.print(table)
    console.print("\nk-means again: with another seed. Nearer than that no clustering can be expected to come.")
    _say_missed(check, {row.cluster.cluster_id: row for row in rows})


def _say_missed(check: Check, by_id: dict[int, Listed]) -> None:
    in_pieces = [m for m in check.missed if m.together >= 0.5]
    missed = [m for m in check.missed if m.together < 0.5]
    on = (
        f"on a uniform sample of {check.hdbscan_texts:,} texts" if check.hdbscan_texts < check.texts else "on all texts"
    )
    console.print(
        f"\nHDBSCAN, {on}: {check.hdbscan_clusters} clusters, {check.hdbscan_noise:.0%} noise. The run has "
        f"{check.hdbscan_clusters - len(check.missed)} of them as one cluster, {len(in_pieces)} in pieces, and has not "
        f"separated {len(missed)}.",
        highlight=False,
    )
    for m in missed:
        console.print(_missed(m, by_id), highlight=False, emoji=False)


def _missed(m: Missed, by_id: dict[int, Listed]) -> str:
    from contraflow.report.console import printable

    row = by_id.get(m.cluster_id)
    there = f"likest: cluster {m.cluster_id} ({_words(row) if row else ''}), Jaccard {m.jaccard:.2f}"
    examples = "".join(f"\n      {escape(printable(text)[:160])}" for text in m.examples)
    return f"\n  {m.texts} texts; {there}{examples}"
