"""The parts of the screen but the ring: how far the run is, what to know about it in words, and what flows."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from contraflow.monitor.figures import age, count, per_second, rate
from contraflow.monitor.held import Held
from contraflow.monitor.live import duration, enough, spent
from contraflow.monitor.topics import GroupFlow, TopicFlow
from contraflow.monitor.watcher import View

__all__ = ["flow_lines", "progress", "words"]

_RING = ("requests", "texts", "embeddings", "assignments", "clusters", "regions", "verdicts")
_COLUMNS = {"in rec/s": 10, "in B/s": 9, "out rec/s": 11, "lag rec": 11, "oldest": 12}
"""The heads of the columns and how wide they are."""
_BAR = 20
_BEHIND, _GROWS = 10.0, 0.05
"""Who is this many seconds behind, and falls behind by this share of what comes, should be known of."""


def progress(view: View) -> Text:
    """How far the texts are; what was found and spent; and whether that is enough."""
    standing = view.standing
    made, budget = sum(standing.texts.values()), standing.budget
    text = Text()
    if budget:
        filled = min(_BAR, _BAR * made // budget)
        text.append(" " + "█" * filled, "green").append("░" * (_BAR - filled) + f" {100 * made // budget}% ")
    text.append(f" {count(made)}", "bold").append(f" of {count(budget)} texts" if budget else " texts")
    if view.state == "running":
        text.append(f"   {per_second(standing.rate)}   ETA {duration(standing.eta)}")
    text.append(f"\n {count(standing.clusters)} clusters   ")
    text.append(f"{count(standing.claims)} claims", "bold" if standing.claims else "")
    text.append(f"   {count(standing.accepted)} of {count(standing.verdicts)} statements accepted")
    text.append(f"   {spent(standing.cost, standing.may_cost)} spent")
    if standing.criteria:
        text.append("\n").append_text(enough(standing.criteria)[1:])
    return text


def words(view: View, run: str) -> Text:
    """What to know at a glance, in a sentence or two; what asks for attention begins with an exclamation mark."""
    if view.state == "not started":
        return _attention(f"{run} has not started: its topics are not there yet. This screen waits for them.")
    if view.state == "done":
        return Text(f" Done ({view.standing.why}). `contraflow report {run}` shows what it found.", "bold green")
    if view.state == "stopped":
        return _attention(f"{run} was stopped. All that was committed is kept; the same command resumes it.")
    if view.state == "quiet":
        return _attention(f"Nothing was committed for {duration(view.idle)}. Is anybody running {run}?")
    text = Text(f" {_held(view.held, view.groups)}")
    text.highlight_regex(r"\[[^\]]+\]", "bold reverse")
    for flow in _falling_behind(view):
        more = f"{flow.group} on {flow.topic}, {count(flow.lag)} records, the oldest {age(flow.lag_s)} old"
        text.append("\n").append_text(_attention(f"Falls behind: {more}."))
    return text


def _attention(said: str) -> Text:
    return Text(f" ! {said}", "bold yellow")


def _held(held: Held | None, groups: Iterable[GroupFlow]) -> str:
    if held is None:
        return "Nothing holds it back."
    stage, in_flight = f"[{held.stage.replace('.', ' ', 1)}]", count(held.in_flight)
    if held.stage == "sampler":
        return f"Held back at {stage}: it has asked {in_flight} requests of those that may be in flight."
    input_ = {"embedder": "texts", "clusterer": "embeddings"}.get(held.stage, "requests")
    oldest = next((flow.lag_s for flow in groups if (flow.group, flow.topic) == (held.stage, input_)), None)
    waits = f"{count(held.waiting)} of {in_flight} requests wait for it"
    return f"Held back at {stage}: {waits}" + (f", for up to {age(oldest)}." if oldest else ".")


def _falling_behind(view: View) -> list[GroupFlow]:
    """Groups that take less than comes, and are long behind: those that nothing in the ring waits for."""
    coming = {flow.topic: flow.records_s or 0.0 for flow in view.topics}
    late = [flow for flow in view.groups if flow.records_s is not None and (flow.lag_s or 0.0) > _BEHIND]
    return [flow for flow in late if (flow.records_s or 0.0) < (1 - _GROWS) * coming[flow.topic]]


def flow_lines(view: View, width: int) -> tuple[Text, Text]:
    """The heads of the columns; and every topic in the order of the ring, with the groups that read it below it."""
    text = Text(no_wrap=True)
    for flow in sorted((flow for flow in view.topics if flow.records != 0), key=_order):
        readers = [group for group in view.groups if group.topic == flow.topic]
        read = rate(flow.read_s) if readers else ""
        figures = (rate(flow.records_s), rate(flow.bytes_s), read, "", "")
        text.append(_row(flow.topic, figures, width), "bold")
        for group in readers:
            behind = ("", "", rate(group.records_s), count(group.lag), age(group.lag_s))
            text.append(_row(f"  {group.group}", behind, width))
    if empty := ", ".join(flow.topic for flow in view.topics if flow.records == 0):
        text.append(f" empty: {empty}", "dim")
    return Text(_row("topic, and the groups that read it", _COLUMNS, width).rstrip("\n"), "underline"), text


def _row(name: str, figures: Iterable[str], width: int) -> str:
    cells = "".join(f"{figure:>{wide}}" for figure, wide in zip(figures, _COLUMNS.values(), strict=True))
    room = width - len(cells) - 3
    return f" {name[:room]:<{room}}{cells}\n"


def _order(flow: TopicFlow) -> tuple[int, str]:
    return (_RING.index(flow.topic) if flow.topic in _RING else len(_RING), flow.topic)
