"""The events on contraflow's topics: the contract between its services, and with programs in other languages.

Each event is a frozen ``msgspec.Struct`` tagged with its name and version (``text.v1``) and travels as one MessagePack
map. New fields get defaults; a breaking change is a new tag. ``schemas/`` is generated from this module.

``gc=False``: no event refers to itself, and a collector that looks at every event in flight took a tenth of a run.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

import msgspec

from contraflow.errors import ContraflowError

__all__ = [
    "EVENTS",
    "ArmTotals",
    "Assignment",
    "Claim",
    "Cluster",
    "ClusterState",
    "Comparison",
    "Control",
    "ControlAction",
    "Criterion",
    "Effect",
    "Embedding",
    "Event",
    "EventError",
    "Evidence",
    "Exemplar",
    "Hypothesis",
    "Judgment",
    "Message",
    "Origin",
    "Placement",
    "Reason",
    "Region",
    "Regions",
    "Request",
    "Steering",
    "Text",
    "TierResult",
    "Verdict",
    "VerdictStatus",
    "decode",
    "encode",
    "hypothesis_id",
    "request_id",
    "tag_of",
    "text_id",
]


class EventError(ContraflowError):
    """Bytes on a topic are not the event that the topic carries."""


class Origin(StrEnum):
    """Why a request was asked; only ``EXPLORE`` enters *generalises*, effects and stopping criteria."""

    EXPLORE = "explore"
    SCAN = "scan"
    STEER = "steer"
    CONFIRM = "confirm"
    PROBE = "probe"


class Reason(StrEnum):
    """Why a region is worth more texts."""

    LEAD = "lead"
    DIVERGENCE = "divergence"
    BOUNDARY = "boundary"
    THIN = "thin"
    CONFIRM = "confirm"


class ClusterState(StrEnum):
    """The life of a cluster. ``SPLIT`` and ``MERGED`` are frozen; their lineage names what took over."""

    ACTIVE = "active"
    SPLIT = "split"
    MERGED = "merged"
    RETIRED = "retired"


class VerdictStatus(StrEnum):
    """What the judges settled."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNDECIDED = "undecided"


class ControlAction(StrEnum):
    """The states of a run, in the order in which a run passes them."""

    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"
    COMPLETE = "complete"
    DONE = "done"


