"""A failed service is restarted a bounded number of times, with a clock of the test's own; then the run says why."""

from __future__ import annotations

import anyio
import pytest

from contraflow.errors import ConfigurationError, ContraflowError, Fenced, GeneratorError, LogError, LogUnusable
from contraflow.runtime.clock import Clock
from contraflow.runtime.drain import Drain
from contraflow.runtime.supervisor import RunStopped, Supervisor, may_pass


class Slept:
    """A sleep that takes no time and remembers."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def failing(times: int, drain: Drain, error: Exception | None = None):  # type: ignore[no-untyped-def]  # a service
    calls = []

    async def service() -> None:
        calls.append(1)
        if len(calls) <= times:
            raise error or OSError("the disk went away")
        drain.request("done")

    return service, calls


async def idle(drain: Drain) -> None:
    await drain.wait()


async def test_a_service_that_fails_now_and_then_is_started_again() -> None:
    drain, slept = Drain(), Slept()
    supervisor = Supervisor(drain, restarts=3, clock=Clock(sleep=slept))
    service, calls = failing(3, drain)
    await supervisor.run({"embedder": service})
    assert len(calls) == 4
    assert supervisor.restarted == {"embedder": 3}
    assert slept.seconds == pytest.approx([0.2, 0.4, 0.8])


async def test_one_that_fails_too_often_stops_the_run_and_the_others_drain() -> None:
    drain = Drain()
    supervisor = Supervisor(drain, restarts=2, clock=Clock(sleep=Slept()))
    service, calls = failing(99, drain)
    with anyio.fail_after(5), pytest.raises(RunStopped, match="the embedder stopped after 2 restarts: OSError"):
        await supervisor.run({"embedder": service, "sampler": lambda: idle(drain)})
    assert len(calls) == 3
    assert drain.why == "the embedder failed"


@pytest.mark.parametrize("error", [ConfigurationError("embedder.model: no such model"), Fenced("another took over")])
async def test_what_a_restart_cannot_mend_is_not_restarted(error: Exception) -> None:
    drain = Drain()
    supervisor = Supervisor(drain, clock=Clock(sleep=Slept()))
    service, calls = failing(99, drain, error)
    with pytest.raises(RunStopped, match=str(error)):
        await supervisor.run({"embedder": service})
    assert len(calls) == 1


async def test_errors_out_of_task_groups_are_told_by_their_cause() -> None:
    drain = Drain()

    async def service() -> None:
        async with anyio.create_task_group():
            raise ConfigurationError("arms.tuned.lora: does not fit")

    with pytest.raises(RunStopped, match=r"the decoder stopped: arms\.tuned\.lora: does not fit"):
        await Supervisor(drain).run({"decoder": service})


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (LogError("nobody listens"), True),
        (LogUnusable("a damaged file"), False),
        (Fenced("another owner"), False),
        (GeneratorError("no such model"), False),
    ],
)
def test_only_a_log_that_is_away_may_be_there_at_a_later_start(error: ContraflowError, passes: bool) -> None:
    stopped = RunStopped("the sampler stopped")
    stopped.__cause__ = error
    assert may_pass(error) is may_pass(stopped) is passes
