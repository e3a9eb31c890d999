"""The dashboards ask only for series that the services have, and the documentation names them all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from contraflow.runtime.metrics import Metrics

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}
TARGET = {"instance", "job"}
"""The labels that Prometheus itself gives what it asks."""


def series() -> dict[str, set[str]]:
    """Every series that a service may have, with its labels."""
    metrics = Metrics("small-1")
    found = {
        family.name + suffix: set[str]() for family in metrics.registry.collect() for suffix in SUFFIXES[family.type]
    }
    for metric in vars(metrics).values():
        if hasattr(metric, "_labelnames"):  # no public name tells them
            (family,) = metric.collect()
            for suffix in SUFFIXES[family.type]:
                found[family.name + suffix] = {*metric._labelnames, *(["le"] if suffix == "_bucket" else [])}
    return {**found, "contraflow_run_info": {"run", "version"}}


SERIES = series()


def panels(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for path in DASHBOARDS:
        for panel in panels(path):
            for target in panel["targets"]:
                yield panel["title"], target["expr"]


def parsed(expression: str) -> list[Any]:
    """The nodes of an expression, with Grafana's variables filled in."""
    nodes: list[Any] = []
    filled = expression.replace("$__rate_interval", "1m").replace("$service", "embedder")
    promql_parser.walk(promql_parser.parse(filled), nodes.append)
    return nodes


def selectors(nodes: list[Any]) -> list[Any]:
    matrices = [node.vector_selector for node in nodes if isinstance(node, promql_parser.MatrixSelector)]
    return matrices + [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_a_panel_asks_for_series_and_labels_that_there_are(title: str, expression: str) -> None:
    nodes = parsed(expression)
    labels = set(TARGET)
    assert selectors(nodes)
    for selector in selectors(nodes):
        assert selector.name in SERIES
        labels |= SERIES[selector.name]
        assert {matcher.name for matcher in selector.matchers.matchers} <= SERIES[selector.name]
    for node in nodes:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            assert set(node.modifier.labels) <= labels
    for node in nodes:
        if isinstance(node, promql_parser.Call) and node.func.name == "rate":
            assert node.args[0].vector_selector.name.endswith(("_total", "_bucket"))


def test_there_is_a_dashboard_and_its_panels_have_titles_and_units_and_places_of_their_own() -> None:
    (path,) = DASHBOARDS
    taken: set[tuple[int, int]] = set()
    for panel in panels(path):
        assert panel["title"] and panel["description"].endswith(".") and panel["fieldConfig"]["defaults"]["unit"]
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24
        taken |= cells
        labels = set().union(*(SERIES[s.name] for t in panel["targets"] for s in selectors(parsed(t["expr"]))))
        for target in panel["targets"]:
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels | TARGET


def test_a_dashboards_variables_ask_for_series_that_there_are() -> None:
    (path,) = DASHBOARDS
    (variable,) = json.loads(path.read_text())["templating"]["list"]
    found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
    assert found is not None and found[2] in SERIES[found[1]]


def test_every_series_is_on_a_dashboard_and_in_the_documentation() -> None:
    shown = {selector.name for _, expression in expressions() for selector in selectors(parsed(expression))}
    ours = {name.removesuffix("_bucket") for name in SERIES if name.startswith("contraflow_")}
    ours -= {name for name in ours if name.endswith(("_sum", "_count"))}
    assert {name.removesuffix("_bucket") for name in shown if name.startswith("contraflow_")} == ours
    told = (ROOT / "docs" / "monitoring.md").read_text()
    assert set(re.findall(r"`(contraflow_\w+)`", told)) == ours
