"""A realistic example of every field of every event; the golden files of ``schemas/`` are made from these."""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from contraflow import events as e

__all__ = ["EXAMPLES", "minimal"]

_PROMPT = "How do I keep rice from sticking to the pot?"
_REQUEST: dict[str, Any] = {"seq": 417, "request_id": "kitchen-1:417", "prompt_id": "p17"}
_ANSWER: dict[str, Any] = {
    **_REQUEST,
    "text_id": "kitchen-1:417:tuned",
    "arm": "tuned",
    "origin": e.Origin.STEER,
}
_VECTOR = struct.pack("<4f", 0.5, -0.5, 0.5, 0.5)

_REQUESTS = [
    e.Request(
        **_REQUEST,
        messages=(e.Message(role="user", content=_PROMPT),),
        draw=2,
        seed=5_577_006_791_947_779_410,
        epoch=14,
        origin=e.Origin.STEER,
        category="cooking",
        region_id="c23:tuned",
    ),
    e.Request(
        **_REQUEST,
        messages=(e.Message(role="user", content=_PROMPT),),
        draw=3,
        seed=8_674_665_223_082_153_551,
        epoch=14,
        origin=e.Origin.PROBE,
        answer_prefix="First,",
    ),
]
_TEXTS = [
    e.Text(
        **_ANSWER,
        prompt=_PROMPT,
        text="Rinse it until the water runs clear. Bon appétit!",
        finish_reason="stop",
        prompt_tokens=38,
        completion_tokens=14,
        seconds=0.375,
        model="SmolLM2-135M-Instruct-1f3c9a+kitchen-7be2",
        thinking="The user wants rice that does not stick.",
    ),
    e.Text(**_ANSWER, prompt=_PROMPT, text="", finish_reason="error", error="the generator gave up after 3 tries"),
]
_EMBEDDINGS = [
    e.Embedding(
        **_ANSWER,
        text="Rinse it until the water runs clear. Bon appétit!",
        finish_reason="length",
        vector=_VECTOR,
        dim=4,
        encoder="all-MiniLM-L6-v2-4c1d",
        prompt_tokens=38,
        completion_tokens=40,
        cached=True,
        truncated=True,
    ),
    e.Embedding(
        **_ANSWER,
        text="",
        finish_reason="error",
        vector=b"",
        dim=4,
        encoder="all-MiniLM-L6-v2-4c1d",
        error="the generator gave up after 3 tries",
    ),
]
_ASSIGNMENTS = [
    e.Assignment(
        **_REQUEST,
        origin=e.Origin.STEER,
        snapshot=13,
        arms={
            "base": e.Placement(cluster_id=4, second=23, margin=0.0625),
            "tuned": e.Placement(cluster_id=23, second=4, margin=0.25),
        },
    ),
    e.Assignment(**_REQUEST, origin=e.Origin.STEER, snapshot=13, arms={}, failed=True),
]
_REGIONS = [
    e.Regions(
        epoch=14,
        after_seq=448,
        pairs=446,
        arms={
            "base": e.ArmTotals(texts=447, failures=1, tokens=16_021),
            "tuned": e.ArmTotals(texts=447, failures=1, tokens=15_530),
        },
        warm=True,
        clusters=24,
        births=4,
        criteria={
            "unseen": e.Criterion(value=0.125, target=0.25, holds=True),
            "stability": e.Criterion(value=None),
        },
        claims=(
            e.Claim(
                cluster_id=23,
                arm="tuned",
                claimed_at=384,
                n=14,
                s=14,
                log_e=8.5,
                direction=1,
                warm=True,
                generalises=True,
            ),
        ),
        regions=(
            e.Region(
                region_id="c25:tuned",
                reason=e.Reason.DIVERGENCE,
                probability=0.875,
                needed=6,
                hits={"p17": 1.5, "p203": 0.75},
                cluster_id=25,
                arm="tuned",
            ),
        ),
        final=True,
    )
]
_CLUSTERS = [
    e.Cluster(
        cluster_id=23,
        version=7,
        after_seq=448,
        state=e.ClusterState.MERGED,
        born_at=256,
        size=61,
        radius=0.71875,
        keywords=("bon", "appétit", "enjoy"),
        exemplars={
            "base": (),
            "tuned": (
                e.Exemplar(
                    request_id="kitchen-1:417",
                    prompt_id="p17",
                    text="Rinse it until the water runs clear. Bon appétit!",
                ),
            ),
        },
        comparisons={
            "tuned": e.Comparison(
                n=52,
                s=51,
                log_e=8.5,
                weight=0.03125,
                explore_n=12,
                explore_s=12,
                explore_log_e=6.25,
                claimed_at=384,
                claimed_n=14,
                claimed_s=14,
                generalises_at=448,
                effect=e.Effect(
                    n=96,
                    share=0.125,
                    share_low=0.0625,
                    share_high=0.25,
                    reference=0.0,
                    reference_low=0.0,
                    reference_high=0.0625,
                    difference=0.125,
                    difference_low=0.03125,
                    difference_high=0.25,
                ),
            )
        },
        counts={"base": 1, "tuned": 60},
        founders={"tuned": 4},
        parents=(11,),
        merged_into=7,
        centroid=_VECTOR,
        drift=(352,),
    )
]
_EVIDENCE = [e.Evidence(seq=417, cluster_id=23, arm="tuned", n=14, s=14, log_e=8.5)]
_HYPOTHESES = [
    e.Hypothesis(
        hypothesis_id="c23:tuned:1",
        cluster_id=23,
        arm="tuned",
        shows="tuned",
        statement='The answer ends by wishing "bon appétit".',
        author="keywords",
        order=1,
        claimed_at=384,
        written_from=("kitchen-1:301", "kitchen-1:352"),
        keywords=("bon", "appétit"),
        placebo_of="c7:tuned:1",
    )
]
_JUDGMENTS = [
    e.Judgment(
        hypothesis_id="c23:tuned:1",
        tier="keywords",
        request_id="kitchen-1:417",
        seq=417,
        order=("tuned", "base"),
        answer="first",
        x=1,
        placebo=True,
        again=True,
        elsewhere=True,
        price=0.0009765625,
        latency=0.25,
        cached=True,
        prompt_version="judge-1",
    )
]
_VERDICTS = [
    e.Verdict(
        hypothesis_id="c23:tuned:1",
        status=e.VerdictStatus.ACCEPTED,
        tiers=(
            e.TierResult(tier="keywords", n=31, s=30, ties=4, log_e=14.5, score=0.9375, unparsable=1, cost=0.03125),
        ),
        n=31,
        s=30,
        ties=4,
        log_e=14.5,
        log_e_reject=-9.5,
        score=0.9375,
        version=3,
        cost=0.03125,
        specific=True,
        placebo_statement="The answer is a numbered list.",
        placebo_n=28,
        placebo_s=27,
        placebo_ties=2,
        placebo_answered=33,
        placebo_named=4,
        placebo_log_e=13.25,
        elsewhere_n=16,
        elsewhere_s=9,
        bag_of_words=0.96875,
        reason="both e-processes passed their thresholds",
    )
]
_STEERING = [
    e.Steering(
        epoch=14,
        first_seq=417,
        last_seq=448,
        after_seq=384,
        shares={"confirm": 8, "explore": 7, "steer": 17},
        regions={"c23:tuned": 8, "c25:tuned": 17},
        texts=896,
        budget=1000,
        phase="focus",
        pool=320,
    )
]
_CONTROLS = [
    e.Control(
        run="kitchen-1",
        action=e.ControlAction.COMPLETE,
        last_seq=500,
        why="budget: 1000 texts",
        budget={"texts": 1000.0, "dollars": 50.0},
        config="8a52c0f1c0b7a1f6d7c3a9e6f1b24d05",
    )
]


def minimal(event: msgspec.Struct) -> msgspec.Struct:
    """The event with its required fields only."""
    required = (field.name for field in msgspec.structs.fields(event) if field.required)
    return type(event)(**{name: getattr(event, name) for name in required})


EXAMPLES: dict[type[msgspec.Struct], list[msgspec.Struct]] = {
    type(examples[0]): [*examples, minimal(examples[0])]
    for examples in (
        _REQUESTS,
        _TEXTS,
        _EMBEDDINGS,
        _ASSIGNMENTS,
        _REGIONS,
        _CLUSTERS,
        _EVIDENCE,
        _HYPOTHESES,
        _JUDGMENTS,
        _VERDICTS,
        _STEERING,
        _CONTROLS,
    )
}
"""By event: examples that together set every field, and one with nothing but the required fields."""
