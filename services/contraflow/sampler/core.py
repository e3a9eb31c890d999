"""Plans an epoch: a function of the seed and of the regions published L epochs before, never of time or speed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

import msgspec
import numpy as np

from contraflow.errors import FormatTooNew
from contraflow.events import Origin, Reason, Region, Regions, Request, Steering, request_id
from contraflow.prompts import Prompt
from contraflow.sampler.pool import Pool, stream
from contraflow.sampler.rules import LATER, RULES, RuleName
from contraflow.sampler.value import Neighbours, water_fill

__all__ = ["Plan", "Sampler", "SamplerConfig"]

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class SamplerConfig:
    """``epoch`` (E) requests an epoch, ``in_flight`` (L) epochs at once, ``pairs`` in all (None: no bound).

    ``stop`` names criteria and their targets; ``tokens`` bounds the completion tokens of all arms together.
    """

    run: str
    epoch: int
    in_flight: int
    warm_start: int
    pairs: int | None
    arms: int = 2
    uniform: float = 0.2
    rule: RuleName = "leads"
    seed: int = 0
    tokens: int | None = None
    stop: dict[str, float] = field(default_factory=dict)


class Plan(NamedTuple):
    """An epoch's requests; with ``complete`` set they are the last, and it says why."""

    requests: list[Request]
    steering: Steering
    complete: str | None


class _State(msgspec.Struct, frozen=True):
    format: int
    epoch: int
    seq: int
    scanned: int
    complete: str | None
    pool: bytes


def _seed(seed: int, seq: int) -> int:
    return int.from_bytes(blake2b(f"{seed}:{seq}".encode(), digest_size=8).digest(), "little") >> 1


