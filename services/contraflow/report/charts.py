"""The report's charts, as Plotly figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from contraflow.report.palette import ARMS, CLAIMED, FAINT, GRID, INK
from contraflow.results import Finding, Results

__all__ = ["effects", "evidence", "space", "spent"]

HOVER = 90


def _figure(height: int) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 52, "r": 16, "t": 12, "b": 44},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "inherit", "size": 13, "color": INK},
        legend={"orientation": "h", "y": 1.08, "x": 0},
        hoverlabel={"align": "left"},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    return figure


def evidence(results: Results) -> go.Figure:
    """Log E of every hypothesis over the pairs; claimed ones stand out and end at their claim."""
    claims = {(c.cluster_id, c.arm): c for c in (results.regions.claims if results.regions else ())}
    paths: dict[tuple[int, str], list[tuple[int, float]]] = {}
    for point in results.evidence:
        paths.setdefault((point.cluster_id, point.arm), [(0, 0.0)]).append((point.seq, point.log_e / np.log(10)))
    figure = _figure(360)
    for key, path in sorted(paths.items(), key=lambda item: item[0] in claims):
        claim = claims.get(key)
        shown = path
        if claim:
            shown = [p for p in path if p[0] < claim.claimed_at] + [(claim.claimed_at, claim.log_e / np.log(10))]
        figure.add_scatter(
            x=[p[0] for p in shown],
            y=[p[1] for p in shown],
            mode="lines",
            line={"color": CLAIMED if claim else FAINT, "width": 2.2 if claim else 1},
            name=f"cluster {key[0]}, {key[1]}",
            showlegend=False,
        )
        if claim:
            figure.add_scatter(
                x=[shown[-1][0]],
                y=[shown[-1][1]],
                mode="markers",
                marker={"color": CLAIMED, "size": 9},
                name=f"cluster {key[0]} claimed",
                showlegend=False,
            )
    figure.update_xaxes(title="pairs asked")
    figure.update_yaxes(title="evidence (log10 E)")
    return figure


def effects(results: Results, findings: Sequence[Finding]) -> go.Figure:
    """The difference in share of each claimed cluster with its bounds, on uniformly asked pairs."""
    shown = [f for f in findings if f.comparison.effect is not None][:25][::-1]
    figure = _figure(90 + 34 * len(shown))
    names = [f"cluster {f.claim.cluster_id} · {f.claim.arm}" for f in shown]
    found = [f.comparison.effect for f in shown if f.comparison.effect is not None]
    figure.add_scatter(
        x=[100 * e.difference for e in found],
        y=names,
        mode="markers",
        marker={"color": CLAIMED, "size": 10},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [100 * (e.difference_high - e.difference) for e in found],
            "arrayminus": [100 * (e.difference - e.difference_low) for e in found],
            "color": INK,
            "thickness": 1.2,
        },
        showlegend=False,
    )
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    figure.update_xaxes(title=f"share of the answers, arm minus {results.reference} (points)")
    figure.update_layout(margin={"l": 150})
    return figure


def space(results: Results, points: NDArray[np.float32], labels: Sequence[tuple[str, str, int]]) -> go.Figure:
    """Answers in the two main directions of the space; ``labels`` gives arm, text and cluster of each point."""
    centred = points - points.mean(axis=0)
    # of dim x dim: decomposing the points themselves took longer than a run of 8,000 texts where cores were busy
    _, axes = np.linalg.eigh(centred.T @ centred)
    flat = centred @ axes[:, :-3:-1]
    claimed = {c.cluster_id for c in (results.regions.claims if results.regions else ())}
    figure = _figure(520)
    for number, arm in enumerate(results.arms):
        for inside in (False, True):
            rows = [i for i, (a, _, c) in enumerate(labels) if a == arm and (c in claimed) is inside]
            if not rows:
                continue
            figure.add_scatter(
                x=flat[rows, 0],
                y=flat[rows, 1],
                mode="markers",
                marker={
                    "color": ARMS[number % len(ARMS)],
                    "size": 7 if inside else 5,
                    "opacity": 0.85 if inside else 0.3,
                },
                text=[_short(labels[i][1], labels[i][2]) for i in rows],
                hoverinfo="text",
                name=f"{arm}, in a claimed cluster" if inside else arm,
            )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def _short(text: str, cluster: int) -> str:
    flat = " ".join(text.split())[:HOVER].replace("<", "&lt;").replace(">", "&gt;")
    return f"cluster {cluster}: {flat}"


def spent(results: Results) -> go.Figure:
    """Why requests were asked, epoch by epoch."""
    figure = _figure(280)
    origins = ["explore", "scan", "steer", "confirm", "probe"]
    ends = [s.last_seq for s in results.steering if s.last_seq >= s.first_seq]
    for origin, colour in zip(origins, ARMS, strict=False):
        counts = [s.shares.get(origin, 0) for s in results.steering if s.last_seq >= s.first_seq]
        if any(counts):
            figure.add_bar(x=ends, y=counts, name=origin, marker={"color": colour})
    figure.update_layout(barmode="stack", bargap=0.1)
    figure.update_xaxes(title="pairs asked")
    figure.update_yaxes(title="requests in the epoch")
    return figure
