"""Plans are a function of the seed and of published regions; they keep to the budget and say why they end."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from contraflow.events import ArmTotals, Criterion, Origin, Reason, Region, Regions
from contraflow.prompts import Prompt
from contraflow.sampler.core import Plan, Sampler, SamplerConfig
from contraflow.sampler.pool import EndlessPool, ReplayPool
from contraflow.sampler.rules import RuleName

PROMPTS = [Prompt(f"p{i}", f"prompt {i}") for i in range(40)]


def sampler(**changes: object) -> Sampler:
    plain: dict[str, object] = {"run": "x-1", "epoch": 32, "in_flight": 2, "warm_start": 64, "pairs": 1000, **changes}
    return Sampler(SamplerConfig(**plain), PROMPTS, EndlessPool(len(PROMPTS)))  # type: ignore[arg-type]  # by name


def regions(epoch: int, *found: Region, warm: bool = False, tokens: int = 0, **criteria: Criterion) -> Regions:
    return Regions(
        epoch=epoch,
        after_seq=32 * epoch,
        pairs=32 * epoch,
        arms={"a": ArmTotals(texts=0, failures=0, tokens=tokens)},
        warm=warm,
        clusters=3,
        births=0,
        criteria=criteria,
        regions=found,
    )


def lead(reason: Reason = Reason.DIVERGENCE, **hits: float) -> Region:
    return Region(region_id=f"{reason}:1", reason=reason, probability=0.9, needed=500, hits=hits)


def plans(of: Sampler, count: int, found: tuple[Region, ...] = ()) -> list[Plan]:
    made = []
    for _ in range(count):
        needs = of.needs()
        made.append(of.plan(regions(needs, *found) if needs else None))
    return made


def test_numbers_have_no_gaps_and_every_request_a_seed_of_its_own() -> None:
    requests = [r for plan in plans(sampler(), 10) for r in plan.requests]
    assert [r.seq for r in requests] == list(range(1, 321))
    assert len({r.seed for r in requests}) == 320
    assert all(r.request_id == f"x-1:{r.seq}" for r in requests)


def test_epochs_in_flight_wait_for_no_regions_and_later_ones_for_exactly_theirs() -> None:
    plan = sampler(in_flight=3)
    for needed in (None, None, None, 1):
        assert plan.needs() == needed
        if needed is None:
            plan.plan(None)
    with pytest.raises(ValueError, match="depends on the regions of epoch 1"):
        plan.plan(None)
    with pytest.raises(ValueError, match="depends on the regions of epoch 1"):
        plan.plan(regions(2))


def test_while_the_clusters_warm_up_all_is_uniform() -> None:
    plan = sampler(in_flight=1)
    plan.plan(None)
    shares = plan.plan(regions(1, lead(p3=5.0), warm=True)).steering.shares
    assert shares == {"explore": 32}


def test_a_fifth_stays_uniform_and_the_rest_goes_where_it_is_worth_most() -> None:
    last = plans(sampler(), 3, (lead(p3=5.0, p4=5.0),))[-1]
    steered = [r for r in last.requests if r.origin is Origin.STEER]
    assert Counter(r.origin for r in last.requests)[Origin.EXPLORE] == 7
    assert steered
    assert {r.prompt_id for r in steered} == {"p3", "p4"}
    assert {r.region_id for r in steered} == {"divergence:1"}
    assert last.steering.regions == {"divergence:1": len(steered)}


def test_confirming_takes_at_most_a_quarter() -> None:
    last = plans(sampler(), 3, (lead(Reason.CONFIRM, p1=9.0, p2=9.0), lead(p3=5.0)))[-1]
    origins = Counter(r.origin for r in last.requests)
    assert 0 < origins[Origin.CONFIRM] <= 8
    assert origins[Origin.STEER] > 0


def test_at_most_half_of_an_epoch_is_chased_or_confirmed() -> None:
    last = plans(sampler(), 3, (lead(Reason.CONFIRM, p1=9.0, p2=9.0), lead(p3=5.0, p4=5.0, p5=5.0, p6=5.0)))[-1]
    assert last.steering.shares == {"explore": 7, "scan": 9, "confirm": 8, "steer": 8}


def test_once_what_shows_often_has_had_its_time_less_is_chased_and_claims_leave_leads_half_of_it() -> None:
    found = (lead(Reason.CONFIRM, p1=9.0, p2=9.0), lead(p3=5.0, p4=5.0, p5=5.0, p6=5.0))
    of = sampler()
    before, after = plans(of, 12, found)[-1], plans(of, 1, found)[-1]
    assert (before.steering.first_seq, after.steering.first_seq) == (64 * 6 - 31, 64 * 6 + 1)
    assert before.steering.shares == {"explore": 7, "scan": 9, "confirm": 8, "steer": 8}
    assert after.steering.shares == {"explore": 7, "scan": 20, "confirm": 3, "steer": 2}


def test_without_anything_to_chase_every_prompt_is_scanned_in_turn() -> None:
    scanned = [r.prompt_id for p in plans(sampler(), 8) for r in p.requests if r.origin is Origin.SCAN]
    assert len(scanned) > 80
    counts = Counter(scanned)
    assert max(counts.values()) - min(counts[p.prompt_id] for p in PROMPTS) <= 1


def test_what_is_explored_does_not_depend_on_what_is_steered() -> None:
    def explored(found: tuple[Region, ...]) -> list[str]:
        return [r.prompt_id for p in plans(sampler(), 8, found) for r in p.requests if r.origin is Origin.EXPLORE]

    assert sorted(explored(())) == sorted(explored((lead(p3=5.0),)))


@pytest.mark.parametrize(("rule", "reason"), [("margin", Reason.BOUNDARY), ("balance", Reason.THIN)])
def test_a_rival_steers_to_the_regions_of_its_own_reason_alone(rule: RuleName, reason: Reason) -> None:
    others = tuple(
        Region(region_id=str(other), reason=other, probability=0.9, needed=9, hits={"p3": 5.0})
        for other in Reason
        if other is not Reason.CONFIRM
    )
    served = plans(sampler(rule=rule), 5, others)[-1].steering.regions
    assert set(served) == {str(reason)}


def test_the_schedule_asks_uniformly_first() -> None:
    boundary = Region(region_id="boundary", reason=Reason.BOUNDARY, probability=0.0, needed=99, hits={"p3": 50.0})
    made = plans(sampler(rule="schedule", pairs=4000, epoch=512), 7, (boundary,))
    assert all(plan.steering.shares == {"explore": 512} for plan in made[:5])
    assert made[6].steering.shares["steer"] > 0


def test_the_uniform_rule_never_steers() -> None:
    shares = plans(sampler(rule="uniform"), 5, (lead(p3=5.0),))[-1].steering.shares
    assert shares == {"explore": 32}


def test_the_budget_ends_the_run_to_the_pair_and_says_so() -> None:
    short = sampler(pairs=70)
    made = plans(short, 3)
    assert [len(plan.requests) for plan in made] == [32, 32, 6]
    assert made[-1].complete == "budget: 140 texts"
    with pytest.raises(ValueError, match="the run is complete"):
        short.plan(regions(3))


def test_a_budget_of_tokens_ends_the_run() -> None:
    short = sampler(tokens=500, in_flight=1)
    short.plan(None)
    assert short.plan(regions(1, tokens=499)).complete is None
    plan = short.plan(regions(2, tokens=501))
    assert plan.complete == "budget: 501 of 500 tokens"
    assert plan.requests == []


def test_criteria_end_the_run_when_all_that_are_named_hold() -> None:
    short = sampler(stop={"unseen": 0.1, "stability": 0.9}, in_flight=1)
    holds, fails = Criterion(value=1.0, target=1.0, holds=True), Criterion(value=0.0, target=1.0, holds=False)
    short.plan(None)
    assert short.plan(regions(1, unseen=holds, stability=fails)).complete is None
    assert short.plan(regions(2, unseen=holds, stability=holds)).complete == "criteria: stability, unseen"


def test_stored_texts_that_are_used_up_end_the_run() -> None:
    pool = ReplayPool([2] * 40, np.zeros(40, np.bool_), 0)
    replayed = Sampler(SamplerConfig("x-1", 32, 1, 32, 1000), PROMPTS, pool)
    asked = []
    for _ in range(5):
        needs = replayed.needs()
        plan = replayed.plan(regions(needs) if needs else None)
        asked += [(r.prompt_id, r.draw) for r in plan.requests]
        if plan.complete:
            break
    assert plan.complete == "prompts: every stored draw has been asked"
    assert len(asked) == len(set(asked)) == 80


def test_the_same_seed_makes_the_same_plans_also_after_a_restart_at_any_epoch() -> None:
    found = (lead(p3=5.0, p9=2.0),)
    undisturbed = plans(sampler(seed=5), 12, found)
    again = sampler(seed=5)
    made = []
    for _ in range(12):
        made += plans(again, 1, found)
        restored = sampler(seed=5)
        restored.load(again.dump())
        again = restored
    assert made == undisturbed
    assert plans(sampler(seed=6), 12, found) != undisturbed


def test_which_arm_answers_is_nothing_that_a_request_can_say() -> None:
    (request, *_) = plans(sampler(), 1)[0].requests
    assert "arm" not in request.__struct_fields__


def replayed(held_out: np.ndarray) -> Sampler:
    config = SamplerConfig(run="x-1", epoch=32, in_flight=2, warm_start=64, pairs=1000)
    return Sampler(config, PROMPTS, ReplayPool([20] * len(PROMPTS), held_out, 0))


def test_stored_claims_are_confirmed_on_held_out_prompts_alone_even_if_those_are_near_none() -> None:
    held_out = np.arange(len(PROMPTS)) % 3 == 0
    last = plans(replayed(held_out), 3, (lead(Reason.CONFIRM, p1=9.0, p2=9.0),))[-1]
    asked = {origin: [int(r.prompt_id[1:]) for r in last.requests if r.origin is origin] for origin in Origin}
    assert len(asked[Origin.CONFIRM]) == 8
    assert held_out[asked[Origin.CONFIRM]].all()
    others = [prompt for origin, prompts in asked.items() if origin is not Origin.CONFIRM for prompt in prompts]
    assert not held_out[others].any()


def test_a_warm_start_leaves_most_of_what_is_kept_for_exploring() -> None:
    shares = plans(replayed(np.zeros(len(PROMPTS), np.bool_)), 1)[0].steering.shares
    assert shares == {"explore": 7, "scan": 25}