class Sampler:
    """Plans epochs one after the other. ``epoch`` is the last planned, ``seq`` the last asked."""

    def __init__(
        self, config: SamplerConfig, prompts: Sequence[Prompt], pool: Pool, neighbours: Neighbours | None = None
    ) -> None:
        self.config = config
        self._prompts = prompts
        self._pool = pool
        self._neighbours = neighbours or Neighbours.none(len(prompts))
        self._index = {prompt.prompt_id: i for i, prompt in enumerate(prompts)}
        self._scan_order = stream(config.seed, "scan").permutation(len(prompts))
        self.epoch = 0
        self.seq = 0
        self.complete: str | None = None
        self._scanned = 0

    def needs(self) -> int | None:
        """The epoch whose Regions the next plan waits for; None if it waits for none."""
        epoch = self.epoch + 1 - self.config.in_flight
        return epoch if epoch >= 1 else None

    def plan(self, regions: Regions | None) -> Plan:
        """The next epoch, from the Regions of the epoch that ``needs`` names.

        :raises ValueError: if these are not the Regions that this epoch depends on, or the run is complete.
        """
        if self.complete is not None:
            raise ValueError(f"the run is complete: {self.complete}")
        if (regions.epoch if regions else None) != self.needs():
            raise ValueError(f"epoch {self.epoch + 1} depends on the regions of epoch {self.needs()}")
        self.complete = self._stopped_by(regions) if regions else None
        size = 0 if self.complete else self._size()
        self.epoch += 1
        asked = self._choose(size, regions)
        self._finish_if_spent(len(asked), size)
        first = self.seq + 1
        requests = [self._request(*choice) for choice in asked]
        return Plan(requests, self._steering(first, requests, regions), self.complete)

    def stop(self, why: str) -> None:
        """Complete the run with what was asked so far, whatever the budget."""
        self.complete = self.complete or why

    def _stopped_by(self, regions: Regions) -> str | None:
        tokens = sum(arm.tokens for arm in regions.arms.values())
        if self.config.tokens is not None and tokens >= self.config.tokens:
            return f"budget: {tokens} of {self.config.tokens} tokens"
        if self.config.stop and all(
            name in regions.criteria and regions.criteria[name].holds for name in self.config.stop
        ):
            return "criteria: " + ", ".join(sorted(self.config.stop))
        return None

    def _size(self) -> int:
        if self.config.pairs is None:
            return self.config.epoch
        return min(self.config.epoch, self.config.pairs - self.seq)

    def _finish_if_spent(self, asked: int, size: int) -> None:
        if self.complete:
            return
        if asked < size or self._pool.empty:
            self.complete = "prompts: every stored draw has been asked"
        elif self.config.pairs is not None and self.seq + asked >= self.config.pairs:
            self.complete = f"budget: {self.config.pairs * self.config.arms} texts"

    def _choose(self, size: int, regions: Regions | None) -> list[tuple[int, int, Origin, str | None]]:
        rng = stream(self.config.seed, "epoch", self.epoch)
        rule = RULES[self.config.rule]
        uniform = (
            regions is None or regions.warm or not rule.reasons or self.seq < rule.first or len(self._prompts) == 1
        )
        # the few draws that are kept to explore are not spent on the warm start: a scan asks uniformly too
        explore = size if uniform and not self._pool.stored else int(np.ceil(size * self.config.uniform))
        chosen = self._explore(explore, rng)
        if regions is not None and not uniform:
            confirm = [region for region in regions.regions if region.reason is Reason.CONFIRM]
            steered = [region for region in regions.regions if region.reason in rule.reasons]
            share = rule.focus if self.seq < LATER * self.config.warm_start else rule.later
            focus = min(int(np.ceil(size * share)), size - len(chosen))
            # claims leave half of it to what is not decided yet
            focused = self._confirm(confirm, min(size // 4, int(np.ceil(focus / 2))))
            chosen += focused + self._steer(steered, focus - len(focused), Origin.STEER)
        chosen += self._scan(size - len(chosen))
        chosen += self._explore(size - len(chosen), rng)  # where all else is used up
        return [chosen[i] for i in rng.permutation(len(chosen))]

    def _explore(self, count: int, rng: np.random.Generator) -> list[tuple[int, int, Origin, str | None]]:
        drawn = (self._pool.explore(rng) for _ in range(count))
        return [(prompt, draw, Origin.EXPLORE, None) for prompt, draw in filter(None, drawn)]

    def _steer(
        self, regions: Sequence[Region], count: int, origin: Origin
    ) -> list[tuple[int, int, Origin, str | None]]:
        if not regions or count <= 0:
            return []
        confirm = origin is Origin.CONFIRM
        steerable = self._pool.steerable(confirm=confirm)
        wanted = water_fill(regions, self._index, self._pool.asked, steerable, self._neighbours, count)
        drawn = ((prompt, self._pool.take(prompt, confirm=confirm), region) for prompt, region in wanted)
        return [(prompt, draw, origin, region) for prompt, draw, region in drawn if draw is not None]

    def _confirm(self, regions: Sequence[Region], count: int) -> list[tuple[int, int, Origin, str | None]]:
        """Fresh pairs for claims; of held-out prompts, which have led nowhere yet, also such as are near none."""
        chosen = self._steer(regions, count, Origin.CONFIRM)
        if not regions or not self._pool.stored:
            return chosen
        left = np.flatnonzero(self._pool.steerable(confirm=True))
        fewest = left[np.lexsort((self._scan_order[left], self._pool.asked[left]))]
        for prompt in fewest[: count - len(chosen)]:
            draw = self._pool.take(int(prompt), confirm=True)
            if draw is not None:
                chosen.append((int(prompt), draw, Origin.CONFIRM, regions[0].region_id))
        return chosen

    def _scan(self, count: int) -> list[tuple[int, int, Origin, str | None]]:
        chosen: list[tuple[int, int, Origin, str | None]] = []
        missed = 0
        while len(chosen) < count and missed < len(self._prompts):
            prompt = int(self._scan_order[self._scanned % len(self._prompts)])
            self._scanned += 1
            draw = self._pool.take(prompt)
            if draw is None:
                missed += 1
            else:
                missed = 0
                chosen.append((prompt, draw, Origin.SCAN, None))
        return chosen

    def _request(self, prompt: int, draw: int, origin: Origin, region: str | None) -> Request:
        self.seq += 1
        asked = self._prompts[prompt]
        return Request(
            seq=self.seq,
            request_id=request_id(self.config.run, self.seq),
            prompt_id=asked.prompt_id,
            category=asked.category,
            messages=asked.messages,
            draw=draw,
            seed=_seed(self.config.seed, self.seq),
            epoch=self.epoch,
            origin=origin,
            region_id=region,
        )

    def _steering(self, first: int, requests: Sequence[Request], regions: Regions | None) -> Steering:
        shares = Counter(str(request.origin) for request in requests)
        served = Counter(request.region_id for request in requests if request.region_id)
        return Steering(
            epoch=self.epoch,
            first_seq=first,
            last_seq=self.seq,
            after_seq=regions.after_seq if regions else 0,
            shares=dict(sorted(shares.items())),
            regions={region: count for region, count in sorted(served.items()) if region},
            texts=self.seq * self.config.arms,
            budget=(self.config.pairs or 0) * self.config.arms,
            phase=self._phase(shares, regions),
            pool=int(self._pool.steerable().sum()),
        )

    def _phase(self, shares: Counter[str], regions: Regions | None) -> str:
        if regions is None or regions.warm:
            return "warm start"
        if shares[Origin.CONFIRM] >= max(1, shares[Origin.STEER]):
            return "confirm"
        return "focus" if shares[Origin.STEER] else "scan"

    def dump(self) -> dict[str, bytes]:
        """The state; ``load`` goes on from it exactly."""
        state = _State(_FORMAT, self.epoch, self.seq, self._scanned, self.complete, self._pool.dump())
        return {"sampler": msgspec.msgpack.encode(state)}

    def load(self, parts: dict[str, bytes]) -> None:
        """Go on from what ``dump`` gave.

        :raises FormatTooNew: if a newer version of contraflow wrote it.
        """
        state = msgspec.msgpack.decode(parts["sampler"], type=_State)
        if state.format > _FORMAT:
            raise FormatTooNew(
                "the sampler's state was written by a newer contraflow; resume the run with that version"
            )
        self.epoch, self.seq, self._scanned = state.epoch, state.seq, state.scanned
        self.complete = state.complete
        self._pool.load(state.pool)
