"""A user's own generator: ``my_module:function``, async over requests or a plain function over prompts."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio.lowlevel
import anyio.to_thread
import msgspec

from contraflow.decoder.generator import Completion
from contraflow.decoder.stopping import without_stop
from contraflow.decoder.thinking import thinking_apart
from contraflow.errors import ConfigurationError
from contraflow.events import Request
from contraflow.experiment import Arm
from contraflow.experiment import Generator as GeneratorSection

__all__ = ["UserGenerator", "find"]


_DECODING = ("max_tokens", "min_tokens", "chat", "device", "dtype", "options", "timeout", "patience", "world")


class UserGenerator:
    """Calls a user's function, with ``arm`` (its name) and ``settings`` (what the experiment declares) if it takes these.

    An async generator gets requests and yields completions. A plain function gets prompts and returns texts, in a thread;
    if its first parameter is called ``conversations`` it gets lists of {role, content} instead of prompts.

    Where a batch fails it is tried again one by one, so that only what fails is answered with an error.
    """

    continuous = False

    def __init__(self, arm: str, declared: Arm, section: GeneratorSection, base_dir: Path = Path()) -> None:
        self.model = declared.model or section.backend
        self.capacity = section.batch
        self._arm = arm
        self._declared = declared
        self._section = section
        self._name = section.backend
        self._base_dir = base_dir
        self._function: Callable[..., Any] | None = None
        self._turns = False

    async def start(self) -> None:
        """Import the function.

        :raises ConfigurationError: if there is no such module or function, or what the arm declares would not reach it.
        """
        function = find(self._name, self._base_dir, "generator.backend")
        if inspect.iscoroutinefunction(function):
            raise ConfigurationError(
                f"generator.backend: {self._name} is async and returns its answers at once. Take async away, and it gets a "
                "thread; or let it yield a Completion for each request as it comes"
            )
        takes = list(inspect.signature(function).parameters)
        self._turns = takes[:1] == ["conversations"]
        if "settings" in takes:
            function = partial(function, settings=self._settings)
        elif unread := self._unread:
            raise ConfigurationError(
                f"{unread}: {self._name} would not know of it; give the function a parameter called settings, a dictionary "
                "with what the experiment declares, or take this out"
            )
        self._function = partial(function, arm=self._arm) if "arm" in takes else function

    @property
    def _settings(self) -> dict[str, Any]:
        section: dict[str, Any] = msgspec.to_builtins(self._section)
        return {**section, **msgspec.to_builtins(self._declared), "sampling": self._sampling}

    @property
    def _sampling(self) -> dict[str, float]:
        section = self._section
        return {"temperature": section.temperature, "top_p": section.top_p, **self._declared.sampling}

    @property
    def _unread(self) -> str | None:
        """Something that is declared, of which only ``settings`` tell."""
        of_arm = [f"arms.{self._arm}.{name}" for name in self._declared.declared()]
        decoding = [f"generator.{name}" for name in _DECODING if name in self._section.declared()]
        return next(iter(of_arm + decoding), None)

    async def close(self) -> None:
        """Nothing is held."""

    async def generate(self, requests: Sequence[Request]) -> AsyncIterator[Completion]:
        """Answer every request."""
        assert self._function is not None, "start() comes first"
        if inspect.isasyncgenfunction(self._function):
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
                if not isinstance(completion, Completion):
                    raise TypeError(f"yielded {type(completion).__name__} instead of a Completion")
                left.pop(completion.request.request_id, None)
                yield self._of_text(completion)
                await anyio.lowlevel.checkpoint()  # it may never wait, and a batch of it may take long
        except Exception as error:
            if len(requests) == 1:
                yield Completion(requests[0], "", "error", error=f"{self._name} raised {error!r}")
                return
            for request in left.values():
                async for completion in self._stream([request]):
                    yield completion

    def _of_text(self, completion: Completion) -> Completion:
        text: object = completion.text
        return completion if isinstance(text, str) else self._no_text(completion.request, "yielded", text)

    def _no_text(self, request: Request, did: str, what: object) -> Completion:
        said = f"{self._name} {did} {type(what).__name__} instead of a text"
        return Completion(request, "", "error", error=said)

    def _batch(self, requests: Sequence[Request]) -> list[Completion]:
        assert self._function is not None
        asked = [self._asked(request) for request in requests]
        try:
            texts = self._function(asked)
        except Exception as error:
            if len(requests) == 1:
                return [Completion(requests[0], "", "error", error=f"{self._name} raised {error!r}")]
            return [completion for request in requests for completion in self._batch([request])]
        if texts is None or len(texts) != len(requests):
            got = "nothing" if texts is None else f"{len(texts)} texts"
            said = f"{self._name} returned {got} for {len(requests)} prompts"
            return [Completion(request, "", "error", error=said) for request in requests]
        return [self._completion(request, text) for request, text in zip(requests, texts, strict=True)]

    def _asked(self, request: Request) -> Any:
        if self._turns:
            return [{"role": turn.role, "content": turn.content} for turn in request.messages]
        if len(request.messages) > 1:
            raise ConfigurationError(
                f"prompts.messages: {self._name} takes prompts, and of a conversation it would get the last turn alone; call "
                "its first parameter conversations, and it gets lists of {role, content}"
            )
        return request.messages[-1].content if request.messages else ""

    def _completion(self, request: Request, text: Any) -> Completion:
        if not isinstance(text, str):
            return self._no_text(request, "returned", text)
        kept, _ = without_stop(text, self._section.stop)
        thinking, answer = thinking_apart(kept, self._section.thinking)
        return Completion(request, answer, "stop", 0, len(text.split()), thinking=thinking)


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
