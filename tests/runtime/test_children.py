"""Processes of a run: what they end with is told, and where the rest of what they said stands."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from contraflow.errors import ConfigurationError
from contraflow.runtime.children import HOPELESS, ServiceDied, child
from contraflow.runtime.drain import Drain


@pytest.mark.parametrize(("code", "kind"), [(HOPELESS, ConfigurationError), (1, ServiceDied)])
async def test_who_ended_is_quoted_and_the_file_with_all_that_it_said_is_named(
    code: int, kind: type[Exception], tmp_path: Path
) -> None:
    says = f"import sys; print('CUDA out of memory'); print('error: it did not start\\nlook'); sys.exit({code})"
    log = tmp_path / "decoder.log"
    with pytest.raises(kind) as caught:
        await child([sys.executable, "-c", says], log, Drain())()
    assert f"it did not start\nlook (see {log})" in str(caught.value)
    assert "CUDA" in log.read_text()
