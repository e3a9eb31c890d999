"""A thousand judgments (or twenty thousand) with faults and a kill: none lost, none paid for twice, no budget passed."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import llm_asker
import llm_stub
from contraflow.llm.ledger import Ledger
from contraflow.llm.store import Store
from llm_stub import Asked, Does, Stub, answer, fails, fenced, stub

CHARGED = (100 * 1.0 + 10 * 10.0) / 1e6
WORKERS = 24


def right(first: str) -> str:
    """What the model thinks of the pair whose first text this is: every choice, and now and then nothing readable."""
    number = int("".join(c for c in first if c.isdigit()))
    return ["first", "second", "both", "neither", "gibberish"][number % 5] if number % 100 else "gibberish"


def faulty(seed: int, share: float = 0.1) -> Callable[[Asked], Does]:
    """A model that answers in a few milliseconds, but for this share of calls, which fail in every way there is."""
    rng = random.Random(seed)
    faults: list[Callable[[Asked], Does]] = [
        lambda asked: fails(asked, 429, headers={"retry-after-ms": "30"}),
        lambda asked: fails(asked, 429),
        lambda asked: fails(asked, 500),
        lambda asked: fails(asked, 503, headers={"Retry-After": "0"}),
        llm_stub.truncated,
        llm_stub.malformed,
        lambda asked: Does(amiss="drop"),
    ]

    def behave(asked: Asked) -> Does:
        if rng.random() < share:
            return rng.choice(faults)(asked)
        choice = right(fenced(asked.user)[1])
        text = json.dumps({"answer": choice}) if choice != "gibberish" else "Well, I think"
        return answer(asked, text, delay=rng.uniform(0.001, 0.006))

    return behave


async def judging(told: dict[str, Any]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, llm_asker.__file__, json.dumps(told)), stdout=asyncio.subprocess.PIPE, limit=1 << 24
    )


async def ended(told: dict[str, Any], kill_after: int | None = None) -> tuple[dict[int, str], str]:
    """What a process said of each pair, and how it ended; killed when it has said so many."""
    process = await judging(told)
    said: dict[int, str] = {}
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            words = line.decode().split()
            if len(words) == 1:
                assert await process.wait() == 0
                return said, words[0]
            said[int(words[0])] = words[1]
            if len(said) == kill_after:
                process.send_signal(signal.SIGKILL)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return said, "killed"


async def soak(told: dict[str, Any], server: Stub, folder: Path) -> None:
    pairs = told["pairs"]
    small = told["dollars"] / 8
    first, how = await ended({**told, "dollars": small})
    assert how == "spent"
    assert 0 < len(first) < pairs
    _check_money(server, folder, small)

    second, how = await ended(told, kill_after=len(first) + pairs // 3)
    assert how == "killed"
    assert len(second) < pairs

    third, how = await ended(told)
    assert how == "done"
    expected = {i: right(llm_asker.texts(i)[0]) for i in range(pairs)}
    assert third == {i: choice if choice != "gibberish" else "unparsable" for i, choice in expected.items()}
    assert all(third[i] == choice for i, choice in {**first, **second}.items())

    lost = _check_money(server, folder, told["dollars"])
    twice = Counter({user: times - 1 for user, times in server.answered.items() if times > 1})
    assert lost <= WORKERS
    assert twice.total() <= lost  # in flight at the kill, and counted as such
    gibberish = sum(choice == "gibberish" for choice in expected.values())
    assert len(server.answered) == pairs + gibberish


def _check_money(server: Stub, folder: Path, dollars: float) -> int:
    """What the server charged is in the ledger, and within the budget; returns the calls that a kill cut off."""
    with Store(folder) as store:
        ledger = Ledger(store, "run-1", dollars)
        entries = ledger.entries()
        charged = server.answered.total() * CHARGED
        assert charged <= ledger.spent() + 1e-12 <= dollars + 1e-12
        assert sum(entry.price for entry in entries) == round(ledger.spent() * 1e12)
        assert not [entry for entry in entries if entry.outcome == "in flight"]
        return ledger.lost


@pytest.mark.timeout(120)  # some seconds of work, but three processes start, which a busy machine makes wait
async def test_a_thousand_judgments_survive_faults_a_kill_and_an_empty_purse(tmp_path: Path) -> None:
    async with stub(faulty(seed=1)) as server:
        tier = {"llm_asker:ask": {"model": "judge-1", "name": "mine", "price": [1, 10], "concurrency": WORKERS}}
        told = {"tier": tier, "address": server.url, "folder": str(tmp_path), "pairs": 1000, "workers": WORKERS}
        await soak({**told, "dollars": 0.8}, server, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_twenty_thousand_judgments_through_a_real_client(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="needs pip install 'contraflow[openai]'")
    async with stub(faulty(seed=2)) as server:
        base = {"model": "judge-1", "base_url": f"{server.url}/v1", "name": "mine", "price": [1, 10]}
        tier = {"openai": {**base, "concurrency": WORKERS}}
        told = {"tier": tier, "address": server.url, "folder": str(tmp_path), "pairs": 20_000, "workers": WORKERS}
        await soak({**told, "dollars": 16.0}, server, tmp_path)
