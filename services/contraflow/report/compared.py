"""Two runs side by side, for a terminal of 80 columns. Model texts are untrusted: they are printed as plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from contraflow.comparing.records import Absent, Cost, Found, Nearest, RunComparison, Stable
from contraflow.report.console import COLOURS, counted, printable, time_of_running

__all__ = ["comparison_in_parts"]


def comparison_in_parts(compared: RunComparison) -> Iterator[RenderableType]:
    """The comparison, one thing to print after the other."""
    first, second = compared.first, compared.second
    yield Text(f"\n{first.run} and {second.run}: {_counts(compared)}\n", style="bold")
    yield _costs(first, second)
    yield from _warnings(first, second)
    yield from _settings(compared)
    if first.claims and second.claims:
        yield Text(f"\n{_matched_by(compared)}", style="dim")
    yield from _section(
        f"In both: {len(compared.stable)}", "", [_stable(one, first, second) for one in compared.stable]
    )
    yield from _section(
        f"Gone, in {first.run} alone: {len(compared.gone)}",
        f"No claim in {second.run} is no proof that it is not there: see how near it came.",
        [_absent(one, second) for one in compared.gone],
    )
    yield from _section(
        f"New, in {second.run} alone: {len(compared.new)}",
        f"No claim in {first.run} is no proof that it was not there: see how near it came.",
        [_absent(one, first) for one in compared.new],
    )
    yield from _section(
        f"Parts: {len(compared.parts)}",
        "The other run claims these too, in a finding that is matched above.",
        [_absent(one, second if one.run == first.run else first) for one in compared.parts],
    )


def _counts(compared: RunComparison) -> str:
    counts = f"{len(compared.stable)} in both, {len(compared.gone)} gone, {len(compared.new)} new"
    changed = sum(one.verdict_changed for one in compared.stable)
    return counts + (f"; {changed} with another verdict" if changed else "")


def _costs(first: Cost, second: Cost) -> Table:
    rows: list[tuple[str, Callable[[Cost], str]]] = [
        ("texts", lambda cost: f"{cost.texts:,}"),
        ("pairs", lambda cost: f"{cost.pairs:,}"),
        ("claimed differences", lambda cost: f"{cost.claims:,}"),
        ("pairs until the first claim", lambda cost: "-" if cost.first_claim is None else f"{cost.first_claim:,}"),
        ("running", lambda cost: time_of_running(cost.seconds, cost.seconds_whole)),
        ("judges", lambda cost: f"${cost.dollars:.2f}"),
        *([("answers", _answers)] if first.answers is not None or second.answers is not None else []),
        ("stopped by", lambda cost: printable(cost.why) or "unfinished"),
    ]
    table = Table("", first.run, second.run, box=None, pad_edge=False, header_style="bold")
    for column in table.columns[1:]:
        column.justify, column.overflow = "right", "fold"
    for name, show in rows:
        table.add_row(name, Text(show(first)), Text(show(second)))
    return table


def _answers(cost: Cost) -> str:
    if cost.answers is None:
        return "-"
    return f"${cost.answers:.2f}" + ("" if cost.answers_whole else ", without those of unknown price")


def _warnings(first: Cost, second: Cost) -> Iterator[Text]:
    for cost in (first, second):
        said = []
        if not cost.why:
            said.append("is unfinished: this is where it stands")
        if not cost.claims:
            said.append(f"has claimed no difference yet, in {cost.pairs:,} pairs")
        if cost.failing:
            counts = ", ".join(f"{count:,} of {arm}" for arm, count in cost.failing.items())
            said.append(f"had failed requests, which may explain its claims: {counts}")
        yield from (Text(f"{cost.run} {what}.", style="yellow") for what in said)


def _settings(compared: RunComparison) -> Iterator[RenderableType]:
    yield Text(f"\nConfiguration{'' if compared.settings else ': no difference'}", style="bold")
    table = Table.grid(padding=(0, 2))
    for one in compared.settings:
        table.add_row("", Text(one.key), Text(f"{printable(one.first)} -> {printable(one.second)}", overflow="fold"))
    if compared.settings:
        yield table


def _matched_by(compared: RunComparison) -> str:
    texts = f"their texts' vectors ({compared.encoder})" if compared.encoder else "their texts' words (other encoders)"
    arms = [f"; arm {mine} with {theirs}" for mine, theirs in compared.arms.items() if mine != theirs]
    sides = (compared.first, compared.arms.keys()), (compared.second, compared.arms.values())
    out = [f"; {arm} of {cost.run} left out" for cost, known in sides for arm in cost.arms if arm not in known]
    common = f"the {compared.common_prompts:,} prompts that both runs asked"
    return f"Findings matched by {texts} and by {common}{''.join(arms + out)}."


def _section(title: str, note: str, rows: Sequence[RenderableType]) -> Iterator[RenderableType]:
    if not rows:
        return
    yield Text(f"\n{title}", style="bold")
    if note:
        yield Text(note, style="dim")
    yield from rows


def _grid(*names: str) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=min(16, max(map(len, names))), overflow="fold")
    grid.add_column(ratio=1, overflow="fold")
    return grid


def _stable(stable: Stable, first: Cost, second: Cost) -> RenderableType:
    verdict, shared = _verdict(stable.first.verdict), counted(stable.prompts, "prompt")
    if stable.verdict_changed:
        verdict += Text(" -> ") + _verdict(stable.second.verdict)
    grid = _grid(first.run, second.run)
    grid.add_row()
    grid.add_row("", verdict + Text(f"   alike {stable.score:.2f}, on {shared} in both", style="dim"))
    for cost, found in ((first, stable.first), (second, stable.second)):
        grid.add_row(Text(cost.run, style="bold"), Text(printable(found.statement)))
        grid.add_row("", _evidence(found))
    return grid


def _absent(absent: Absent, other: Cost) -> RenderableType:
    grid = _grid("undecided")
    grid.add_row()
    grid.add_row(_verdict(absent.finding.verdict), Text(printable(absent.finding.statement)))
    grid.add_row("", _evidence(absent.finding))
    grid.add_row("", Text(f"{other.run}: {_near(absent.nearest, absent.asked)}", style="dim"))
    return grid


def _verdict(verdict: str) -> Text:
    return Text(verdict, style=COLOURS.get(verdict, "yellow"))


def _evidence(found: Found) -> Text:
    said = [f"{found.s:,} of {found.n:,} discordant pairs (log E {found.log_e:.1f})"]
    if found.effect is not None:
        low, high = 100 * found.effect.difference_low, 100 * found.effect.difference_high
        said.append(f"{low:+.1f} to {high:+.1f} points")
    said.append("generalises" if found.generalises else "on its prompts")
    return Text("   ".join(said))


def _near(nearest: Nearest | None, asked: int) -> str:
    times = f"its prompts were asked {counted(asked, 'time')}" if asked else "its prompts were never asked"
    if nearest is None:
        return f"no cluster is like it; {times}"
    if nearest.claim == "same":
        return f"cluster {nearest.cluster_id} has it ({nearest.s:,} of {nearest.n:,}, alike {nearest.score:.2f})"
    seen = f"cluster {nearest.cluster_id}, {nearest.s:,} of {nearest.n:,} discordant pairs"
    if nearest.claim == "reversed":
        return f"claims the reverse ({seen}); {times}"
    return f"nearest is {seen}, log E {nearest.log_e:.1f} of the {nearest.needed:.1f} that a claim takes; {times}"
