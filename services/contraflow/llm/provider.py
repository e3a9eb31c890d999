"""What a provider of language models is: one call, and the ways in which it may fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from contraflow.errors import ContraflowError

__all__ = ["Permanent", "Prompt", "Provider", "ProviderError", "RateLimited", "Refused", "Reply", "Transient"]


class Prompt(NamedTuple):
    """A question. ``schema`` is the JSON schema of its answer; ``version`` names the wording, for the records."""

    version: str
    system: str
    user: str
    schema: Mapping[str, Any]


class Reply(NamedTuple):
    """What the model said, as it said it, and the tokens that are charged for; None where the provider does not say."""

    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Provider(Protocol):
    """Calls one model. ``host`` is where texts go to, in words for people; retries and limits are not its business."""

    host: str

    async def ask(self, prompt: Prompt, model: str, max_tokens: int) -> Reply:
        """The answer of ``model``, of at most ``max_tokens`` tokens, at temperature 0.

        :raises RateLimited: if the provider asks to slow down.
        :raises Transient: if the same call may succeed later.
        :raises Refused: if the model does not answer because of what the texts say.
        :raises Permanent: if no later call will succeed: a wrong key, an unknown model.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class ProviderError(ContraflowError):
    """A call that gave no answer. ``billed``: it may be charged all the same, because nobody knows how far it got."""

    billed = False


class RateLimited(ProviderError):
    """Too many calls; ``retry_after`` is in seconds, None if the provider did not say."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Transient(ProviderError):
    """It failed, and may not fail again: a server's error, a lost connection, a reply that is cut short.

    ``away``: nobody was there to answer it, whatever was asked.
    """

    def __init__(
        self, message: str, *, billed: bool = False, away: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.billed = billed
        self.away = away
        self.retry_after = retry_after


class Refused(ProviderError):
    """The model will not answer, or cannot, because of what the texts say. What it read is charged."""

    def __init__(self, message: str, prompt_tokens: int | None = None, completion_tokens: int | None = None) -> None:
        super().__init__(message)
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens


class Permanent(ProviderError):
    """It will fail until somebody mends the experiment or the account; the message says what to do.

    ``of_request``: the request itself was refused; another one may not be.
    """

    def __init__(self, message: str, *, of_request: bool = False) -> None:
        super().__init__(message)
        self.of_request = of_request
