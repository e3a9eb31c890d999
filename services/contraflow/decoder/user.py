"""A user's own generator: ``my_module:function``, async over requests or a plain function over prompts."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread

from contraflow.decoder.generator import Completion
from contraflow.errors import ConfigurationError
from contraflow.events import Request

__all__ = ["UserGenerator", "find"]


class UserGenerator:
    """Calls a user's function, with ``arm`` if it takes that.

    An async generator gets requests and yields completions; a plain function gets prompts and returns texts, in a thread.

    Where a batch fails it is tried again one by one, so that only what fails is answered with an error.
    """

    continuous = False

    def __init__(self, arm: str, name: str, capacity: int, base_dir: Path = Path()) -> None:
        self.model = name
        self.capacity = capacity
        self._arm = arm
        self._name = name
        self._base_dir = base_dir
        self._function: Callable[..., Any] | None = None

    async def start(self) -> None:
        """Import the function.

        :raises ConfigurationError: if there is no such module or function.
        """
        self._function = find(self._name, self._base_dir, "generator.backend")
        if "arm" in inspect.signature(self._function).parameters:
            self._function = partial(self._function, arm=self._arm)

    async def close(self) -> None:
        """Nothing is held."""

    async def generate(self, requests: Sequence[Request]) -> AsyncIterator[Completion]:
        """Answer every request."""
        assert self._function is not None, "start() comes first"
        inner = self._function.func if isinstance(self._function, partial) else self._function
        if inspect.isasyncgenfunction(inner):
            async for completion in self._stream(requests):
                yield completion
            return
        for completion in await anyio.to_thread.run_sync(self._batch, requests):
            yield completion

    async def _stream(self, requests: Sequence[Request]) -> AsyncIterator[Completion]:
        assert self._function is not None
        left = {request.request_id: request for request in requests}
        try:
            async for completion in self._function(requests):
                left.pop(completion.request.request_id, None)
                yield completion
        except Exception as error:
            if len(requests) == 1:
                yield Completion(requests[0], "", "error", error=f"{self._name} raised {error!r}")
                return
            for request in left.values():
                async for completion in self._stream([request]):
                    yield completion

    def _batch(self, requests: Sequence[Request]) -> list[Completion]:
        assert self._function is not None
        prompts = [request.messages[-1].content if request.messages else "" for request in requests]
        try:
            texts = self._function(prompts)
        except Exception as error:
            if len(requests) == 1:
                return [Completion(requests[0], "", "error", error=f"{self._name} raised {error!r}")]
            return [completion for request in requests for completion in self._batch([request])]
        if texts is None or len(texts) != len(requests):
            got = "nothing" if texts is None else f"{len(texts)} texts"
            said = f"{self._name} returned {got} for {len(requests)} prompts"
            return [Completion(request, "", "error", error=said) for request in requests]
        return [_completion(request, text, self._name) for request, text in zip(requests, texts, strict=True)]


def _completion(request: Request, text: Any, name: str) -> Completion:
    if not isinstance(text, str):
        return Completion(request, "", "error", error=f"{name} returned {type(text).__name__} instead of a text")
    return Completion(request, text, "stop", 0, len(text.split()))


def find(name: str, base_dir: Path, field: str) -> Callable[..., Any]:
    """The function ``name`` (``module:function``), looked for beside the experiment file and among what is installed.

    :raises ConfigurationError: if there is none; the message names ``field``.
    """
    module, _, function = name.partition(":")
    sys.path.insert(0, str(base_dir))
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"{field}: cannot import {name!r}: {error}. Write it as module:function; the module is looked "
            f"for beside the experiment file ({base_dir.resolve()}) and among what is installed."
        ) from error
    finally:
        sys.path.remove(str(base_dir))
    if not callable(found):
        raise ConfigurationError(f"{field}: {name!r} is no function")
    return found  # type: ignore[no-any-return]  # callable, as checked
