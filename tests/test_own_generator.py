"""The example of a generator of one's own runs as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

import contraflow

EXAMPLE = Path(__file__).parents[1] / "examples" / "own" / "batch_decode.yaml"


@pytest.mark.models
@pytest.mark.timeout(240)  # the first one converts the weights
def test_a_batch_function_that_was_there_before_answers_for_both_arms(runs: Path) -> None:
    small = ["budget.texts=64", "generator.max_tokens=4", "generator.batch=32", "sampling.warm_start=32"]
    results = contraflow.run(EXAMPLE, runs=runs, overrides=small)
    texts = results.frame("texts")
    assert texts.groupby("arm").size().to_dict() == {"cool": 32, "hot": 32}
    assert texts["error"].isna().all()
    pairs = texts.pivot(index="seq", columns="arm", values="text")
    assert (pairs["cool"] != pairs["hot"]).any()
