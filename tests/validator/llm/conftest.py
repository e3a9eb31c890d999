"""What the tests of language models as judges share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contraflow.packages import is_installed
from contraflow.validator.judges import open_judges
from contraflow.validator.types import Judge

PACKAGES = {"openai": "openai", "gemini": "google.genai", "google-generativeai": "google.generativeai"}
KEY = "sk-the-secret-of-this-test"


@pytest.fixture(params=list(PACKAGES))
def provider(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each provider in turn, with a key in the environment."""
    name = str(request.param)
    if not is_installed(PACKAGES[name]):
        pytest.skip(f"needs pip install 'contraflow[{name}]'")
    monkeypatch.setenv("JUDGE_KEY", KEY)
    return name


Opens = Callable[..., AbstractAsyncContextManager[list[Judge]]]


@pytest.fixture
def judges(tmp_path: Path) -> Opens:
    """Opens the judges of ``{provider: settings}`` for a run, with the answers in this test's folder."""

    async def no_vectors(texts: object) -> Any:
        raise AssertionError("a language model needs no vectors")

    @asynccontextmanager
    async def opened(*tiers: Any, run: str = "run-1", dollars: float = 50.0) -> AsyncIterator[list[Judge]]:
        async with open_judges(tiers, no_vectors, run, dollars, folder=tmp_path / "answers") as (found, _):
            yield found

    return opened


@pytest.fixture
def tier() -> Callable[..., dict[str, Any]]:
    """A tier that asks a stub at ``url``."""

    def make(provider: str, url: str, **settings: Any) -> dict[str, Any]:
        base = {"model": "judge-1", "base_url": url + "/v1" * (provider == "openai"), "key": "env:JUDGE_KEY"}
        return {provider: {**base, "price": [1.0, 10.0], **settings}}

    return make
