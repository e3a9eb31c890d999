"""What is spent is on the screen while calls are made: the ledger's total, against the budget."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from contraflow.llm.ledger import Entry, Ledger
from contraflow.llm.prices import PICO
from contraflow.llm.spending import Spending, read_spending
from contraflow.llm.store import Store
from contraflow.monitor.live import line, spent
from contraflow.monitor.progress import Standing


async def test_the_total_is_told_when_a_call_is_reserved_and_when_it_is_settled_also_after_a_restart(
    tmp_path: Path,
) -> None:
    with Store(tmp_path) as store:
        ledger = Ledger(store, "run-1 x", 2.0)
        assert read_spending("run-1 x", tmp_path) == Spending(0.0, 0.0, 2.0)
        call = await ledger.reserve("judge", "model", PICO // 2)
        assert read_spending("run-1 x", tmp_path) == Spending(0.0, 0.5, 2.0)
        await ledger.settle(call, Entry("judge", "model", 0.0, PICO // 2, PICO // 4, outcome="answered"))
        assert read_spending("run-1 x", tmp_path) == Spending(0.25, 0.0, 2.0)
        await ledger.reserve("judge", "model", PICO)
    with Store(tmp_path) as store:
        Ledger(store, "run-1 x", 3.0)
    assert read_spending("run-1 x", tmp_path) == Spending(1.25, 0.0, 3.0), "the call in flight counts at the most"
    assert read_spending("another", tmp_path) is None
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".new")]


async def test_many_calls_at_once_end_with_the_whole_total(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        ledger = Ledger(store, "run-1", 2.0)

        async def one() -> None:
            call = await ledger.reserve("judge", "model", PICO // 100)
            await ledger.settle(call, Entry("judge", "model", 0.0, PICO // 100, PICO // 100))

        async with anyio.create_task_group() as tasks:
            for _ in range(60):
                tasks.start_soon(one)
        told = read_spending("run-1", tmp_path)
    assert told is not None
    assert told.dollars == pytest.approx(0.6)
    assert told.in_flight == 0


def test_a_standing_says_what_was_spent_of_what_may_be() -> None:
    assert spent(0.0, None) == "$0.00"
    assert spent(0.0123, 20) == "$0.0123 of $20.00"
    assert spent(1234.5, 2000) == "$1,234.50 of $2,000.00"
    assert "spent $0.5000 of $2.00" in line(Standing(cost=0.5, may_cost=2.0))
    assert "spent" not in line(Standing())
