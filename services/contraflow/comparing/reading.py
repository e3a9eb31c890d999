"""Reads two runs' folders and compares them."""

from __future__ import annotations

from contraflow.comparing.comparison import compare_results
from contraflow.comparing.ground import refuse_itself
from contraflow.comparing.records import RunComparison
from contraflow.results import read_results, read_vectors
from contraflow.runs import RunFolder

__all__ = ["read_and_compare"]


async def read_and_compare(first: RunFolder, second: RunFolder) -> RunComparison:
    """Compare two runs, finished or not.

    :raises NotComparable: if they are one, or have nothing in common.
    """
    refuse_itself(first, second)
    one, other = await read_results(first.path), await read_results(second.path)
    return compare_results(one, await read_vectors(one), other, await read_vectors(other))
