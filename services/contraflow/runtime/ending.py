"""How whoever follows a run hears that it is done."""

from __future__ import annotations

import anyio

from contraflow.events import Control, ControlAction, decode
from contraflow.log.protocol import Log
from contraflow.wire import Wire

__all__ = ["until_done"]


async def until_done(log: Log, wire: Wire) -> None:
    """Return when the validator has said that the run is done."""
    reader = await log.reader(dict.fromkeys(wire.all("control")))
    try:
        while True:
            for record in await reader.fetch(100, wait=5.0):
                if decode(record.value or b"", Control).action is ControlAction.DONE:
                    return
    finally:
        with anyio.CancelScope(shield=True):
            await reader.close()
