"""The clusterer's state as named parts, so that a commit writes only what changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from contraflow.clusterer.parts import pack, pack_array, unpack, unpack_array
from contraflow.clusterer.types import Life
from contraflow.clusterer.warmup import WarmUp
from contraflow.errors import FormatTooNew, LogUnusable

if TYPE_CHECKING:
    from contraflow.clusterer.core import Clusterer

__all__ = ["dump", "restore"]

_FORMAT = 2


def dump(core: Clusterer) -> dict[str, bytes]:
    """Everything that ``restore`` needs; parts that did not change since the last call are the same bytes."""
    plain = [_FORMAT, core.processed, core.totals, core.births, core.next_id, core.warm is not None]
    parts = {"core": pack(plain), **core.publisher.dump()}
    if core.warm is not None:
        return {**parts, **core.warm.dump()}
    for state in _kept(core):
        parts.update(state.dump())
    parts.update(core.rows.dump(lambda slot: _slot(core, slot)))
    return parts


def restore(core: Clusterer, parts: Mapping[str, bytes]) -> None:
    """Make a new clusterer go on exactly as the one whose state was dumped.

    :raises FormatTooNew: if a newer version of contraflow wrote it.
    :raises LogUnusable: if an older one did, whose parts had other names.
    """
    kept, core.processed, core.totals, core.births, core.next_id, warm = unpack(parts["core"])
    if kept > _FORMAT:
        raise FormatTooNew("the clusterer's state was written by a newer contraflow; resume with that version")
    if kept < _FORMAT:
        raise LogUnusable(
            f"the clusterer's state was written by an older contraflow, in format {kept}, and this one reads {_FORMAT}: "
            "resume with the version that wrote it, or start another run with --new"
        )
    core.publisher.load(parts)
    core.warm = WarmUp.load(parts) if warm else None
    if core.warm is None:
        for state in _kept(core):
            state.load(parts)
        for slot, row in core.rows.load(dict(parts)).items():
            _load_slot(core, slot, row)


def _kept(core: Clusterer) -> tuple[Any, ...]:
    return core.ledger, core.ring, core.leads, core.window, core.samples, core.discordant, core.coverage, core.history


def _slot(core: Clusterer, slot: int) -> list[object]:
    life, kmeans = core.lives[slot], core.kmeans
    divergences = [
        [pack_array(d.direction[slot]), float(d.squares[slot]), int(d.count[slot]), int(d.next_look[slot])]
        for d in core.divergence
    ]
    return [
        [life.cluster_id, life.born_at, life.parents, life.founders, life.last_hit, life.by_arm, life.merged],
        [pack_array(kmeans.means[slot]), float(kmeans.half_norms[slot])],
        [int(kmeans.counts[slot]), float(kmeans.inertia[slot])],
        divergences,
    ]


def _load_slot(core: Clusterer, slot: int, row: Any) -> None:
    life, centroid, counts, divergences = row
    cluster_id, born_at, parents, founders, last_hit, by_arm, merged = life
    core.lives[slot] = Life(cluster_id, born_at, tuple(parents), tuple(founders), last_hit, by_arm, merged)
    core.kmeans.used[slot] = True
    core.kmeans.means[slot], core.kmeans.half_norms[slot] = unpack_array(centroid[0]), centroid[1]
    core.kmeans.counts[slot], core.kmeans.inertia[slot] = counts
    for divergence, (direction, squares, count, look) in zip(core.divergence, divergences, strict=True):
        divergence.direction[slot], divergence.squares[slot] = unpack_array(direction), squares
        divergence.count[slot], divergence.next_look[slot] = count, look
