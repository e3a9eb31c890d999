"""An independent recount of a run's log: every text once, every pair once, and clusters as large as their assignments say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from contraflow.events import Assignment, Cluster, Embedding, Origin, Request, Text, decode
from contraflow.log.opening import open_log
from contraflow.results import read_topic
from contraflow.runs import RunFolder
from contraflow.wire import Wire

__all__ = ["recount"]


async def recount(path: Path, pairs: int, arms: tuple[str, ...]) -> None:
    """Read every record that is committed, and check what must hold."""
    folder = RunFolder(path)
    wire = Wire(folder.run, folder.resolved["experiment"]["partitions"])
    async with open_log(folder) as log:
        requests = [decode(r.value or b"", Request) for r in await read_topic(log, wire, "requests")]
        texts = [decode(r.value or b"", Text) for r in await read_topic(log, wire, "texts")]
        embeddings = [decode(r.value or b"", Embedding) for r in await read_topic(log, wire, "embeddings")]
        assignments = [decode(r.value or b"", Assignment) for r in await read_topic(log, wire, "assignments")]
        clusters = [decode(r.value or b"", Cluster) for r in await read_topic(log, wire, "clusters")]
    everything = Counter((seq, arm) for seq in range(1, pairs + 1) for arm in arms)
    assert Counter(r.seq for r in requests) == Counter(range(1, pairs + 1)), "a request is missing, or there twice"
    assert Counter((t.seq, t.arm) for t in texts) == everything, "a text is missing, or there twice"
    assert Counter((e.seq, e.arm) for e in embeddings) == everything, "an embedding is missing, or there twice"
    assert Counter(a.seq for a in assignments) == Counter(range(1, pairs + 1)), "a pair is missing, or there twice"
    _sizes(assignments, list({c.cluster_id: c for c in clusters}.values()))


def _sizes(assignments: list[Assignment], clusters: list[Cluster]) -> None:
    """A cluster counts the texts that were assigned to it since its birth; its size has those merged into it, too."""
    counted = [a for a in assignments if not a.failed and a.origin is not Origin.PROBE]
    assigned = Counter((at.cluster_id, arm) for a in counted for arm, at in a.arms.items())
    merged: Counter[int] = Counter()
    for cluster in clusters:
        if cluster.merged_into is not None:
            merged[cluster.merged_into] += cluster.size
    for cluster in clusters:
        of_arms = {arm: assigned[cluster.cluster_id, arm] for arm in cluster.counts}
        assert cluster.counts == of_arms, f"cluster {cluster.cluster_id} counts a text twice, or has lost one"
        assert cluster.size == sum(of_arms.values()) + merged[cluster.cluster_id], f"cluster {cluster.cluster_id}"
