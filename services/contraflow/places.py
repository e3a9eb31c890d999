"""In which clusters the answers of a run are, in a few bytes an answer: what findings are counted from."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contraflow.events import Claim, Origin, request_id
from contraflow.run_log import RunLog

__all__ = ["Places", "read_places"]


@dataclass(frozen=True, slots=True)
class Places:
    """The pairs of a ``run`` that did not fail, by ``seq``: (pairs,) int64 ``seqs``, and by arm the ids of the ``clusters``.

    ``probes`` (pairs,) bool are those with a forced beginning, which count in no claim.
    """

    run: str
    seqs: NDArray[np.int64]
    probes: NDArray[np.bool_]
    clusters: Mapping[str, NDArray[np.int64]]

    def request(self, row: int) -> str:
        """The id of the request of a row."""
        return request_id(self.run, int(self.seqs[row]))

    def discordant(self, claim: Claim, reference: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows of the pairs of which one text is in the claimed cluster, also after the claim.

        First those in the claimed direction, then the others.
        """
        there, base = (self.clusters[arm] == claim.cluster_id for arm in (claim.arm, reference))
        alone = (np.flatnonzero(mine & ~other & ~self.probes) for mine, other in ((there, base), (base, there)))
        arm, against = alone
        return (arm, against) if claim.direction > 0 else (against, arm)


async def read_places(log: RunLog, arms: Sequence[str]) -> Places:
    """Where the answers of these arms are, as far as the run has come."""
    seqs, probes = array("q"), array("b")
    clusters = {arm: array("q") for arm in arms}
    async for assignment in log.assignments():
        if assignment.failed:
            continue
        seqs.append(assignment.seq)
        probes.append(assignment.origin is Origin.PROBE)
        for arm, ids in clusters.items():
            ids.append(assignment.arms[arm].cluster_id)
    return Places(
        log.wire.run,
        np.array(seqs, np.int64),
        np.array(probes, np.bool_),
        {arm: np.array(ids, np.int64) for arm, ids in clusters.items()},
    )
