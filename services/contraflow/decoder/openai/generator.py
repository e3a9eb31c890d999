"""Any server that speaks OpenAI's wire format answers: a vendor's, or vLLM's, SGLang's, llama.cpp's."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import anyio

from contraflow.decoder.arm_model import refuse_no_place
from contraflow.decoder.generator import Completion
from contraflow.decoder.openai.format import Format
from contraflow.errors import GeneratorError, ProviderDown, ProviderUnusable
from contraflow.events import Request
from contraflow.experiment import Arm
from contraflow.experiment import Generator as GeneratorSection
from contraflow.llm.breaker import Breaker
from contraflow.llm.failures import Advice
from contraflow.llm.keys import OPENAI, key_of
from contraflow.llm.patience import Limits, Patience
from contraflow.llm.provider import Permanent, Refused, Transient
from contraflow.llm.server import Server

__all__ = ["OpenAIGenerator"]

T = TypeVar("T")

_IN_A_ROW = 8
"""So many requests that fail with no answer between are the server's fault, not theirs."""


class _NotTaken(Refused):
    """The server does not take the request: because of its prompt, or of what every request of the arm has."""


class OpenAIGenerator:
    """Asks the server of an arm, as many requests at once as it takes, up to ``batch``.

    A request that the server fails is a failed try of that request. A server that turns every call away, or that is away
    for longer than its patience, stops the run, which then can be resumed.
    """

    continuous = True

    def __init__(self, arm: str, declared: Arm, section: GeneratorSection) -> None:
        self.model = declared.model or ""
        self._name = arm
        self._arm = declared
        self._section = section
        limits = Limits(section.timeout, section.patience, 4, section.batch, section.batch)
        self._patience = Patience(f"the server of arms.{arm}", limits, Breaker(failures=8, pause=2.0, longest=30.0))
        self._server: Server | None = None
        self._failed: set[str] = set()

    @property
    def capacity(self) -> int:
        """As many as the server takes at once; it halves when that says 429, and grows again."""
        return max(1, int(self._patience.concurrency.limit))

    async def start(self) -> None:
        """Look whether the server is there and has the model.

        :raises GeneratorError: if not.
        :raises ConfigurationError: if the package or the key is missing.
        """
        field, arm = f"arms.{self._name}", self._arm
        key = key_of(field, arm.key, arm.base_url, OPENAI)
        advice = Advice(
            f"Check {field}.model and {field}.base_url", f"Check generator.options, and what {field} declares"
        )
        self._server = Server(key, arm.base_url, self._section.timeout, advice)
        try:
            await self._look(field)
        except GeneratorError:
            await self.close()
            raise

    async def _look(self, field: str) -> None:
        check = Patience(self._open.host, Limits(min(30.0, self._section.timeout), 60.0, tries=3))
        try:
            self._check(await check.ask(lambda seconds: self._call(self._open.client.models.list(), seconds)))
        except ProviderDown as error:
            raise GeneratorError(f"{field}.base_url: {error}. Start the server, or mend its address") from None
        except ProviderUnusable as error:
            if re.search(": 40[13]: ", str(error)):
                raise GeneratorError(f"{field}.key: {error}") from None
            # a server that lists no models tells with the first answer

    async def close(self) -> None:
        """Close the connections."""
        if self._server is not None:
            await self._server.close()
            self._server = None

    async def generate(self, requests: Sequence[Request]) -> AsyncIterator[Completion]:
        """The answers, one after the other."""
        for request in requests:
            yield await self._answer(request)

    @property
    def _open(self) -> Server:
        assert self._server is not None, "start() comes first"
        return self._server

    @property
    def _create(self) -> Callable[..., Awaitable[Any]]:
        client = self._open.client
        create: Callable[..., Awaitable[Any]] = (
            client.chat.completions if self._section.chat else client.completions
        ).create
        return create

    @property
    def _format(self) -> Format:
        return Format(self._name, self._arm, self._section, self._open.limit)

    def _check(self, listed: Any) -> None:
        models = {str(model.id): model for model in getattr(listed, "data", None) or ()}
        if models and self._arm.model not in models:
            there = ", ".join(sorted(models)[:20])
            raise GeneratorError(
                f"arms.{self._name}.model: {self._open.host} does not serve {self._arm.model!r}; it has {there}"
            )
        longest = getattr(models.get(self.model), "max_model_len", None)
        if isinstance(longest, int):
            refuse_no_place(self._section, longest, f"the model of arms.{self._name}")

    async def _answer(self, request: Request) -> Completion:
        last: list[Transient] = []

        async def once(seconds: float) -> Completion:
            try:
                return await self._once(request, seconds)
            except Transient as error:
                last[:] = [error]
                raise

        try:
            completion = await self._patience.ask(once)
        except _NotTaken as error:
            return self._failure(request, error)
        except Refused as error:
            return Completion(request, "", "error", error=str(error))
        except ProviderDown as error:
            return self._failure(request, error, away=bool(last) and last[0].away)
        except ProviderUnusable as error:
            raise _stopping(error) from None
        self._failed.clear()
        return completion

    def _failure(self, request: Request, error: Exception, *, away: bool = False) -> Completion:
        self._failed.add(request.request_id)
        if away or len(self._failed) >= _IN_A_ROW:
            raise _stopping(error) from None
        return Completion(request, "", "error", error=str(error))

    async def _once(self, request: Request, seconds: float) -> Completion:
        started = time.perf_counter()
        try:
            reply = await self._call(self._create(**self._format.fields(request)), seconds)
        except Permanent as error:
            if error.of_request:
                raise _NotTaken(str(error)) from None
            raise
        return self._format.completion(request, reply, time.perf_counter() - started)

    async def _call(self, call: Awaitable[T], seconds: float) -> T:
        try:
            with anyio.fail_after(seconds):
                reply: T = await self._open.reply(call)
        except TimeoutError:
            raise Transient(f"no answer in {seconds:.0f} s", billed=True) from None
        return reply


def _stopping(error: Exception) -> GeneratorError:
    return GeneratorError(f"{error}. What was decoded is kept; mend the cause and run the same command again")
