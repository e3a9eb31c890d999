"""Shows a run's progress: a live panel in a terminal, else a plain line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import anyio
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from contraflow.events import Criterion
from contraflow.monitor.enough import in_words
from contraflow.monitor.progress import Follower, Standing

__all__ = ["duration", "enough", "line", "spent", "watch"]


async def watch(follower: Follower, console: Console, *, name: str, every: float = 5.0) -> None:
    """Show progress until cancelled."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            await _look(follower, lambda s: live.update(_panel(name, s)), 0.5)
    else:
        await _look(follower, lambda s: console.print(f"{name}  {line(s)}", highlight=False, soft_wrap=True), every)


async def _look(follower: Follower, show: Callable[[Standing], None], every: float) -> None:
    while True:
        await anyio.sleep(every)
        show(await follower.look(time.monotonic()))


def line(standing: Standing) -> str:
    """The standing in one line."""
    texts = " ".join(f"{arm} {count}" for arm, count in standing.texts.items())
    budget = f" of {standing.budget} texts" if standing.budget else " texts"
    return (
        f"{standing.phase:<10} {texts}{budget}  {_rate(standing)}  ETA {duration(standing.eta)}  "
        f"clusters {standing.clusters} ({standing.births} born)  claims {standing.claims}"
        + (f"  spent {spent(standing.cost, standing.may_cost)}" if standing.may_cost is not None else "")
        + "".join(f"  {shown.text}" for shown in in_words(standing.criteria))
    )


def _rate(standing: Standing) -> str:
    return "-" if standing.rate is None else f"{standing.rate:.1f} texts/s"


def duration(seconds: float | None) -> str:
    """Seconds as people say them; a dash if unknown."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def spent(dollars: float, budget: float | None) -> str:
    """What was spent, of what may be; more digits of less than a dollar."""
    return f"${dollars:,.{2 if dollars >= 1 or not dollars else 4}f}" + (
        f" of ${budget:,.2f}" if budget is not None else ""
    )


def _panel(name: str, standing: Standing) -> Group:
    table = Table.grid(padding=(0, 2))
    share = max(1, standing.budget // max(1, len(standing.texts)))
    for arm, count in standing.texts.items():
        bar = ProgressBar(total=share, completed=min(count, share), width=32)
        table.add_row(
            Text(arm, style="bold"), bar, f"{count} of {share} texts" if standing.budget else f"{count} texts"
        )
    facts = Text.assemble(
        ("  phase ", "dim"),
        standing.phase,
        ("   rate ", "dim"),
        _rate(standing),
        ("   ETA ", "dim"),
        duration(standing.eta),
    )
    found = Text.assemble(
        ("  clusters ", "dim"), f"{standing.clusters}", ("   born ", "dim"), f"{standing.births}",
        ("   claims ", "dim"), (f"{standing.claims}", "bold green" if standing.claims else ""),
        ("   statements accepted ", "dim"), f"{standing.accepted}",
    )  # fmt: skip
    if standing.may_cost is not None:
        found.append("   spent ", "dim").append(spent(standing.cost, standing.may_cost))
    lines = [facts, found]
    if standing.criteria:
        lines.append(enough(standing.criteria))
    return Group(
        Text(name, style="bold cyan"), table, *lines, Text("  Ctrl-C drains and keeps everything", style="dim")
    )


def enough(criteria: Mapping[str, Criterion]) -> Text:
    """A line with every stopping criterion; those that hold are green."""
    text = Text()
    for shown in in_words(criteria):
        text.append("  ").append(shown.text, "green" if shown.holds else "")
    return text
