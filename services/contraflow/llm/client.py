"""Asks one model: from the cache where it has answered before, else within the budget, patiently, and once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import anyio
import msgspec

from contraflow.llm.ledger import Call, Entry, Ledger, Outcome
from contraflow.llm.patience import Limits, Patience
from contraflow.llm.prices import PICO, Price
from contraflow.llm.provider import Prompt, Provider, ProviderError, RateLimited, Refused, Reply, Transient
from contraflow.llm.store import Store

__all__ = ["Answered", "Client", "Model"]

_OVERHEAD = 256
"""Tokens that a chat template and a schema's wrapping add to a prompt, at most."""


class Model(NamedTuple):
    """What is asked. ``options`` are whatever else shapes an answer; they are part of the cache's key.

    ``tier`` names it in records and messages.
    """

    tier: str
    provider: str
    name: str
    price: Price
    max_tokens: int
    options: Mapping[str, Any]


class Answered(NamedTuple):
    """What the model said, None if it refused; the dollars that it cost this run, and the seconds that it took.

    An answer that this run has paid for, and was killed before it used it, has the price and the seconds of its call:
    a run that was killed reports what one reports that was not. ``cached`` says that somebody else paid.
    """

    text: str | None
    price: float
    latency: float
    cached: bool


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """An answer in the cache, and who paid for it."""

    text: str | None
    run: str
    price: int
    latency: float


class Client:
    """Asks ``model`` through ``provider``, for a run and its ``ledger``; all tasks that ask it share one of these.

    Those that ask one model for different things share its ``patience``: its vendor counts their calls together.
    """

    def __init__(
        self, provider: Provider, model: Model, store: Store, ledger: Ledger, run: str, patience: Patience | None = None
    ) -> None:
        self.model = model
        self.host = provider.host
        self.patience = patience or Patience(model.tier, Limits())
        self._provider = provider
        self._store = store
        self._ledger = ledger
        self._run = run
        self._salt = msgspec.msgpack.encode(
            [model.provider, provider.host, model.name, model.max_tokens, dict(model.options)], order="sorted"
        )
        self._asking: dict[bytes, anyio.Event] = {}
        self._told: set[bytes] = set()

    async def ask(self, prompt: Prompt) -> Answered:
        """The answer; on the disk before it is returned, so that it is never paid for again.

        :raises ProviderDown: if the provider did not answer in time.
        :raises ProviderUnusable: if it turns away every call.
        :raises BudgetSpent: if the call could pass a budget.
        """
        key = self._key(prompt)
        while key in self._asking:
            await self._asking[key].wait()
        self._asking[key] = done = anyio.Event()
        try:
            value = self._store.get(key)
            if value is None:
                kept = await self.patience.ask(lambda seconds: self._buy(key, prompt, seconds))
                return self._answered(key, kept)
            return self._found(key, msgspec.msgpack.decode(value, type=_Kept))
        finally:
            del self._asking[key]
            done.set()

    def most(self, prompt: Prompt) -> int:
        """The most that a call can cost, in picodollars: no token is shorter than a byte."""
        texts = (prompt.system, prompt.user, msgspec.json.encode(prompt.schema).decode())
        tokens = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) + _OVERHEAD
        return self.model.price.of(tokens, self.model.max_tokens)

    def _key(self, prompt: Prompt) -> bytes:
        content = msgspec.msgpack.encode(
            [prompt.version, prompt.system, prompt.user, dict(prompt.schema)], order="sorted"
        )
        return b"answer\0" + blake2b(self._salt + b"\0" + content, digest_size=32).digest()

    def _found(self, key: bytes, kept: _Kept) -> Answered:
        answered = self._answered(key, kept)
        if answered.cached:
            now = round(time.time(), 3)
            self._ledger.note(Entry(self.model.tier, self.model.name, now, 0, outcome="cached"))
        return answered

    def _answered(self, key: bytes, kept: _Kept) -> Answered:
        own = kept.run == self._run and key not in self._told
        self._told.add(key)
        return Answered(kept.text, kept.price / PICO if own else 0.0, kept.latency if own else 0.0, not own)

    async def _buy(self, key: bytes, prompt: Prompt, seconds: float) -> _Kept:
        """One call, reserved before and settled after, whatever becomes of it."""
        call = await self._ledger.reserve(self.model.tier, self.model.name, self.most(prompt))
        started = time.monotonic()
        try:
            with anyio.fail_after(seconds):
                reply = await self._provider.ask(prompt, self.model.name, self.model.max_tokens)
        except TimeoutError:
            await self._settle(call, started, "failed", call.entry.most)
            raise Transient(f"no answer within {seconds:.3g} s", billed=True) from None
        except Refused as error:
            refused = Reply("", error.prompt_tokens, error.completion_tokens)
            return await self._keep(key, call, started, refused, refused=True)
        except RateLimited:
            await self._settle(call, started, "rate limited", 0)
            raise
        except ProviderError as error:
            await self._settle(call, started, "failed", call.entry.most if error.billed else 0)
            raise
        except BaseException:  # cancelled, or a fault in a provider of the user's: it may have been charged
            await self._settle(call, started, "cancelled", call.entry.most)
            raise
        return await self._keep(key, call, started, reply)

    async def _keep(self, key: bytes, call: Call, started: float, reply: Reply, *, refused: bool = False) -> _Kept:
        price = self._price(call, reply)
        latency = round(time.monotonic() - started, 6)
        kept = _Kept(None if refused else reply.text, self._run, price, latency)
        outcome: Outcome = "refused" if refused else "answered"
        tokens = (reply.prompt_tokens, reply.completion_tokens)
        await self._settle(call, started, outcome, price, tokens, (key, msgspec.msgpack.encode(kept)))
        return kept

    def _price(self, call: Call, reply: Reply) -> int:
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            return call.entry.most
        return self.model.price.of(reply.prompt_tokens, reply.completion_tokens)

    async def _settle(
        self,
        call: Call,
        started: float,
        outcome: Outcome,
        price: int,
        tokens: tuple[int | None, int | None] = (None, None),
        answer: tuple[bytes, bytes] | None = None,
    ) -> None:
        entry = msgspec.structs.replace(
            call.entry,
            price=price,
            prompt_tokens=tokens[0],
            completion_tokens=tokens[1],
            latency=round(time.monotonic() - started, 6),
            outcome=outcome,
        )
        with anyio.CancelScope(shield=True):
            await self._ledger.settle(call, entry, answer)
