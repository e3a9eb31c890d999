"""Services as processes of their own: started with a pipe whose end tells them to drain, and restarted like any service."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.abc

from contraflow.errors import ConfigurationError
from contraflow.runtime.drain import Drain
from contraflow.runtime.supervisor import Service

__all__ = ["HOPELESS", "ServiceDied", "child"]

HOPELESS = 2
"""The exit code of a service that a restart cannot mend. One that another copy has replaced exits with 0."""


class ServiceDied(Exception):
    """A service's process ended although nobody had asked it to."""


def child(command: Sequence[str], log: Path, drain: Drain) -> Service:
    """A service that runs ``command``; what it says goes to the file ``log``.

    When draining is requested its standard input is closed; it has twice the drain's grace to end, then it is killed.

    :raises ServiceDied: (the service) if it died; it may be started again.
    :raises ConfigurationError: (the service) if it ended with ``HOPELESS``.
    """

    async def run() -> None:
        with log.open("ab") as said:
            # a session of its own: a Ctrl-C at the terminal is for the parent alone, which drains its children
            process = await anyio.open_process(
                command, stdin=subprocess.PIPE, stdout=said, stderr=said, start_new_session=True
            )
            code = await _attend(process, drain)
        if code == HOPELESS:
            raise ConfigurationError(_last_words(log))
        if code and not drain.requested:
            raise ServiceDied(f"its process ended with {_how(code)}: {_last_words(log)}")

    return run


async def _attend(process: anyio.abc.Process, drain: Drain) -> int:
    try:
        await drain.unless(process.wait())
        assert process.stdin is not None, "it was started with a pipe"
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await process.stdin.aclose()
        with anyio.move_on_after(2 * drain.grace):
            return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()
    return process.returncode or 0


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"code {code}"


def _last_words(log: Path) -> str:
    """The error that a process ended with, however many lines it has, else its last line; and where the rest stands."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing was said"]
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    said = "\n".join(lines[errors[-1] if errors else -1 :]).removeprefix("error: ")
    return f"{said} (see {log})"
