"""What was compared, in words: the rows that the terminal and the page show alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from contraflow.monitor.live import duration
from sides.scoring import Compared, Side

__all__ = ["Goal", "Row", "goals", "print_table", "rows"]


class Row(NamedTuple):
    """A figure of each way, in the order of the ways; ``part`` is a part of the row above."""

    name: str
    values: tuple[str, ...]
    part: bool = False


class Goal(NamedTuple):
    """What was aimed at, what came out, and whether it is reached."""

    name: str
    aim: str
    value: str
    reached: bool


def goals(compared: Compared) -> list[Goal]:
    """The goals that stood before anything was measured."""
    texts, seconds, dollars = (compared.ratio(figure) for figure in ("texts", "seconds", "dollars"))
    missed, batch = compared.missed, compared.sides["batch"].found
    return [
        Goal("texts", "a tenth of batch", _times(texts, "fewer"), texts >= 10),
        Goal("time", "10 x faster than batch", _times(seconds, "faster"), seconds >= 10),
        Goal("dollars for judges", "a tenth of batch", _times(dollars, "cheaper"), dollars >= 10),
        Goal(
            "what batch found of the planted",
            "none missed",
            f"{len(missed)} of {len(batch)} missed" if missed else f"all {len(batch)} found",
            not missed,
        ),
    ]


def _times(ratio: float, how: str) -> str:
    return "none spent" if ratio == float("inf") else f"{ratio:.1f} x {how}"


def rows(compared: Compared) -> list[Row]:
    """Every figure."""
    sides, ceiling, planted = list(compared.sides.values()), compared.ceiling, len(compared.stored.shown)

    def row(name: str, show: Callable[[Side], str], *, part: bool = False) -> Row:
        return Row(name, tuple(show(side) for side in sides), part)

    stages = dict.fromkeys(stage for side in sides for stage in side.usage.stages)
    busy = dict.fromkeys(stage for side in sides for stage in side.usage.busy)
    tiers = dict.fromkeys(tier for side in sides for tier in side.bill.calls)
    return [
        row("texts", lambda s: f"{s.usage.texts:,}"),
        row("time", lambda s: duration(s.seconds)),
        row("decoding, assumed", lambda s: duration(s.decoding), part=True),
        *(row(f"{stage}, measured", _stage(stage), part=True) for stage in stages),
        row("processor seconds", lambda s: f"{s.usage.cpu:.1f}"),
        *(row(stage, _busy(stage), part=True) for stage in busy),
        row("peak memory", lambda s: f"{s.usage.memory:,.0f} MB"),
        row("dollars for judges", lambda s: f"${s.bill.dollars:.2f}"),
        *(row(f"{tier} calls", _calls(tier), part=True) for tier in tiers),
        row("without free tiers", lambda s: f"${s.paid_alone.dollars:.2f}", part=True),
        row("statements accepted", _settled("accepted"), part=True),
        row("rejected", _settled("rejected"), part=True),
        row("undecided", _settled("undecided"), part=True),
        row("planted findings found", lambda s: f"{len(s.found)} of {planted}"),
        row("claims", lambda s: str(len(s.findings)), part=True),
        row("of no plant, confirmed", lambda s: str(s.confirmed), part=True),
        row("false findings", lambda s: str(s.false)),
        row("clusters", lambda s: str(s.usage.clusters)),
        row("EV (of the ceiling)", lambda s: f"{s.quality.ev:.3f} ({s.quality.ev / ceiling.ev:.3f})"),
        row("NMI (of the ceiling)", lambda s: f"{s.quality.nmi:.3f} ({s.quality.nmi / ceiling.nmi:.3f})"),
        row("silhouette", lambda s: f"{s.quality.silhouette:.3f}"),
    ]


def _stage(stage: str) -> Callable[[Side], str]:
    return lambda side: f"{side.usage.stages[stage]:.1f} s" if stage in side.usage.stages else "-"


def _settled(status: str) -> Callable[[Side], str]:
    return lambda side: str(getattr(side.bill, status)) if side.name == "contraflow" else "-"


def _busy(stage: str) -> Callable[[Side], str]:
    return lambda side: f"{side.usage.busy[stage]:.1f}" if stage in side.usage.busy else "-"


def _calls(tier: str) -> Callable[[Side], str]:
    return lambda side: f"{side.bill.calls.get(tier, 0):,}"


def print_table(compared: Compared, console: Console) -> None:
    """The figures, who found which plant, and the goals."""
    table = Table("", *compared.sides, box=None, title=f"{compared.stored.spec.texts:,} texts, {compared.embedder}")
    for row in rows(compared):
        table.add_row(("  " if row.part else "") + row.name, *row.values)
    table.add_section()
    for plant in compared.stored.shown:
        claims = (str(side.found.get(plant, 0) or "-") for side in compared.sides.values())
        table.add_row(f"claims of {plant}", *claims)
    console.print(table)
    for goal in goals(compared):
        console.print(f"{'reached' if goal.reached else 'MISSED':8} {goal.name}: {goal.value} (goal: {goal.aim})")
