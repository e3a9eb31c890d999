"""A run's clusters, their themes and their check for a terminal, as rich draws them. Model texts are untrusted here too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from contraflow.checking import Check, Missed
from contraflow.report.clusters import Listed, Theme
from contraflow.report.console import counted, printable
from contraflow.results import Results

__all__ = ["check_in_lines", "check_table", "clusters_table", "themes_tree"]

_FIGURES = {
    "explained": "explained variance, of that of k-means",
    "nmi": "NMI with k-means",
    "ari": "ARI with k-means",
    "hdbscan_nmi": "NMI with HDBSCAN, without its noise",
    "hdbscan_ari": "ARI with HDBSCAN, without its noise",
    "silhouette": "silhouette by cosine (no bar)",
}
_EXAMPLE = 160


def clusters_table(rows: Sequence[Listed], results: Results) -> Table:
    """A line a cluster: its state, the answers of each arm, its words, and what was claimed of it."""
    table = Table(box=None, pad_edge=False)
    table.add_column("cluster", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for arm in results.arms:
        table.add_column(escape(arm), justify="right", no_wrap=True)
    table.add_column("words")
    table.add_column("claimed: more often of")
    for row in rows:
        cluster = row.cluster
        counts = (f"{cluster.counts.get(arm, 0):,}" for arm in results.arms)
        state, words = str(cluster.state), _words(cluster.keywords)
        table.add_row(str(cluster.cluster_id), state, *counts, words, _claimed(row, results))
    return table


def themes_tree(themes: Sequence[Theme], rows: Sequence[Listed], results: Results) -> Tree:
    """The themes, and under each its parts or its clusters."""
    tree = Tree(f"[bold]{results.folder.run}[/]: {len(themes)} themes")
    by_id = {row.cluster.cluster_id: row for row in rows}
    for theme in themes:
        _grow(tree, theme, by_id, results)
    return tree


def _grow(tree: Tree, theme: Theme, by_id: Mapping[int, Listed], results: Results) -> None:
    claims = f"   [red]{counted(theme.claims, 'claim')}[/]" if theme.claims else ""
    branch = tree.add(f"[bold]{_words(theme.keywords)}[/]   {_counts(theme.counts, results)}{claims}")
    for part in theme.parts:
        _grow(branch, part, by_id, results)
    for row in () if theme.parts else (by_id[cluster] for cluster in theme.clusters):
        counts = _counts(row.cluster.counts, results)
        claimed = f"   [red]claimed: more often of {_claimed(row, results)}[/]" if row.claims else ""
        branch.add(f"{row.cluster.cluster_id}  {_words(row.cluster.keywords)}   {counts}{claimed}")


def _words(keywords: Sequence[str]) -> str:
    return escape(printable(", ".join(keywords[:6]))) or "-"


def _counts(counts: Mapping[str, int], results: Results) -> str:
    return ", ".join(f"{escape(arm)} {counts.get(arm, 0):,}" for arm in results.arms)


def _claimed(row: Listed, results: Results) -> str:
    told = (
        f"{c.arm if c.direction > 0 else results.reference} ({c.s if c.direction > 0 else c.n - c.s} of {c.n})"
        for c in row.claims
    )
    return escape(", ".join(told))


def check_table(check: Check) -> Table:
    """The figures of the run beside those of a second k-means."""
    table = Table("", "this run", "k-means again", box=None, pad_edge=False)
    for key, figure in _FIGURES.items():
        values = (getattr(figures, key) for figures in (check.run, check.ceiling))
        table.add_row(figure, *("-" if value is None else f"{value:.3f}" for value in values))
    return table


def check_in_lines(check: Check, rows: Sequence[Listed]) -> Iterator[str]:
    """How to read the figures, what HDBSCAN found, and the examples of what the run has not separated."""
    yield "\nk-means again: with another seed. Nearer than that no clustering can be expected to come.\n"
    sampled = check.hdbscan_texts < check.texts
    on = f"on a uniform sample of {check.hdbscan_texts:,} texts" if sampled else "on all texts"
    missed = [m for m in check.missed if m.together < 0.5]
    yield (
        f"HDBSCAN, {on}: {check.hdbscan_clusters} clusters, {check.hdbscan_noise:.0%} noise. The run has "
        f"{check.hdbscan_clusters - len(check.missed)} of them as one cluster, {len(check.missed) - len(missed)} in "
        f"pieces, and has not separated {len(missed)}."
    )
    by_id = {row.cluster.cluster_id: row for row in rows}
    yield from (_missed(m, by_id) for m in missed)


def _missed(m: Missed, by_id: Mapping[int, Listed]) -> str:
    words = _words(by_id[m.cluster_id].cluster.keywords) if m.cluster_id in by_id else "just born"
    examples = "".join(f"\n      {escape(printable(text)[:_EXAMPLE])}" for text in m.examples)
    return f"\n  {m.texts} texts; likest: cluster {m.cluster_id} ({words}), Jaccard {m.jaccard:.2f}{examples}"
