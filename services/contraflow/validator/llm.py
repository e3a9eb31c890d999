"""A tier that asks a language model."""

from __future__ import annotations

from contraflow.llm.client import Client
from contraflow.llm.prices import PICO
from contraflow.validator.question import VERSION, once_more, question, read
from contraflow.validator.types import Answer, Statement

__all__ = ["LLMJudge"]

_TYPICAL = "x" * 200
"""A text of the length that a call is priced for before there is one: 40 tokens are about so many characters."""


class LLMJudge:
    """Puts each pair to the model of ``client``; ``host`` is where its texts go. ``price`` is the most a short pair costs.

    A reply that cannot be read is asked for once more; a second one, or a refusal, is ``unparsable``.
    """

    prompt_version = VERSION
    may_mind_the_order = True

    def __init__(self, client: Client) -> None:
        self.name = client.model.tier
        self.host = client.host
        self._client = client
        self.price = client.most(question(_TYPICAL, _TYPICAL, _TYPICAL)) / PICO

    async def judge(self, statement: Statement, first: str, second: str) -> Answer:
        """Which of the two texts shows the statement's property more.

        :raises JudgeAway: ProviderDown, ProviderUnusable or BudgetSpent. Nothing was decided, and whatever was answered
            before is kept: the same call goes on from there.
        """
        prompt = question(statement.property, first, second)
        answered = await self._client.ask(prompt)
        choice = read(answered.text)
        if choice is not None or answered.text is None:
            return Answer(choice or "unparsable", answered.price, answered.latency, answered.cached)
        second_try = await self._client.ask(once_more(prompt))
        return Answer(
            read(second_try.text) or "unparsable",
            answered.price + second_try.price,
            answered.latency + second_try.latency,
            answered.cached and second_try.cached,
        )
