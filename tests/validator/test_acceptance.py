"""What is accepted: few false statements, at a fraction of the price, and none for what was not accepted beside it."""

from __future__ import annotations

import math

import pytest

from contraflow.events import VerdictStatus
from contraflow.statistics.ebh import statement_weight
from contraflow.validator.core import Validator, ValidatorConfig
from contraflow.validator.types import Answer, Statement
from tiers import RECOGNISED, Kind, Summary, run
from worlds.statements import ARMS, Statements, judged, word


class Nearly:
    """Agrees with every statement, and once with the placebo on the first statement's pairs."""

    name, price, prompt_version, may_mind_the_order = "nearly", 0.0, "1", False

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


async def test_a_verdict_costs_what_its_calls_do_the_placebos_too() -> None:
    of = Statements(6, 0.5)
    judges = [of.judge("cheap", 1, 0.75), of.judge("dear", 16, 0.9)]
    step = await judged(of, judges, ValidatorConfig(ARMS, "base", pairs=120))
    last = {verdict.hypothesis_id: verdict for verdict in step.verdicts}
    assert {j.placebo for j in step.judgments} == {False, True}
    for verdict in last.values():
        assert verdict.cost == sum(j.price for j in step.judgments if j.hypothesis_id == verdict.hypothesis_id)


@pytest.mark.parametrize("false", [0.5, 0.9])
def test_tiers_cost_a_tenth_of_dear_calls_and_find_what_those_find(false: float) -> None:
    kind = Kind(60, false)
    found = Summary(kind, [run(kind, 0)])
    assert found.missed() == []
    assert found.power(found.reference) > 0.95  # so that equal power is some power


def test_the_placebo_keeps_judges_who_recognise_the_arm_from_accepting_what_is_false() -> None:
    kind = Kind(16, 1.0, recognised=RECOGNISED)
    assert run(kind, 0).accepted(False) == 0
    assert run(kind._replace(placebo=False), 0).accepted(False) >= 14


def test_ties_of_the_placebo_do_not_help_judges_who_seem_to_recognise_the_arm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = Kind(16, 1.0, pairs=200, recognised=RECOGNISED, neither=0.25)
    assert run(kind, 0).accepted(False) == 0
    assert run(kind._replace(neither=0.5), 0).accepted(False) <= 1
    monkeypatch.setattr("contraflow.validator.case.RECOGNISED", math.inf)
    assert run(kind, 0).accepted(False) >= 8, "as long as a tie is as good as the other answer"


def test_judges_who_see_the_placebo_nowhere_accept_what_is_true() -> None:
    kind = Kind(16, 0.5, neither=1.0)
    assert run(kind, 0).accepted(True) >= 7
