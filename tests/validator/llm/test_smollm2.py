"""A real local model as judge, through the ``openai`` tier: as weak as it is, and the report says how weak."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest
from click.testing import CliRunner

import contraflow
from contraflow.cli import main
from contraflow.cli.run import write_the_report
from contraflow.events import TierResult, Verdict, VerdictStatus
from contraflow.report.console import agreement
from contraflow.statistics.statement import accuracy_bounds
from llm_stub import Behave, stub

pytest.importorskip("openai", reason="needs pip install 'contraflow[openai]'")
pytestmark = [pytest.mark.long, pytest.mark.models, pytest.mark.timeout(1800)]

PAIRS = 12
PLAIN = "Boil the rice for ten minutes and let it rest.", "Cut the bread, then warm the soup.", "Add salt at the end."
PIRATE = (
    "Arr, boil the rice, ye scurvy dog!",
    "Cut the bread, matey, and plunder the soup.",
    "Salt it, arr, as the sea!",
)


@pytest.fixture(scope="module")
def smollm2() -> Behave:
    from smollm2 import SmolLM2  # torch, which to collect tests need not be there

    return SmolLM2()


@pytest.fixture
async def tier(
    smollm2: Behave, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., dict[str, Any]]]:
    """The tier that asks it, with the patience that one model on a busy processor needs."""
    monkeypatch.setenv("CONTRAFLOW_ANSWERS", str(tmp_path / "answers"))
    async with stub(smollm2) as server:
        base = {
            "model": "SmolLM2-135M-Instruct",
            "name": "smollm2",
            "base_url": f"{server.url}/v1",
            "price": [0.1, 0.4],
        }
        patient = {"timeout": 900, "patience": 1800, "concurrency": 1}
        yield lambda **settings: {"openai": {**base, **patient, **settings}}


@pytest.mark.parametrize("structured", ["schema", "none"])
async def test_statements_of_ones_own_go_through_it_and_its_bound_is_told(
    tier: Callable[..., dict[str, Any]], tmp_path: Path, structured: str
) -> None:
    pairs = PAIRS if structured == "schema" else 2
    rng = random.Random(0)
    rows = [{"prompt": f"p{i}", "base": rng.choice(PLAIN), "tuned": rng.choice(PIRATE)} for i in range(pairs)]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "statements.jsonl").write_text('{"statement": "talks like a pirate", "name": "pirate"}')
    command = ["validate", str(tmp_path / "statements.jsonl"), "--texts", str(tmp_path / "texts.jsonl"), "--yes"]
    command += ["--arms", "base,tuned", "--set", "embedder.model=hashed", "--to", str(tmp_path / "out")]
    tiers = json.dumps([tier(structured=structured, max_tokens=24)])
    result = await anyio.to_thread.run_sync(
        lambda: CliRunner().invoke(main, [*command, "--set", f"validation.tiers={tiers}"], catch_exceptions=False)
    )
    assert result.exit_code == 0, result.output
    verdict = msgspec.json.decode((tmp_path / "out" / "verdicts.jsonl").read_bytes(), type=Verdict)
    (of,) = verdict.tiers
    assert of.n + of.ties == pairs
    assert verdict.cost > 0
    assert_as_weak_as_it_is(of, verdict.status)
    assert " ".join(agreement(of).split()) in " ".join(result.output.split())


async def test_a_run_is_judged_by_it_and_its_report_says_how_weak_it_is(
    tier: Callable[..., dict[str, Any]], experiment: Callable[..., dict[str, Any]], runs: Path
) -> None:
    described = experiment(validation={"tiers": [tier()], "pairs": 3}, budget={"texts": 800, "dollars": 5})
    results = await anyio.to_thread.run_sync(lambda: contraflow.run(described, runs=runs))
    assert results.folder.done
    page = (await anyio.to_thread.run_sync(write_the_report, results)).read_text(encoding="utf-8")
    verdicts = [finding.verdict for group in results.groups for finding in group]
    assert verdicts
    for verdict in verdicts:
        assert verdict is not None
        for of in verdict.tiers:
            assert_as_weak_as_it_is(of, verdict.status)
            assert agreement(of) in page


def assert_as_weak_as_it_is(of: TierResult, status: VerdictStatus) -> None:
    """A few answers bound nothing that would be enough."""
    assert status is not VerdictStatus.ACCEPTED
    assert accuracy_bounds(of.n, of.s)[0] < 0.7
