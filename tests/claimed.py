"""A stream of pairs with three claimed clusters, for what judges and writes about them."""

from __future__ import annotations

import random

from contraflow.events import Claim, Origin, Regions
from contraflow.validator.types import TextPair

ARMS = ("base", "tuned")
CLAIMED = 60
TOPICS = {
    1: ["arr", "matey", "galley", "plunder"],
    2: ["sofa", "blanket", "cosy", "pillow"],
    3: ["rhyme", "verse", "stanza", "sonnet"],
    4: ["ledger", "invoice", "audit", "balance"],
}


def pairs(count: int = 300) -> list[TextPair]:
    """Each pair is discordant for one of four clusters, of which the tuned arm shows three; the fourth is a coin's."""
    rng, made = random.Random(0), []
    for seq in range(1, count + 1):
        cluster = 1 + seq % 4
        arm = rng.choice(ARMS) if cluster == 4 or rng.random() < 0.1 else "tuned"
        texts = {name: " ".join(rng.choices(["the", "meal", "is", "ready"], k=8)) for name in ARMS}
        texts[arm] += " " + " ".join(rng.choices(TOPICS[cluster], k=6))
        clusters = {name: cluster if name == arm else 0 for name in ARMS}
        made.append(TextPair(seq, f"r:{seq}", f"p{seq % 9}", Origin.EXPLORE, texts, clusters))
    return made


def regions(after: int) -> Regions:
    claims = tuple(
        Claim(
            cluster_id=k,
            arm="tuned",
            claimed_at=CLAIMED,
            n=9,
            s=9,
            log_e=9.0,
            direction=1,
            warm=False,
            generalises=False,
        )
        for k in (1, 2, 3)
    )
    return Regions(
        epoch=1, after_seq=after, pairs=after, arms={}, warm=False, clusters=4, births=0, criteria={}, claims=claims
    )
