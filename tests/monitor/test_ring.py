"""The drawn ring: it fits, it is closed, and the stage that holds it back can be told without colours."""

from __future__ import annotations

import pytest

from contraflow.monitor.figures import age, count, per_second, rate
from contraflow.monitor.held import Held
from contraflow.monitor.ring import draw
from contraflow.monitor.topics import GroupFlow, TopicFlow
from contraflow.monitor.watcher import View

TOPICS = ("requests", "texts", "embeddings", "assignments", "clusters", "regions", "verdicts")


def view(arms: list[str], held: str, records_s: float | None) -> View:
    topics = [TopicFlow(topic, 8, 10, 10, records_s, records_s, records_s) for topic in TOPICS]
    groups = [GroupFlow(f"decoder.{arm}", "requests", 10, records_s, 3, 1.0) for arm in arms]
    return View("running", topics=topics, groups=groups, held=Held(held, 71, 106))


@pytest.mark.parametrize("records_s", [0.0, 12.34, 999.6, 123_456.0, None])
@pytest.mark.parametrize("held", ["sampler", "decoder.base", "embedder", "clusterer"])
@pytest.mark.parametrize(
    "arms", [["base"], ["base", "tuned"], ["base", "an-arm-with-a-long-name", "c"], list("abcdefgh")]
)
def test_any_ring_fits_into_80_columns_and_marks_one_stage(arms: list[str], held: str, records_s: float | None) -> None:
    drawn = draw(view([*arms[:1], *arms[1:]], held.replace("base", arms[0]), records_s), arms, 80).plain
    lines = drawn.split("\n")
    assert max(map(len, lines)) <= 80
    assert 5 <= len(lines) <= 8
    assert drawn.count("[") == drawn.count("]") == 1
    assert all(f"{topic} {per_second(records_s)}" in drawn for topic in TOPICS)
    assert all(stage in drawn for stage in ("sampler", "embedder", "clusterer", "validator"))
    assert lines[-3].index("▼") == lines[-1].index("┘"), "it turns in one column"


def test_nothing_moves_when_a_rate_grows() -> None:
    slow, fast = (draw(view(["a", "b"], "embedder", rate), ["a", "b"], 80).plain for rate in (1.0, 123_456.0))
    assert [line.index("▶") for line in slow.split("\n")[:2]] == [line.index("▶") for line in fast.split("\n")[:2]]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (rate(None), "unknown"),
        (rate(0), "0.0"),
        (rate(99.96), "100"),
        (rate(1234), "1.23K"),
        (rate(45_678_901), "45.7M"),
        (per_second(12.34), "12.3/s"),
        (per_second(None), "unknown"),
        (count(None), "unknown"),
        (count(12_345), "12,345"),
        (count(2_345_678), "2.35M"),
        (age(None), "unknown"),
        (age(0.0), "0 s"),
        (age(0.01), "<0.1 s"),
        (age(2.34), "2.3 s"),
        (age(75), "1 min 15 s"),
    ],
)
def test_figures_are_short_and_have_units(said: str, expected: str) -> None:
    assert said == expected
