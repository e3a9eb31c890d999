"""How fast generators answer an experiment's own prompts, measured for a few seconds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from itertools import tee
from typing import NamedTuple

import anyio

from contraflow.decoder.dispatcher import Dispatcher
from contraflow.decoder.generator import Completion, Generator
from contraflow.errors import GeneratorError
from contraflow.events import Request
from contraflow.runtime.drain import Drain
from contraflow.runtime.supervisor import cause_of

__all__ = ["Pace", "calibrate"]

_LONGEST = 900.0
"""Seconds after which a generator that has not answered once counts as dead."""
_TEXTS = 2048
"""Answers that are kept, to be measured and embedded."""


class Pace(NamedTuple):
    """What an arm did beside the others; tokens are means of an answer, ``texts`` are some of them."""

    answers: int
    failed: int
    per_second: float
    prompt_tokens: float
    completion_tokens: float
    texts: tuple[str, ...]
    error: str


async def calibrate(
    generators: Mapping[str, Generator], requests: Iterable[Request], *, ahead: int, seconds: float = 10.0
) -> dict[str, Pace]:
    """Start the generators and keep them full for ``seconds``, ``ahead`` requests at once; what is asked then is waited for.

    They are asked as a run asks them, all arms at once, and closed afterwards. A generator that answers by batches
    finishes at least one.

    :raises GeneratorError: if one cannot be started, dies, or answers nothing but errors.
    """
    drain = Drain(grace=_LONGEST)
    streams = tee(requests, len(generators))
    arms = {
        name: _Arm(name, generator, stream, drain)
        for (name, generator), stream in zip(generators.items(), streams, strict=True)
    }
    async with AsyncExitStack() as stack:
        for generator in generators.values():
            stack.push_async_callback(generator.close)
            await generator.start()
        try:
            async with anyio.create_task_group() as tasks:
                for arm in arms.values():
                    tasks.start_soon(arm.run, ahead)
                await anyio.sleep(seconds)
                for arm in arms.values():
                    await arm.has_answered()
                drain.request("it was long enough")
        except ExceptionGroup as group:
            raise cause_of(group) from None
    return {name: arm.pace() for name, arm in arms.items()}


class _Arm:
    def __init__(self, name: str, generator: Generator, requests: Iterable[Request], drain: Drain) -> None:
        self._name = name
        self._requests = iter(requests)
        self._drain = drain
        self._dispatcher = Dispatcher(name, generator, drain, tries=1, restarts=0, clock=None)
        self._answered = anyio.Event()
        self._started = self._last = 0.0
        self._tokens = [0, 0]
        self._errors: Counter[str] = Counter()
        self._texts: list[str] = []
        self._count = 0

    async def run(self, ahead: int) -> None:
        self._started = time.perf_counter()
        for _ in range(ahead):
            self._ask()
        await self._dispatcher.run()

    def _ask(self) -> None:
        if not self._drain.requested and (request := next(self._requests, None)) is not None:
            self._dispatcher.submit(request, self, self._note)

    def _note(self, completion: Completion) -> None:
        self._last = time.perf_counter()
        self._answered.set()
        if completion.error is not None:
            self._errors[completion.error] += 1
        else:
            self._count += 1
            self._tokens[0] += completion.prompt_tokens
            self._tokens[1] += completion.completion_tokens
            if len(self._texts) < _TEXTS:
                self._texts.append(completion.text)
        self._ask()

    async def has_answered(self) -> None:
        """Wait for its first answer, an error or not."""
        with anyio.move_on_after(_LONGEST):
            await self._answered.wait()
            return
        raise GeneratorError(f"the generator of arm {self._name!r} gave no answer in {_LONGEST:.0f} s; is it well?")

    def pace(self) -> Pace:
        commonest = next((error for error, _ in self._errors.most_common(1)), "")
        if not self._count:
            raise GeneratorError(f"the generator of arm {self._name!r} answered with errors alone: {commonest}")
        prompt, completion = (total / self._count for total in self._tokens)
        rate = self._count / max(self._last - self._started, 1e-9)
        return Pace(self._count, self._errors.total(), rate, prompt, completion, tuple(self._texts), commonest)
