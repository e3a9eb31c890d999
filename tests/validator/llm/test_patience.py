"""Retries, limits that adapt, and a provider that is left alone while it is down; on a clock that the test drives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from contraflow.errors import ProviderDown, ProviderUnusable
from contraflow.llm.breaker import Breaker
from contraflow.llm.concurrency import Concurrency
from contraflow.llm.patience import Limits, Patience
from contraflow.llm.provider import Permanent, RateLimited, Refused, Transient
from contraflow.runtime.clock import Clock


class Time:
    """Seconds that pass only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def time() -> Time:
    return Time()


def raising(*errors: Exception | None) -> tuple[Callable[[float], Awaitable[str]], list[float]]:
    """A call that raises these in turn, and answers where there is None; with the seconds that each call was given."""
    left, given = list(errors), []

    async def call(seconds: float) -> str:
        given.append(seconds)
        error = left.pop(0) if left else None
        if error is not None:
            raise error
        return "answer"

    return call, given


async def test_a_failure_that_passes_is_tried_again_later_and_later(time: Time) -> None:
    call, given = raising(*[Transient("500")] * 3)
    assert await Patience("judge", Limits(), clock=time.clock).ask(call) == "answer"
    assert len(given) == 4
    assert 0.5 <= time.slept[0] <= 1 <= time.slept[1] <= 1.5 < time.slept[2] <= 2.5


async def test_after_so_many_tries_the_provider_is_down_and_not_wrong(time: Time) -> None:
    call, given = raising(*[Transient("the server is on fire")] * 9)
    with pytest.raises(ProviderDown, match="judge does not answer: the server is on fire"):
        await Patience("judge", Limits(tries=3), clock=time.clock).ask(call)
    assert len(given) == 3


async def test_it_waits_as_long_as_the_provider_asks(time: Time) -> None:
    call, _ = raising(RateLimited("429", 17.0))
    await Patience("judge", Limits(), clock=time.clock).ask(call)
    assert 17 <= sum(time.slept) < 18


async def test_a_provider_that_asks_for_more_time_than_there_is_is_down_at_once(time: Time) -> None:
    call, given = raising(RateLimited("daily quota", 4000.0))
    with pytest.raises(ProviderDown, match="daily quota"):
        await Patience("judge", Limits(total=60), clock=time.clock).ask(call)
    assert (len(given), time.now) == (1, 0)


async def test_being_asked_to_slow_down_is_bounded_by_time_and_not_by_tries(time: Time) -> None:
    call, given = raising(*[RateLimited("429")] * 100)
    with pytest.raises(ProviderDown):
        await Patience("judge", Limits(tries=2, total=120), clock=time.clock).ask(call)
    assert len(given) > 5
    assert time.now <= 120


async def test_no_call_is_given_more_time_than_is_left(time: Time) -> None:
    call, given = raising(RateLimited("429", 50.0))
    await Patience("judge", Limits(timeout=30, total=60), clock=time.clock).ask(call)
    assert given[0] == 30
    assert given[1] < 10


async def test_what_cannot_be_mended_by_trying_is_not_tried_again(time: Time) -> None:
    call, given = raising(Permanent("wrong key"))
    with pytest.raises(ProviderUnusable, match="judge: wrong key"):
        await Patience("judge", Limits(), clock=time.clock).ask(call)
    refuse, refused = raising(Refused("no"))
    with pytest.raises(Refused):
        await Patience("judge", Limits(), clock=time.clock).ask(refuse)
    assert (len(given), len(refused), time.slept) == (1, 1, [])


# concurrency