class _Part(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A part of an event."""


class Message(_Part, frozen=True):
    """One turn of a conversation."""

    role: str
    content: str


class Request(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="request.v1"):
    """One question that every arm answers once. ``seq`` is gapless from 1; ``epoch`` counts from 1."""

    seq: int
    request_id: str
    prompt_id: str
    messages: tuple[Message, ...]
    draw: int
    seed: int
    epoch: int
    origin: Origin
    category: str | None = None
    answer_prefix: str | None = None
    region_id: str | None = None


class Text(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="text.v1"):
    """One arm's answer to a request. With ``error`` set the request is closed as failed for every arm."""

    seq: int
    request_id: str
    text_id: str
    arm: str
    prompt_id: str
    prompt: str
    text: str
    origin: Origin
    finish_reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    model: str = ""
    thinking: str | None = None
    error: str | None = None


class Embedding(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="embedding.v1"):
    """A text (without its prompt) and its vector: ``dim`` little-endian float32, empty with ``error``."""

    seq: int
    request_id: str
    text_id: str
    arm: str
    prompt_id: str
    text: str
    origin: Origin
    finish_reason: str
    vector: bytes
    dim: int
    encoder: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False
    truncated: bool = False
    error: str | None = None


class Placement(_Part, frozen=True):
    """Where one arm's text fell: nearest and second nearest cluster, and the difference of their scores."""

    cluster_id: int
    second: int
    margin: float


class Assignment(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="assignment.v1"):
    """Where a pair fell, by arm. ``snapshot`` is the number of blocks that the centroids had seen."""

    seq: int
    request_id: str
    prompt_id: str
    origin: Origin
    snapshot: int
    arms: dict[str, Placement]
    failed: bool = False


class ArmTotals(_Part, frozen=True):
    """What an arm has answered so far; tokens are completion tokens."""

    texts: int = 0
    failures: int = 0
    tokens: int = 0


class Criterion(_Part, frozen=True):
    """A stopping criterion: its value, its target if the experiment names one, and whether it holds."""

    value: float | None
    target: float | None = None
    holds: bool = False


class Claim(_Part, frozen=True):
    """A cluster in which an arm's share differs from the reference's. ``direction`` is +1 if the arm shows it more.

    ``warm`` marks evidence that includes warm-start pairs; ``generalises`` is the claim on uniformly asked pairs alone.
    """

    cluster_id: int
    arm: str
    claimed_at: int
    n: int
    s: int
    log_e: float
    direction: int
    warm: bool = False
    generalises: bool = False


class Region(_Part, frozen=True):
    """A part of the space that deserves more texts, and the prompts (``hits``) that lead there."""

    region_id: str
    reason: Reason
    probability: float
    needed: int
    hits: dict[str, float]
    cluster_id: int | None = None
    arm: str | None = None


class Regions(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="regions.v1"):
    """What the clusterer knew after pair ``after_seq``; the only thing that later plans may depend on."""

    epoch: int
    after_seq: int
    pairs: int
    arms: dict[str, ArmTotals]
    warm: bool
    clusters: int
    births: int
    criteria: dict[str, Criterion]
    claims: tuple[Claim, ...] = ()
    regions: tuple[Region, ...] = ()
    final: bool = False


class Effect(_Part, frozen=True):
    """Shares on uniformly asked pairs with confidence bounds: of the arm, of the reference, and their difference."""

    n: int
    share: float
    share_low: float
    share_high: float
    reference: float
    reference_low: float
    reference_high: float
    difference: float
    difference_low: float
    difference_high: float


class Comparison(_Part, frozen=True):
    """The evidence of one (cluster, arm): all pairs, and the same over ``explore`` alone.

    ``n`` discordant pairs, ``s`` of them the arm's; ``log_e`` is frozen at the claim, ``n`` and ``s`` go on.
    """

    n: int
    s: int
    log_e: float
    weight: float
    explore_n: int = 0
    explore_s: int = 0
    explore_log_e: float = 0.0
    claimed_at: int | None = None
    claimed_n: int | None = None
    claimed_s: int | None = None
    generalises_at: int | None = None
    effect: Effect | None = None


class Exemplar(_Part, frozen=True):
    """A text that shows what a cluster holds."""

    request_id: str
    prompt_id: str
    text: str


class Cluster(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="cluster.v1"):
    """A cluster as of pair ``after_seq``. ``radius`` is the root mean squared distance to the centroid.

    ``counts`` are the texts assigned to it since its birth, by arm; ``size`` is their sum, and the sizes of the clusters
    merged into it. ``founders`` are the texts, by arm, that it was born from: they had been assigned elsewhere.
    """

    cluster_id: int
    version: int
    after_seq: int
    state: ClusterState
    born_at: int
    size: int
    radius: float
    keywords: tuple[str, ...]
    exemplars: dict[str, tuple[Exemplar, ...]]
    comparisons: dict[str, Comparison]
    counts: dict[str, int]
    founders: dict[str, int] = {}
    parents: tuple[int, ...] = ()
    merged_into: int | None = None
    centroid: bytes = b""
    drift: tuple[int, ...] = ()


class Evidence(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="evidence.v1"):
    """One point on a hypothesis's path of evidence."""

    seq: int
    cluster_id: int
    arm: str
    n: int
    s: int
    log_e: float


class Hypothesis(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="hypothesis.v1"):
    """A statement about the texts of a claimed cluster, written from the pairs of ``written_from`` (request ids)."""

    hypothesis_id: str
    cluster_id: int
    arm: str
    shows: str
    statement: str
    author: str
    order: int
    claimed_at: int
    written_from: tuple[str, ...]
    keywords: tuple[str, ...] = ()
    placebo_of: str | None = None


class Judgment(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="judgment.v1"):
    """One answer of one judge on one fresh pair. ``answer``: first, second, both, neither or unparsable.

    ``again`` marks a pair that was asked once more in the other order, which counts for position bias and nothing else;
    ``elsewhere`` one from another cluster, which counts for generality and nothing else.
    """

    hypothesis_id: str
    tier: str
    request_id: str
    seq: int
    order: tuple[str, str]
    answer: str
    x: int | None = None
    placebo: bool = False
    again: bool = False
    elsewhere: bool = False
    price: float = 0.0
    latency: float = 0.0
    cached: bool = False
    prompt_version: str = ""


class TierResult(_Part, frozen=True):
    """What one tier found: ``n`` judged pairs that were no ties, ``s`` for the statement."""

    tier: str
    n: int
    s: int
    ties: int
    log_e: float
    score: float
    unparsable: int = 0
    cost: float = 0.0


class Verdict(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="verdict.v1"):
    """What the judges settled about a hypothesis, with the controls beside it.

    ``elsewhere_n`` and ``elsewhere_s`` are of pairs from other clusters: does an accepted statement hold there too?
    ``placebo_n`` pairs are those on which exactly one of statement and placebo picked the named arm, ``placebo_s`` of them the
    statement. The placebo by itself was ``placebo_answered`` without a tie, ``placebo_named`` times for the named arm; where
    judges seem to find the arm under the placebo too, ``placebo_n`` has no pair with a tie. Where ``placebo_ties`` are many the
    control is weak: a judge that sees no placebo anywhere is not tested by it.
    """

    hypothesis_id: str
    status: VerdictStatus
    tiers: tuple[TierResult, ...]
    n: int
    s: int
    ties: int
    log_e: float
    log_e_reject: float
    score: float
    version: int = 1
    cost: float = 0.0
    specific: bool | None = None
    placebo_statement: str | None = None
    placebo_n: int = 0
    placebo_s: int = 0
    placebo_ties: int = 0
    placebo_answered: int = 0
    placebo_named: int = 0
    placebo_log_e: float = 0.0
    bag_of_words: float | None = None
    elsewhere_n: int = 0
    elsewhere_s: int = 0
    reason: str = ""


class Steering(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="steering.v1"):
    """What the sampler planned for an epoch, and why."""

    epoch: int
    first_seq: int
    last_seq: int
    after_seq: int
    shares: dict[str, int]
    regions: dict[str, int]
    texts: int
    budget: int
    phase: str
    pool: int


class Control(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True, tag="control.v1"):
    """A change in the state of the run. ``config`` (of ``run``) is the fingerprint that every service of it must have."""

    run: str
    action: ControlAction
    last_seq: int | None = None
    why: str = ""
    budget: dict[str, float] | None = None
    config: str = ""


Event = (
    Request
    | Text
    | Embedding
    | Assignment
    | Regions
    | Cluster
    | Evidence
    | Hypothesis
    | Judgment
    | Verdict
    | Steering
    | Control
)

EVENTS: tuple[type[msgspec.Struct], ...] = (
    Request,
    Text,
    Embedding,
    Assignment,
    Regions,
    Cluster,
    Evidence,
    Hypothesis,
    Judgment,
    Verdict,
    Steering,
    Control,
)

E = TypeVar("E", bound=msgspec.Struct)

_encoder = msgspec.msgpack.Encoder()


@cache
def _decoder(kind: type[Any]) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)


def tag_of(kind: type[msgspec.Struct]) -> str:
    """The name and version of an event, such as ``text.v1``."""
    return str(kind.__struct_config__.tag)


def encode(event: msgspec.Struct) -> bytes:
    """One event as MessagePack."""
    return _encoder.encode(event)


def decode(value: bytes, kind: type[E]) -> E:
    """The event of type ``kind`` in ``value``.

    :raises EventError: if the bytes are anything else.
    """
    try:
        event: E = _decoder(kind).decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError(f"not a {tag_of(kind)}: {error}") from error
    return event


def request_id(run: str, seq: int) -> str:
    """The id of the request number ``seq`` of a run."""
    return f"{run}:{seq}"


def text_id(request: str, arm: str) -> str:
    """The id of an arm's answer; it never depends on the text."""
    return f"{request}:{arm}"


def hypothesis_id(cluster_id: int, arm: str, order: int) -> str:
    """The id of the statement number ``order`` about a cluster and an arm."""
    return f"c{cluster_id}:{arm}:{order}"
