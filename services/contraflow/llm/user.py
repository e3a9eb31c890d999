"""A user's own provider: ``my_module:function``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import anyio.to_thread

from contraflow.decoder.user import find
from contraflow.errors import ConfigurationError
from contraflow.llm.failures import said
from contraflow.llm.provider import Prompt, ProviderError, Reply, Transient
from contraflow.runtime.own_loop import OwnLoop

__all__ = ["UserProvider"]


class UserProvider:
    """Calls ``function(system, user, schema, model)``, async or plain (then in a thread).

    It returns a Reply, or a text (then a call is charged at the most it can cost, unless its price is zero), and raises
    what ``contraflow.llm.provider`` has; whatever else it raises is taken to pass.

    :raises ConfigurationError: if there is no such module or function.
    """

    def __init__(self, name: str, base_dir: Path = Path(), field: str = "validation.tiers") -> None:
        self.host = name
        self._function = find(name, base_dir, field)
        self._loop: OwnLoop | None = None
        self._async = any(map(inspect.iscoroutinefunction, (self._function, type(self._function).__call__)))

    async def ask(self, prompt: Prompt, model: str, max_tokens: int) -> Reply:
        """One call of the function."""
        asked = (prompt.system, prompt.user, dict(prompt.schema), model)
        try:
            if self._async:
                reply: Any = await self._apart(asked)
            else:
                reply = await anyio.to_thread.run_sync(self._function, *asked, abandon_on_cancel=True)
        except ProviderError:
            raise
        except Exception as error:
            raise Transient(f"{self.host} raised {type(error).__name__}: {said(error, None)}", billed=True) from error
        if isinstance(reply, str):
            return Reply(reply)
        if not isinstance(reply, Reply):
            raise ConfigurationError(f"{self.host} returned {type(reply).__name__} instead of a text or a Reply")
        return reply

    async def _apart(self, asked: tuple[Any, ...]) -> Any:
        """On a loop of its own: one that is async and blocks all the same takes nothing from the run, nor its limits."""
        self._loop = self._loop or OwnLoop(self.host)
        return await self._loop.start(self._function(*asked))

    async def close(self) -> None:
        """End its thread, if it has one."""
        if self._loop is not None:
            await self._loop.close()
