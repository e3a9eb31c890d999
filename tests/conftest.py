"""What several folders of tests need."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers import Broker, kafka_home, own_kafka


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings and answers go to caches of the test session's own; models stay where the user has them."""
    for cache in ("embeddings", "answers"):
        monkeypatch.setenv(f"CONTRAFLOW_{cache.upper()}", str(tmp_path_factory.getbasetemp() / cache))


@pytest.fixture
def experiment() -> Callable[..., dict[str, Any]]:
    """A scripted experiment that takes a second or two, with what a test wants otherwise."""

    def make(**sections: Any) -> dict[str, Any]:
        plain: dict[str, Any] = {
            "experiment": "small",
            "arms": {"base": {}, "tuned": {"plants": ["loud", "gloomy"]}},
            "generator": {"backend": "scripted", "world": "kitchen", "batch": 256},
            "embedder": {"model": "hashed"},
            "sampling": {"warm_start": 96, "epoch": 32, "in_flight": 2},
            "budget": {"texts": 1000},
        }
        return {**plain, **sections}

    return make


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Kafka cluster: one that is there, or a broker of this test session's own."""
    if servers := os.environ.get("CONTRAFLOW_TEST_KAFKA"):
        yield servers
        return
    home = kafka_home()
    assert home is not None, "tests marked kafka are left out without one"
    broker = Broker(home, tmp_path_factory.mktemp("kafka"))
    broker.start()
    try:
        yield broker.servers
    finally:
        broker.stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own, to kill and to start again."""
    home = own_kafka()
    broker = Broker(home, tmp_path / "kafka")
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


_LEFT_OUT = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)  # of those that -m and -k leave
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without Kafka, what needs it is left out, and one line at the end says so."""
    if os.environ.get("CONTRAFLOW_TEST_KAFKA") or kafka_home():
        return
    out = [item for item in items if item.get_closest_marker("kafka")]
    items[:] = [item for item in items if item not in out]
    config.stash[_LEFT_OUT] = len(out)
    config.hook.pytest_deselected(items=out)


_EVIDENCE = pytest.StashKey[list[tuple[str, str, str]]]()


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Notes a figure for the table that the run ends with: what was measured, and what must hold."""
    rows = request.config.stash.setdefault(_EVIDENCE, [])
    return lambda figure, bound: rows.append((request.node.name, figure, bound))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table for docs/evidence.md, and what was left out."""
    if left_out := config.stash.get(_LEFT_OUT, 0):
        terminalreporter.write_line(
            f"{left_out} tests on Apache Kafka were left out; to run them, set KAFKA_HOME to an unpacked Apache Kafka (needs "
            "Java), or CONTRAFLOW_TEST_KAFKA to a cluster's host:port"
        )
    rows = config.stash.get(_EVIDENCE, [])
    if rows:
        terminalreporter.section("evidence")
        for cells in [("test", "figure", "must hold"), ("---", "---", "---"), *rows]:
            terminalreporter.write_line("| " + " | ".join(cells) + " |")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"
