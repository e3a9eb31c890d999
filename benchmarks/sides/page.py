"""The same as one HTML page that works offline."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import jinja2

from contraflow.monitor.live import duration
from contraflow.report.palette import ARMS
from sides.scoring import CALLS, Compared
from sides.table import goals, rows

__all__ = ["overlap", "write_page"]

_COLOURS = {"batch": "#8a96a3", "schedule": ARMS[4], "contraflow": ARMS[0]}


def write_page(compared: Compared, path: Path) -> Path:
    """Write the page to ``path``, and its folder; returns where it is."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    sources = Counter(compared.stored.sources.tolist())
    page = environment.get_template("page.html.j2").render(
        compared=compared,
        sides=list(compared.sides.values()),
        arms=list(compared.stored.spec.arms),
        shows={plant: sources[f"plant-{plant}"] for plant in compared.stored.shown},
        bars=_bars(compared),
        overlap=overlap(compared),
        goals=goals(compared),
        rows=rows(compared),
        colours=_COLOURS,
        calls=CALLS,
        duration=duration,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path.resolve()


def _bars(compared: Compared) -> list[dict[str, Any]]:
    shown = {"texts": "{:,.0f}".format, "seconds": duration, "dollars": "${:,.2f}".format}
    named = {"texts": "Texts decoded", "seconds": "Time", "dollars": "Dollars for judges"}
    charts = []
    for figure, show in shown.items():
        spent = {way: compared.spent(figure, way) for way in compared.sides}
        most = max(spent.values()) or 1.0
        bars = [{"side": way, "share": value / most, "value": show(value)} for way, value in spent.items()]
        charts.append({"name": named[figure], "bars": bars})
    return charts


def overlap(compared: Compared) -> list[tuple[str, list[str]]]:
    """The plants that both batch and contraflow found, and those that one of them did."""
    batch, ours = (compared.sides[way].found for way in ("batch", "contraflow"))
    return [
        (
            "Found by batch and by contraflow",
            [plant for plant in compared.stored.shown if plant in batch and plant in ours],
        ),
        ("by batch alone", [plant for plant in compared.stored.shown if plant in batch and plant not in ours]),
        ("by contraflow alone", [plant for plant in compared.stored.shown if plant in ours and plant not in batch]),
    ]
