"""What an author is given for a claimed cluster, and what becomes of what it writes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from contraflow.validator import author
from contraflow.validator.case import Case
from contraflow.validator.types import Author, Material, Written

__all__ = ["Writing"]


class Writing:
    """Lets ``author`` write drafts from the ``material`` of their clusters."""

    def __init__(self, author: Author, material: Callable[[Case], Material], reference: str) -> None:
        self._author = author
        self._material = material
        self._reference = reference

    async def write(self, case: Case) -> Written | None:
        """A statement for the case, None if nothing readable was written.

        :raises JudgeAway: if the author cannot write now.
        """
        return await self._author.write(self._material(case))

    def take(self, case: Case, written: Written | None) -> None:
        """Make the draft the case's statement; without one the statement of its keywords stays."""
        case.draft = False
        if written is None:
            return
        case.statement, case.author_cost = written.statement, written.price
        hypothesis = case.hypothesis
        other = self._reference if hypothesis.shows == hypothesis.arm else hypothesis.arm
        case.hypothesis = msgspec.structs.replace(
            hypothesis,
            statement=author.sentence(written.statement, hypothesis.shows, other),
            author=self._author.name,
            keywords=tuple(written.statement.terms),
        )
