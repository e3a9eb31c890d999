"""What several folders of tests need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings go to a cache of the test session's own; models stay where the user has them."""
    monkeypatch.setenv("CONTRAFLOW_EMBEDDINGS", str(tmp_path_factory.getbasetemp() / "embeddings"))


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


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"
