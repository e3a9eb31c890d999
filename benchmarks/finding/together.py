"""Many behaviours at once: pairs until three quarters of them are claimed, and recall and precision against pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from rich.console import Console
from rich.table import Table

from contraflow.pairs import BLOCK
from contraflow.report.palette import ARMS, GRID, INK
from contraflow.sampler.rules import RuleName
from finding.single import Median, Outcome, ratio
from workers import workers
from worlds.loading import build, load_setups
from worlds.simulation import Simulation

__all__ = ["Curve", "History", "curve", "together"]

_MOST = 0.75


class History(NamedTuple):
    """Of one run: after how many pairs each plant was claimed, and each claim with whether it is true.

    ``leaks`` are claims of which most pairs show no plant, and that fresh pairs confirm.
    """

    plants: int
    claimed: tuple[int, ...]
    claims: tuple[tuple[int, bool], ...]
    looked: int
    leaks: int = 0

    @property
    def most(self) -> Outcome:
        """The pairs until three quarters of the plants were claimed, and the false claims by then."""
        wanted = math.ceil(_MOST * self.plants)
        pairs = sorted(self.claimed)[wanted - 1] if len(self.claimed) >= wanted else math.inf
        wrong = sum(not true for at, true in self.claims if at <= pairs)
        return Outcome(pairs, self.looked, wrong, 0.0)


class Curve(NamedTuple):
    """After ``pairs``: the mean share of the plants that are claimed, and the share of all claims that are true."""

    pairs: list[int]
    recall: list[float]
    precision: list[float]


def curve(histories: Sequence[History], pairs: int) -> Curve:
    """Over all runs, block by block; before there is a claim precision is 1."""
    at = list(range(0, pairs + 1, BLOCK))
    claimed = np.sort([after for history in histories for after in history.claimed])
    recall = np.searchsorted(claimed, at, "right") / sum(history.plants for history in histories)
    true, every = (
        np.searchsorted(np.sort([a for h in histories for a, right in h.claims if right or not only]), at, "right")
        for only in (True, False)
    )
    return Curve(at, recall.tolist(), np.where(every > 0, true / np.maximum(every, 1), 1.0).tolist())


def run(world: str, rule: RuleName, seed: int) -> History:
    """One run until every plant is claimed, or as long as the world's section says."""
    setup = load_setups()[world]
    done = Simulation(build(world, seed, setup.eight), rule, seed, setup.longest, setup.settings).until_claimed()
    claims = tuple((at, true) for at, true in done.judged)
    return History(len(setup.eight), tuple(done.claimed.values()), claims, done.clusterer.processed, done.leaks)


def together(
    world: str, rules: Sequence[RuleName], seeds: int, console: Console, page: Path
) -> dict[str, float | None]:
    """Every rule; prints the table, draws the curves on a page, and returns the figures."""
    plants = len(load_setups()[world].eight)
    with workers() as pool:
        histories = {rule: list(pool.map(partial(run, world, rule), range(seeds))) for rule in rules}
    console.print(_table(histories, f"{plants} behaviours at once, {seeds} seeds"))
    longest = max(history.looked for some in histories.values() for history in some)
    curves = {rule: curve(some, longest) for rule, some in histories.items()}
    page.parent.mkdir(parents=True, exist_ok=True)
    drawing(curves).write_html(page, include_plotlyjs=True)
    console.print(f"recall and precision against pairs: {page}", soft_wrap=True)
    return _figures(histories)


def _table(histories: dict[RuleName, list[History]], title: str) -> Table:
    table = Table(
        "rule", f"pairs to {_MOST:.0%}", "false claims by then", "of all claims", "leaks", box=None, title=title
    )
    for rule, some in histories.items():
        most = [history.most for history in some]
        claims = [true for history in some for _, true in history.claims]
        wrong, leaks = sum(outcome.false_claims for outcome in most), sum(history.leaks for history in some)
        table.add_row(rule, str(Median.of(most)), str(wrong), f"{claims.count(False)} of {len(claims)}", str(leaks))
    return table


def _figures(histories: dict[RuleName, list[History]]) -> dict[str, float | None]:
    most = {rule: [history.most for history in some] for rule, some in histories.items()}
    medians = {rule: Median.of(some) for rule, some in most.items()}
    first, *others = medians
    figures: dict[str, float | None] = {}
    for rule, median in medians.items():
        figures |= median.figures(f"together_{rule}_pairs")
        figures[f"together_{rule}_false"] = sum(outcome.false_claims for outcome in most[rule])
        figures[f"together_{rule}_leaks"] = sum(history.leaks for history in histories[rule])
        claims = [true for history in histories[rule] for _, true in history.claims]
        figures[f"together_{rule}_precision"] = claims.count(True) / len(claims) if claims else None
    for rule in others:
        figures |= ratio(medians[first], medians[rule], f"together_ratio_{rule}")[1]
    return figures


def drawing(curves: dict[RuleName, Curve]) -> go.Figure:
    """Recall above, precision below, a line a rule."""
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.08)
    for (rule, drawn), colour in zip(curves.items(), ARMS, strict=False):
        for row, values in enumerate((drawn.recall, drawn.precision), 1):
            line = {"color": colour, "width": 2.2}
            figure.add_scatter(
                x=drawn.pairs, y=values, mode="lines", line=line, name=rule, showlegend=row == 1, row=row, col=1
            )
    figure.update_layout(
        height=620, plot_bgcolor="rgba(0,0,0,0)", font={"color": INK}, legend={"orientation": "h", "y": 1.08}
    )
    figure.update_xaxes(gridcolor=GRID)
    figure.update_xaxes(title="pairs asked", row=2, col=1)
    figure.update_yaxes(gridcolor=GRID, range=[-0.02, 1.04])
    figure.update_yaxes(title="recall: plants claimed", row=1, col=1)
    figure.update_yaxes(title="precision: true claims", row=2, col=1)
    return figure
