"""Draws the ring with the rates on its edges; the stage that holds it back stands in brackets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from contraflow.monitor.figures import per_second
from contraflow.monitor.watcher import View

__all__ = ["draw"]

_MOST_ARMS = 4
_RATE = len("1.23K/s")
"""Every rate takes as much room, so that nothing moves when it grows."""


def draw(view: View, arms: Sequence[str], width: int) -> Text:
    """The ring of a run in ``width`` columns (80 or more) and 5 to 8 lines."""
    return _Ring(view, arms, width).draw()


class _Ring:
    def __init__(self, view: View, arms: Sequence[str], width: int) -> None:
        self._appended: Mapping[str, float | None] = {flow.topic: flow.records_s for flow in view.topics}
        self._read: Mapping[tuple[str, str], float | None] = {(f.group, f.topic): f.records_s for f in view.groups}
        self._held = view.held.stage if view.held else ""
        self._arms = arms
        self._width = min(width, 100)

    def draw(self) -> Text:
        lines, turn = self._outward()
        text = Text("\n".join([*lines, *self._back(turn)]), no_wrap=True)
        text.highlight_regex(r"\[[^\]]+\]", "bold reverse")
        text.highlight_regex(r"[\d.]+[KMG]?/s", "bold cyan")
        return text

    def _outward(self) -> tuple[list[str], int]:
        """From the sampler to the embedder, and the column below which the way goes on."""
        start = f" {self._stage('sampler')} ─requests {self._edge('requests')}─"
        end = f"─texts {self._edge('texts')}─▶ {self._stage('embedder')}"
        decoders = self._decoders(self._width - len(start) - len(end) - 5)
        wide = max(map(len, decoders))
        column = max(len(start) + wide + len(end) - 2, len(self._judged()))
        lines = []
        for i, decoder in enumerate(decoders):
            fork, join = _forks(i, len(decoders))
            line = f"{start if i == 0 else _up(i, len(start))}{fork}▶ {decoder:<{wide}} {join}"
            lines.append(line + end if i == 0 else f"{line:<{column}}│")
        return lines if len(lines) > 1 else [*lines, _up(1, column) + "│"], column

    def _decoders(self, room: int) -> list[str]:
        fits = len(self._arms) <= _MOST_ARMS
        arms = self._arms if fits else self._arms[: _MOST_ARMS - 1]
        names = [self._stage(f"decoder.{arm}", room - _RATE - 1) for arm in arms]
        rates = [per_second(self._read.get((f"decoder.{arm}", "requests"), 0.0)) for arm in arms]
        wide = max(map(len, names))
        rows = [f"{name:<{wide}} {rate:>{_RATE}}" for name, rate in zip(names, rates, strict=True)]
        return rows if fits else [*rows, f"and {len(self._arms) - len(arms)} more"]

    def _back(self, column: int) -> list[str]:
        """From the embedder down to the clusterer, and back to the sampler and on to the validator."""
        clusterer = self._stage("clusterer")
        return [
            _up(2, 5) + f"embeddings {self._edge('embeddings', ' ')} ▼".rjust(column - 4),
            f"    └──── regions {self._edge('regions')}─".ljust(column - len(clusterer), "─") + f" {clusterer}",
            self._judged().ljust(column, "─") + "┘",
        ]

    def _judged(self) -> str:
        clusters = f"{per_second(self._appended.get('clusters'))},".ljust(_RATE + 1)
        return (
            f" verdicts {self._edge('verdicts', ' ')} ◀─ {self._stage('validator')} ◀─ clusters {clusters} "
            f"assignments {self._edge('assignments')}─"
        )

    def _edge(self, topic: str, fill: str = "─") -> str:
        return per_second(self._appended.get(topic)).ljust(_RATE, fill)

    def _stage(self, stage: str, room: int = 80) -> str:
        name = stage.replace(".", " ", 1)
        held = stage == self._held
        room = max(9, room - 2 * held)
        name = name if len(name) <= room else name[: room - 1] + "…"
        return f"[{name}]" if held else name


def _up(line: int, width: int) -> str:
    """The way back to the sampler, in a line below it."""
    return ("    ▲" if line == 1 else "    │").ljust(width)


def _forks(i: int, count: int) -> tuple[str, str]:
    if count == 1:
        return "─", "─"
    if i == 0:
        return "┬", "┬"
    return ("└", "┘") if i == count - 1 else ("├", "┤")
