"""What a watcher is told about a run."""

from __future__ import annotations

from contraflow.monitor.progress import Follower


async def test_the_rate_covers_the_last_half_minute() -> None:
    follower = Follower(None, None, ["a"], 1000)  # type: ignore[arg-type]  # only its time is asked
    rates = []
    for second in range(0, 91, 5):
        follower.standing.texts = {"a": 64 * (second // 15)}  # a batch every 15 s, as a local model answers
        follower._time(float(second))
        rates.append(follower.standing.rate)
    assert rates[0] is None
    assert all(rate == 128 / 30 for rate in rates[6:]), "not 12.8 after a batch and 0 between two"
