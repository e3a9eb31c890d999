"""The processes of an engine end with the one that started them."""

from __future__ import annotations

import multiprocessing
import subprocess
from contextlib import suppress

import anyio

__all__ = ["Ending"]

_EVERY = 0.2
_SHELL = 'while read -r said; do pids="$said"; done; [ -z "$pids" ] || kill -9 $pids 2> /dev/null'


class Ending:
    """Kills what was started from this process since ``begin`` if this process ends without ``close``, as by ``kill -9``.

    vLLM's engine is a process that waits for requests for ever, and holds its memory, nearly all of a GPU's, until it is
    told to end: the same command could not go on. A shell that is told of it outlives this process, sees its input end, and
    kills it.
    """

    def __init__(self) -> None:
        self._before: set[int | None] = set()
        self._said: set[int | None] = set()
        self._shell: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """What is started from now on is meant."""
        self._before = {process.pid for process in multiprocessing.active_children()}
        # in a session of its own: Ctrl-C is for the others
        command = ["sh", "-c", _SHELL]
        self._shell = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)

    async def watch(self) -> None:
        """Look for what is started until cancelled."""
        while True:
            self.look()
            await anyio.sleep(_EVERY)

    def look(self) -> None:
        """Look for what was started."""
        if self._shell is not None:
            self._say({process.pid for process in multiprocessing.active_children()} - self._before)

    def close(self) -> None:
        """What was started has ended, or is somebody else's to end."""
        if self._shell is not None:
            self._say(set())
            self._shell.communicate()
            self._shell = None

    def _say(self, pids: set[int | None]) -> None:
        assert self._shell is not None and self._shell.stdin is not None
        if pids != self._said:
            self._said = pids
            with suppress(BrokenPipeError):  # somebody has ended the shell
                self._shell.stdin.write(" ".join(map(str, pids)) + "\n")
                self._shell.stdin.flush()
