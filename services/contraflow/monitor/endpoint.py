"""Opens what a process is watched by, where somebody asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from contraflow.errors import ConfigurationError
from contraflow.log.protocol import Log

if TYPE_CHECKING:
    from contraflow.runtime.metrics import Metrics

__all__ = ["Address", "open_metrics"]

Address = tuple[str, int]
"""A host and a port; port 0 is a free one."""


@asynccontextmanager
async def open_metrics(
    address: Address | None, run: str, log: Log, say: Callable[[str], None]
) -> AsyncIterator[Metrics | None]:
    """The metrics of a run, served at ``address`` while the block runs; none without an address, and nothing is counted.

    :raises ConfigurationError: if the address cannot be used, or the library is not installed.
    """
    if address is None:
        yield None
        return
    try:
        from contraflow.monitor.http import serve_metrics
        from contraflow.runtime.metrics import Metrics
    except ImportError as error:
        raise ConfigurationError(
            f"--metrics: prometheus-client is not installed ({error}). Run `pip install 'contraflow[metrics]'`."
        ) from error
    metrics = Metrics(run)
    async with serve_metrics(address, metrics, log) as url:
        say(f"metrics: {url}/metrics   health: {url}/healthz")
        yield metrics
