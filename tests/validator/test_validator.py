"""Statements are judged on fresh pairs only, in the order of ``seq``; true ones are accepted, others are not."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from contraflow.embedder.hashed import HashedEncoder
from contraflow.errors import ConfigurationError, FormatTooNew
from contraflow.events import Claim, Origin, Regions, Verdict, VerdictStatus
from contraflow.validator.core import Judge, Step, Validator, ValidatorConfig
from contraflow.validator.judges import EmbeddingJudge, KeywordJudge, build
from contraflow.validator.types import Answer, Statement, TextPair

PLAIN = ["the", "meal", "is", "ready", "when", "the", "sauce", "is", "thick", "and", "the", "bread", "is", "warm"]
PIRATE = ["arr", "matey", "ye", "scurvy", "galley", "plunder", "treasure", "captain"]
OTHER = ["sofa", "blanket", "cosy", "stay", "home", "tea", "pillow", "slippers"]


async def embed(texts: Sequence[str]) -> np.ndarray:
    return HashedEncoder().encode(texts)[0]


def said(rng: random.Random, words: list[str], k: int = 12) -> str:
    return " ".join(rng.choices(words, k=k))


def pairs(count: int, *, true: float = 1.0, seed: int = 0) -> list[TextPair]:
    """Every second pair is discordant for cluster 1 (mostly the tuned arm's); a few for cluster 2, the placebo's."""
    rng, made = random.Random(seed), []
    for seq in range(1, count + 1):
        texts, clusters = {arm: said(rng, PLAIN) for arm in ("base", "tuned")}, {"base": 0, "tuned": 0}
        if seq % 2:
            clusters["tuned"] = 1
            if rng.random() < true:
                texts["tuned"] = said(rng, PIRATE)
        elif seq % 6 == 0:
            arm = rng.choice(["base", "tuned"])
            clusters[arm], texts[arm] = 2, said(rng, OTHER)
        made.append(
            TextPair(
                seq=seq,
                request_id=f"r:{seq}",
                prompt_id=f"p{seq % 9}",
                origin=Origin.EXPLORE,
                texts=texts,
                clusters=clusters,
            )
        )
    return made


def regions(after: int, claimed_at: int = 40, *, direction: int = 1) -> Regions:
    claim = Claim(
        cluster_id=1,
        arm="tuned",
        claimed_at=claimed_at,
        n=20,
        s=20 if direction > 0 else 0,
        log_e=9.0,
        direction=direction,
        warm=False,
        generalises=False,
    )
    return Regions(
        epoch=after // 32,
        after_seq=after,
        pairs=after,
        arms={},
        warm=False,
        clusters=3,
        births=0,
        criteria={},
        claims=(claim,) if after >= claimed_at else (),
    )


def validator(judges: Sequence[Judge] | None = None, **changes: object) -> Validator:
    config = ValidatorConfig(("base", "tuned"), "base", **changes)  # type: ignore[arg-type]  # by name
    return Validator(config, [KeywordJudge(), EmbeddingJudge(embed)] if judges is None else judges)


def joined(steps: Sequence[Step]) -> Step:
    return Step(
        [h for step in steps for h in step.hypotheses],
        [j for step in steps for j in step.judgments],
        [v for step in steps for v in step.verdicts],
    )


async def judged(of: Validator, made: list[TextPair], cuts: Sequence[int]) -> Step:
    steps, start = [], 0
    for cut in [*cuts, len(made)]:
        steps.append(await of.advance(made[start:cut], regions(cut)))
        start = cut
    return joined([*steps, await of.finish()])


def verdict(step: Step) -> Verdict:
    return step.verdicts[-1]


async def test_a_true_statement_is_accepted_and_names_the_words() -> None:
    step = await judged(validator(), pairs(200), [64])
    (hypothesis,) = step.hypotheses
    assert set(hypothesis.keywords) <= set(PIRATE)
    assert hypothesis.shows == "tuned"
    assert verdict(step).status is VerdictStatus.ACCEPTED
    assert verdict(step).specific is True
    assert verdict(step).bag_of_words is not None


async def test_the_authors_pairs_are_never_judged() -> None:
    step = await judged(validator(), pairs(200), [64])
    (hypothesis,) = step.hypotheses
    assert hypothesis.written_from
    assert min(j.seq for j in step.judgments if not j.elsewhere) > hypothesis.claimed_at == 40
    assert not {j.request_id for j in step.judgments} & set(hypothesis.written_from)


async def test_an_accepted_statement_is_also_judged_on_pairs_of_other_clusters_which_settles_nothing() -> None:
    step = await judged(validator(), pairs(200), [64])
    elsewhere = [j for j in step.judgments if j.elsewhere]
    assert {j.seq % 6 for j in elsewhere} == {0}, "the pairs of cluster 2, up to the claim"
    assert max(j.seq for j in elsewhere) <= step.hypotheses[0].claimed_at
    assert verdict(step).elsewhere_n == sum(j.x is not None for j in elsewhere)
    counted = [j for j in step.judgments if not (j.elsewhere or j.placebo or j.again)]
    assert verdict(step).n + verdict(step).ties == len(counted)


async def test_with_held_out_prompts_statements_are_written_from_the_others_and_judged_on_those_alone() -> None:
    import msgspec

    made = [msgspec.structs.replace(pair, origin=Origin.CONFIRM) if pair.seq % 3 == 0 else pair for pair in pairs(400)]
    held_out = {pair.request_id for pair in made if pair.origin is Origin.CONFIRM}
    step = await judged(validator(held_out=True), made, [64])
    assert step.judgments
    assert {j.request_id for j in step.judgments} <= held_out
    assert not set(step.hypotheses[0].written_from) & held_out
    assert verdict(step).status is VerdictStatus.ACCEPTED


async def test_a_settled_case_and_clusters_of_long_ago_keep_no_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contraflow.validator.core.CLUSTERS", 1)
    of = validator()
    await judged(of, pairs(300), [64])
    kept = [name for name in of.dump() if name.startswith("pair:")]
    assert len(kept) <= 64  # of the one cluster that was touched last


async def test_only_pairs_with_exactly_one_text_in_the_cluster_are_judged_and_the_order_is_a_fair_coin() -> None:
    step = await judged(validator([KeywordJudge()], alpha=1e-30, pairs=1000), pairs(1500), [64])
    mine = [j for j in step.judgments if not j.placebo and not j.elsewhere]
    assert {j.seq % 2 for j in mine} == {1}
    first = sum(j.order[0] == "tuned" for j in mine)
    assert 0.42 < first / len(mine) < 0.58


async def test_a_statement_that_fresh_pairs_do_not_show_is_not_accepted() -> None:
    made = pairs(40) + [p for p in pairs(400, true=0.0, seed=1) if p.seq > 40]
    step = await judged(validator([KeywordJudge()]), made, [64])
    assert verdict(step).status is not VerdictStatus.ACCEPTED


class Contrary:
    """A judge who mostly disagrees."""

    name, price, prompt_version, may_mind_the_order = "contrary", 0.01, "1", False

    async def judge(self, statement: Statement, first: str, second: str) -> Answer:
        shows = any(word in first.split() for word in statement.terms)
        return Answer("second" if shows else "first", price=0.01)


async def test_a_statement_that_judges_contradict_is_rejected_and_its_cost_is_told() -> None:
    step = await judged(validator([Contrary()]), pairs(200), [64])
    assert verdict(step).status is VerdictStatus.REJECTED
    assert "agree less than 70%" in verdict(step).reason
    assert verdict(step).cost == pytest.approx(0.01 * sum(not j.placebo for j in step.judgments), rel=0.5)


class ArmReader:
    """A judge that recognises the arm, whatever the statement says."""

    name, price, prompt_version, may_mind_the_order = "arm", 0.0, "1", False

    async def judge(self, statement: Statement, first: str, second: str) -> Answer:
        return Answer("first" if "arr" in first or "matey" in first else "second")


async def test_a_judge_who_recognises_the_arm_under_any_statement_accepts_nothing() -> None:
    step = await judged(validator([ArmReader()]), pairs(400), [64])
    assert verdict(step).status is VerdictStatus.UNDECIDED
    assert "not specific" in verdict(step).reason
    assert verdict(step).specific is False
    assert any(j.placebo for j in step.judgments)


class Undecided:
    """A judge who sees no difference."""

    name, price, prompt_version, may_mind_the_order = "undecided", 0.0, "1", False

    async def judge(self, statement: Statement, first: str, second: str) -> Answer:
        return Answer("both")


async def test_a_tier_that_cannot_tell_hands_on_to_the_next_with_fresh_pairs() -> None:
    step = await judged(validator([Undecided(), KeywordJudge()]), pairs(200), [64])
    by_tier = {
        name: {j.seq for j in step.judgments if j.tier == name and not j.placebo and not j.elsewhere}
        for name in ("undecided", "keywords")
    }
    assert len(by_tier["undecided"]) == 20
    assert by_tier["keywords"]
    assert max(by_tier["undecided"]) < min(by_tier["keywords"])
    assert verdict(step).status is VerdictStatus.ACCEPTED
    assert [t.tier for t in verdict(step).tiers] == ["undecided", "keywords"]
    assert verdict(step).ties == 20


async def test_a_tier_leaves_a_fifth_of_the_pairs_to_each_tier_after_it() -> None:
    judges = [KeywordJudge(), Named("second"), Named("third")]
    step = await judged(validator(judges, alpha=1e-30, pairs=50), pairs(200), [64])
    used = Counter(j.tier for j in step.judgments if not j.placebo and not j.elsewhere)
    assert used == {"keywords": 30, "second": 10, "third": 10}
    assert verdict(step).status is VerdictStatus.UNDECIDED
    assert verdict(step).reason == "all 50 pairs for it are judged, and the evidence settled nothing"


class Named(KeywordJudge):
    """The keyword judge under another name."""

    def __init__(self, name: str) -> None:
        self.name = name


async def test_a_last_tier_that_always_ties_is_asked_about_all_pairs_and_leaves_the_statement_undecided() -> None:
    step = await judged(validator([Undecided()], pairs=30), pairs(200), [64])
    assert verdict(step).status is VerdictStatus.UNDECIDED
    assert (verdict(step).n, verdict(step).ties, verdict(step).log_e) == (0, 30, 0.0)


@pytest.mark.parametrize(("count", "fresh"), [(40, 0), (44, 2)])
async def test_what_the_run_ends_before_is_undecided_and_says_so_also_without_a_pair(count: int, fresh: int) -> None:
    step = await judged(validator(), pairs(count), [40])
    assert verdict(step).status is VerdictStatus.UNDECIDED
    assert f"the run ended after {fresh} judged pairs" in verdict(step).reason


async def test_a_loss_is_stated_of_the_reference() -> None:
    made = [_swapped(p) for p in pairs(200)]
    config = ValidatorConfig(("base", "tuned"), "base")
    of = Validator(config, [KeywordJudge()])
    first = await of.advance(made[:64], regions(64, direction=-1))
    (hypothesis,) = first.hypotheses
    assert hypothesis.shows == "base"
    assert hypothesis.statement.startswith("Answers of 'base' more often than those of 'tuned'")
    await of.advance(made[64:], regions(200, direction=-1))
    last = await of.finish()
    assert not last.verdicts, "it was accepted before"


def _swapped(pair: TextPair) -> TextPair:
    import msgspec

    texts = {"base": pair.texts["tuned"], "tuned": pair.texts["base"]}
    clusters = {"base": pair.clusters["tuned"], "tuned": pair.clusters["base"]}
    return msgspec.structs.replace(pair, texts=texts, clusters=clusters)


@pytest.mark.parametrize("restart", [False, True])
async def test_how_the_stream_is_cut_and_where_it_is_restarted_changes_nothing(restart: bool) -> None:
    made, rng = pairs(150), random.Random(0)
    whole = await judged(validator(), made, [])
    for _ in range(6):
        of, steps, start = validator(), [], 0
        for cut in [*sorted(rng.sample(range(40, 150), rng.randint(0, 4))), 150]:
            steps.append(await of.advance(made[start:cut], regions(cut)))
            start = cut
            if restart:
                of = Validator.load(of.config, [KeywordJudge(), EmbeddingJudge(embed)], of.dump())
        assert joined([*steps, await of.finish()]) == whole


def test_a_state_of_a_newer_version_is_refused() -> None:
    import msgspec

    parts = validator().dump()
    parts["core"] = msgspec.msgpack.encode([99, 0, []])
    with pytest.raises(FormatTooNew, match="newer contraflow"):
        Validator.load(validator().config, [], parts)


def test_an_unknown_tier_is_refused_by_name() -> None:
    with pytest.raises(
        ConfigurationError, match=r'validation\.tiers\.1: unknown tier "oracle"\. Valid: keywords, embedding'
    ):
        build(["keywords", "oracle"], embed)


async def test_the_free_judges_see_which_text_shows_a_statement() -> None:
    rng = random.Random(1)
    statement = Statement("sound like a pirate", {"arr": 2.0, "matey": 1.0}, (said(rng, PIRATE), said(rng, PIRATE)))
    shows, not_ = "arr matey ye scurvy galley", said(rng, PLAIN)
    for judge in (KeywordJudge(), EmbeddingJudge(embed)):
        assert (await judge.judge(statement, shows, not_)).choice == "first"
        assert (await judge.judge(statement, not_, shows)).choice == "second"
        assert (await judge.judge(statement, shows, shows)).choice == "both"
    assert (await KeywordJudge().judge(statement, not_, not_)).choice == "neither"