def test_the_limit_grows_by_one_a_round_and_halves_once_for_a_round_that_was_turned_away(time: Time) -> None:
    concurrency = Concurrency(16, time.clock)
    for _ in range(4):
        concurrency.succeeded()
    assert 4.8 < concurrency.limit < 5.1
    for _ in range(200):
        concurrency.succeeded()
    assert concurrency.limit == 16
    time.now = 10
    for _ in range(16):  # all of them were in flight together
        concurrency.slow_down(9.0, None)
    assert concurrency.limit == 8
    concurrency.slow_down(10.5, None)
    assert concurrency.limit == 4
    for started in range(11, 30):
        time.now = started
        concurrency.slow_down(started, None)
    assert concurrency.limit == 1


async def test_no_more_calls_are_in_flight_than_the_limit_allows(time: Time) -> None:
    patience = Patience("judge", Limits(concurrency=3), clock=time.clock)
    in_flight, most = 0, 0

    async def call(seconds: float) -> None:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await anyio.sleep(0.001)
        in_flight -= 1

    async with anyio.create_task_group() as group:
        for _ in range(30):
            group.start_soon(patience.ask, call)
    assert most == 3


async def test_a_cancelled_call_gives_its_place_back() -> None:
    patience = Patience("judge", Limits(concurrency=1))

    async def forever(seconds: float) -> None:
        await anyio.sleep_forever()

    with anyio.move_on_after(0.02):
        await patience.ask(forever)
    call, _ = raising()
    assert await patience.ask(call) == "answer"


async def test_while_a_provider_wants_to_be_left_alone_nobody_calls_it(time: Time) -> None:
    patience = Patience("judge", Limits(), clock=time.clock)
    patience.concurrency.slow_down(0.0, 20.0)
    called: list[float] = []

    async def call(seconds: float) -> None:
        called.append(time.now)

    await patience.ask(call)
    assert called[0] >= 20


# the circuit breaker


def test_the_circuit_opens_after_failures_in_a_row_and_closes_after_a_probe(time: Time) -> None:
    breaker = Breaker(failures=3, pause=5, clock=time.clock)
    breaker.failed()
    breaker.failed()
    breaker.succeeded()
    for _ in range(3):
        assert breaker.wait() == 0
        breaker.failed()
    assert breaker.open
    assert breaker.wait() == 5
    time.now = 5
    assert breaker.wait() == 0  # the probe
    assert breaker.wait() == 5  # everybody else
    breaker.succeeded()
    assert breaker.wait() == breaker.wait() == 0


def test_a_failed_probe_leaves_the_provider_alone_for_twice_as_long(time: Time) -> None:
    breaker = Breaker(failures=1, pause=5, longest=60, clock=time.clock)
    breaker.failed()
    pauses = []
    for _ in range(6):
        pauses.append(breaker.wait())
        time.now += pauses[-1]
        assert breaker.wait() == 0
        breaker.failed()
    assert pauses == [5, 10, 20, 40, 60, 60]


def test_a_probe_that_was_cancelled_is_followed_by_another(time: Time) -> None:
    breaker = Breaker(failures=1, pause=5, clock=time.clock)
    breaker.failed()
    time.now = 5
    assert breaker.wait() == 0
    breaker.gave_up()
    assert breaker.wait() == 0


def test_calls_that_began_before_the_circuit_opened_do_not_lengthen_its_pause(time: Time) -> None:
    breaker = Breaker(failures=2, pause=5, clock=time.clock)
    for _ in range(10):
        breaker.failed()
    assert breaker.wait() == 5


async def test_a_short_outage_is_waited_for_and_a_long_one_fails_at_once(time: Time) -> None:
    down = True

    async def call(seconds: float) -> str:
        if down:
            raise Transient("503")
        return "answer"

    patience = Patience("judge", Limits(total=40), Breaker(failures=2, pause=5, clock=time.clock), time.clock)
    for _ in range(6):
        with pytest.raises(ProviderDown):
            await patience.ask(call)
    now = time.now
    with pytest.raises(ProviderDown, match="left alone for another"):
        await patience.ask(call)
    assert time.now == now
    down = False
    time.now += 300
    assert await patience.ask(call) == "answer"
    assert not patience.breaker.open
