"""What a run has spent with each tier, and the budgets that no call may pass."""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict
from typing import Literal

import anyio
import anyio.to_thread
import msgspec

from contraflow.errors import BudgetSpent
from contraflow.llm.prices import PICO
from contraflow.llm.spending import Spending, Told
from contraflow.llm.store import Store

__all__ = ["Call", "Entry", "Ledger", "Outcome"]

logger = logging.getLogger(__name__)

Outcome = Literal["in flight", "answered", "refused", "cached", "rate limited", "failed", "cancelled", "lost"]
"""``cancelled`` and some ``failed`` calls are charged at the most they could cost; ``lost`` was in flight at a crash."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call. ``most`` is what was reserved for it and ``price`` what it cost, in picodollars; ``time`` is when it began."""

    tier: str
    model: str
    time: float
    most: int
    price: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency: float = 0.0
    outcome: Outcome = "in flight"

    @property
    def cached(self) -> bool:
        """Whether no call was made."""
        return self.outcome == "cached"


class Call(msgspec.Struct):
    """A call in flight, under the key of its entry."""

    key: bytes
    entry: Entry


class Ledger:
    """The calls of ``run``, which must name it for ever, with ``budget`` dollars for all of its tiers together.

    Calls that were in flight when the run was killed are found here: they count as spent at the most that they could
    cost, and ``lost`` says how many there are.
    """

    def __init__(self, store: Store, run: str, budget: float) -> None:
        self._store = store
        self._prefix = b"call\0" + run.encode() + b"\0"
        self._budgets: dict[str | None, int] = {None: int(budget * PICO)}
        self._spent: dict[str | None, int] = defaultdict(int)
        self._reserved: dict[str | None, int] = defaultdict(int)
        self._settled = anyio.Event()
        self.lost = 0
        self._told = Told(store.folder, run, self.spending)
        self._load()
        self._told.write()

    def limit(self, tier: str, budget: float) -> None:
        """Bound a tier by ``budget`` dollars."""
        self._budgets[tier] = int(budget * PICO)

    def spent(self, tier: str | None = None) -> float:
        """Dollars that a tier, or all of them, has cost."""
        return self._spent[tier] / PICO

    def spending(self) -> Spending:
        """What all tiers have cost, and what calls in flight may."""
        return Spending(self.spent(), self._reserved[None] / PICO, self._budgets[None] / PICO)

    def entries(self) -> list[Entry]:
        """Every call of the run, oldest first."""
        return [msgspec.msgpack.decode(value, type=Entry) for _, value in self._store.under(self._prefix)]

    async def reserve(self, tier: str, model: str, most: int) -> Call:
        """Set aside ``most`` picodollars, on the disk before this returns. Waits where calls in flight may leave enough.

        :raises BudgetSpent: if the call could pass the budget of its tier or of the run.
        """
        while (over := self._over(tier, most, self._reserved)) is not None:
            if self._over(tier, most, {}) is not None:
                raise BudgetSpent(self._words(over, tier, most))
            await self._settled.wait()
        self._add(self._reserved, tier, most)
        call = Call(self._key(), Entry(tier, model, round(time.time(), 3), most))
        try:
            await self._store.put([(call.key, msgspec.msgpack.encode(call.entry))])
        except BaseException:
            self._release(call)
            raise
        await self._tell()
        return call

    async def settle(self, call: Call, entry: Entry, answer: tuple[bytes, bytes] | None = None) -> None:
        """Replace the reservation by what the call cost, together with the answer that it gave."""
        if entry.price > entry.most:
            logger.warning(
                "a call of %s cost $%.6f, more than the $%.6f that its prompt and max_tokens allow: the server counts or "
                "limits tokens otherwise, and the budget may be passed by the difference",
                *(entry.tier, entry.price / PICO, entry.most / PICO),
            )
        self._add(self._spent, entry.tier, entry.price)
        self._release(call)
        await self._store.put([(call.key, msgspec.msgpack.encode(entry)), *([answer] if answer else [])])
        await self._tell()

    def note(self, entry: Entry) -> None:
        """Remember an answer that cost nothing."""
        self._store.put_later([(self._key(), msgspec.msgpack.encode(entry))])

    def _over(self, tier: str, most: int, reserved: dict[str | None, int]) -> str | None:
        for name in (tier, None):
            budget = self._budgets.get(name)
            if budget is not None and self._spent[name] + reserved.get(name, 0) + most > budget:
                return "tier" if name else "run"
        return None

    async def _tell(self) -> None:
        with anyio.CancelScope(shield=True):  # a caller that never got its call could not settle it
            await anyio.to_thread.run_sync(self._told.write)

    def _words(self, over: str, tier: str, most: int) -> str:
        name = tier if over == "tier" else None
        field = "the tier's budget under validation.tiers" if name else "budget.dollars"
        return (
            f"the next call of {tier} could cost ${most / PICO:.6f}, and ${self._spent[name] / PICO:.6f} of the {over}'s "
            f"${self._budgets[name] / PICO:.2f} are spent, so it was not made; with more in {field}, another run "
            "goes on from there, and what was paid for is kept"
        )

    def _add(self, sums: dict[str | None, int], tier: str, amount: int) -> None:
        sums[tier] += amount
        sums[None] += amount

    def _release(self, call: Call) -> None:
        self._add(self._reserved, call.entry.tier, -call.entry.most)
        self._settled.set()
        self._settled = anyio.Event()

    def _key(self) -> bytes:
        return self._prefix + time.time_ns().to_bytes(8, "big") + os.urandom(4)

    def _load(self) -> None:
        lost = []
        for key, value in self._store.under(self._prefix):
            entry = msgspec.msgpack.decode(value, type=Entry)
            if entry.outcome == "in flight":
                entry = msgspec.structs.replace(entry, outcome="lost", price=entry.most)
                lost.append((key, msgspec.msgpack.encode(entry)))
            self.lost += entry.outcome == "lost"
            self._add(self._spent, entry.tier, entry.price)
        if lost:
            self._store.put_now(lost)
            logger.warning(
                "%d calls were in flight when the run was killed; they count as spent at the most they could cost",
                len(lost),
            )
