"""Whether a process of a run is well: its services run, and its log answers."""

from __future__ import annotations

from typing import Any

import anyio

from contraflow.errors import LogError
from contraflow.log.protocol import Log, Partition
from contraflow.runtime.meter import Meter
from contraflow.runtime.metrics import Metrics

__all__ = ["health"]

_PATIENCE = 5.0
"""Seconds that the log has to answer."""


async def health(metrics: Metrics, log: Log) -> tuple[bool, dict[str, Any]]:
    """Whether all is well, and each service's part of it.

    A service is well from the first answer of its log until it fails or is fenced, and when it has come to its end.
    One that waits is well, however long, as long as the log answers: it is asked here. One that processes for long is
    well too; ``idle_seconds`` tells since when it has neither read nor committed anything.
    """
    said = await _log_says(log, metrics.run)
    services = [_service(meter) for meter in metrics.meters.values()]
    well = said == "answers" and bool(services) and all(meter["status"] in ("running", "ended") for meter in services)
    return well, {"run": metrics.run, "well": well, "log": said, "services": services}


def _service(meter: Meter) -> dict[str, Any]:
    told: dict[str, Any] = {"service": meter.service, "status": meter.status, "state": meter.state}
    told["idle_seconds"] = round(meter.idle, 3)
    return {**told, **({"arm": meter.arm} if meter.arm else {}), **({"why": meter.why} if meter.why else {})}


async def _log_says(log: Log, run: str) -> str:
    try:
        with anyio.fail_after(_PATIENCE):
            await log.ends([Partition(f"{run}.control", 0)])
    except TimeoutError:
        return f"does not answer within {_PATIENCE:g} s"
    except LogError as error:
        return str(error)
    return "answers"
