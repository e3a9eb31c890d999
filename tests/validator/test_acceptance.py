"""What is accepted: few false statements, at a fraction of the price, and none for what was not accepted beside it."""

from __future__ import annotations

import math

import pytest

from contraflow.events import VerdictStatus
from contraflow.statistics.ebh import statement_weight
from contraflow.validator.core import Step, Validator, ValidatorConfig
from contraflow.validator.types import Answer, Statement
from worlds.statements import ARMS, Statements, judged, word


class Nearly:
    """Agrees with every statement, and once with the placebo on the first statement's pairs."""

    name, price, prompt_version = "nearly", 0.0, "1"

    def __init__(self) -> None:
        self.agreed = False

    async def judge(self, statement: Statement, first: str, second: str) -> Answer:
        tuned = second if first.startswith("plain") else first
        agrees = bool(statement.terms.keys() & set(tuned.split()))
        if not agrees and not self.agreed and word(1) in tuned.split():
            self.agreed = agrees = True
        return Answer("first" if agrees == (tuned is first) else "second")


async def test_a_statement_that_was_not_accepted_helps_no_other_to_be() -> None:
    config = ValidatorConfig(ARMS, "base", pairs=11)
    step = await judged(Statements(2, 0.0), [Nearly()], config, Validator)
    last = {verdict.hypothesis_id: verdict for verdict in step.verdicts}
    found = [(statement_weight(h.order), last[h.hypothesis_id]) for h in step.hypotheses]
    accepted = [(weight, v) for weight, v in found if v.status is VerdictStatus.ACCEPTED]
    enough = [math.exp(min(v.log_e, v.placebo_log_e)) >= 1 / (0.05 * w * len(accepted)) for w, v in accepted]
    assert all(enough)
