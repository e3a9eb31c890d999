"""The screen of ``contraflow top``: looks at a run from outside, and leaves it as it is."""

from __future__ import annotations

import time
from typing import ClassVar

import anyio
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from contraflow.errors import ContraflowError
from contraflow.log.opening import open_log
from contraflow.monitor.panels import flow_lines, progress, words
from contraflow.monitor.ring import draw
from contraflow.monitor.watcher import View, Watcher
from contraflow.runs import RunFolder

__all__ = ["Top"]

_AGAIN = 5.0
"""Seconds after which a log that failed is tried again."""


class Top(App[None]):
    """Shows a run every ``every`` seconds until somebody leaves. Errors of the log are shown, and it is tried again."""

    CSS = """
    #title, #keys { height: 1; background: $primary; color: $text; text-style: bold; }
    #progress, #ring, #words { height: auto; }
    #title, #progress, #ring, #heads, #rows { text-wrap: nowrap; text-overflow: ellipsis; }
    #words { margin: 0 0 1 0; }
    #heads { height: 1; }
    #flows { height: 1fr; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("q,ctrl+c,ctrl+q,escape", "quit", priority=True)]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, folder: RunFolder, *, every: float) -> None:
        super().__init__()
        self._folder = folder
        self._every = every
        self._arms: tuple[str, ...] = tuple(folder.resolved["arms"])
        self._view: View | None = None
        self._at = ""
        self._problem = ""
        self._drawn: dict[str, tuple[Text, int]] = {}

    def compose(self) -> ComposeResult:
        """From the top: title, progress, ring, words, flows."""
        yield Static(id="title")
        yield Static(id="progress")
        yield Static(id="ring")
        yield Static(" looking ...", id="words")
        yield Static(id="heads")
        with VerticalScroll(id="flows"):
            yield Static(id="rows")
        yield Static(" q leaves; the run goes on    ↑ ↓ PgUp PgDn scroll", id="keys")

    def on_mount(self) -> None:
        """Start to look."""
        self.query_one("#flows").focus()
        self.run_worker(self._watch())

    def on_resize(self) -> None:
        """Draw for the new width."""
        self._show()

    async def _watch(self) -> None:
        while True:
            try:
                async with open_log(self._folder) as log:
                    watcher = Watcher(log, self._folder)
                    try:
                        await self._follow(watcher)
                    finally:
                        with anyio.CancelScope(shield=True):
                            await watcher.close()
            except ContraflowError as error:
                self._problem = str(error)
                self._show()
                await anyio.sleep(_AGAIN)

    async def _follow(self, watcher: Watcher) -> None:
        while True:
            self._view, self._problem, self._at = await watcher.look(), "", time.strftime("%H:%M:%S")
            self._show()
            await anyio.sleep(self._every)

    def _show(self) -> None:
        self._draw("title", self._title())
        self._draw("words", self._words())
        if (view := self._view) is not None and view.state != "not started":
            heads, rows = flow_lines(view, self.size.width)
            parts = {"progress": progress(view), "ring": draw(view, self._arms, self.size.width)}
            for name, text in {**parts, "heads": heads, "rows": rows}.items():
                self._draw(name, text)

    def _draw(self, name: str, text: Text) -> None:
        """Update a part; a layout of the whole screen costs more than all its parts, and few updates need one."""
        height = sum(1 + len(line) // self.size.width for line in text.plain.split("\n"))
        before, self._drawn[name] = self._drawn.get(name), (text, height)
        if before is None or before[0] != text:
            self.query_one(f"#{name}", Static).update(text, layout=before is None or before[1] != height)

    def _title(self) -> Text:
        section = self._folder.resolved["experiment"]["log"]
        where = "embedded log" if section == "embedded" else f"Kafka at {section['kafka']}"
        phase = self._view.standing.phase if self._view else ""
        left, right = f" {self._folder.run}   {phase}", f"{where}   {self._at} "
        return Text(left + right.rjust(self.size.width - len(left)))

    def _words(self) -> Text:
        if self._problem:
            shown = f" What is shown is of {self._at}." if self._at else ""
            return Text(f" ! {self._problem} It is tried again every {_AGAIN:g} s.{shown}", "bold red")
        return words(self._view, self._folder.run) if self._view else Text(" looking ...")
