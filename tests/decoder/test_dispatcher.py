"""In which order a generator is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import anyio
import pytest

from contraflow.decoder.dispatcher import Dispatcher
from contraflow.decoder.generator import Completion
from contraflow.events import Message, Origin, Request
from contraflow.runtime.clock import Clock
from contraflow.runtime.drain import Drain


class OneByOne:
    model, capacity = "fake", 1

    def __init__(self, continuous: bool) -> None:
        self.continuous = continuous
        self.asked: list[int] = []

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def generate(self, requests: Sequence[Request]) -> AsyncIterator[Completion]:
        for request in requests:
            self.asked.append(request.seq)
            yield Completion(request, "answer", "stop")


def request(seq: int, epoch: int, *contents: str) -> Request:
    return Request(
        seq=seq,
        request_id=f"x-1:{seq}",
        prompt_id="p0",
        messages=tuple(Message(role="user", content=content) for content in contents),
        draw=seq,
        seed=seq,
        epoch=epoch,
        origin=Origin.EXPLORE,
    )


@pytest.mark.parametrize(("continuous", "expected"), [(True, [2, 4, 3, 1, 6, 5]), (False, [1, 2, 3, 4, 5, 6])])
async def test_within_an_epoch_those_that_begin_alike_are_asked_together(continuous: bool, expected: list[int]) -> None:
    generator, drain, answered = OneByOne(continuous), Drain(), []
    dispatcher = Dispatcher("a", generator, drain, clock=None)

    def finish(completion: Completion) -> None:
        answered.append(completion.request.seq)
        if len(answered) == 6:
            drain.request("test")

    prompts = [(1, ("b",)), (1, ("a",)), (1, ("a", "yes")), (1, ("a",)), (2, ("b",)), (2, ("a",))]
    for seq, (epoch, contents) in reversed(list(enumerate(prompts, 1))):
        dispatcher.submit(request(seq, epoch, *contents), None, finish)
    with anyio.fail_after(5):
        await dispatcher.run()
    assert generator.asked == answered == expected


@pytest.mark.parametrize("continuous", [True, False])
async def test_a_generator_that_never_waits_leaves_the_others_their_turn(continuous: bool) -> None:
    drain = Drain()
    dispatcher = Dispatcher("a", OneByOne(continuous), drain, clock=None)
    answers = 0

    def ask_again(completion: Completion) -> None:
        nonlocal answers
        answers += 1
        if answers < 100_000:  # one that gets no turn is then seen, and not waited for
            dispatcher.submit(completion.request, None, ask_again)

    dispatcher.submit(request(1, 1, "a"), None, ask_again)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dispatcher.run)
        await anyio.sleep(0.05)
        drain.request("test")
    assert 0 < answers < 50_000


async def test_an_answer_that_cannot_be_told_of_is_asked_again_and_then_fails_and_is_not_lost() -> None:
    drain, told = Drain(), []
    dispatcher = Dispatcher("a", OneByOne(continuous=False), drain, clock=Clock(sleep=anyio.sleep))

    def finish(completion: Completion) -> None:
        if completion.error is None:
            raise AttributeError("no text")
        told.append(completion.error)
        drain.request("test")

    dispatcher.submit(request(1, 1, "a"), None, finish)
    with anyio.fail_after(10):
        await dispatcher.run()
    assert told == ["the engine died: AttributeError('no text')"]
