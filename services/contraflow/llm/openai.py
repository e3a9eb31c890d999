"""Questions to any server that speaks OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from contraflow.llm.failures import OF_A_TIER, said
from contraflow.llm.provider import Prompt, Refused, Reply, Transient
from contraflow.llm.server import Server, count, with_options

__all__ = ["OpenAIProvider", "Structured"]

Structured = Literal["schema", "json", "none"]
"""How an answer is held to its form: by a JSON schema, as any JSON, or by the prompt's words alone."""


class OpenAIProvider:
    """``options`` go into the request as they are; None takes a field out, such as a temperature that is refused.

    :raises ConfigurationError: if the package is missing.
    """

    def __init__(
        self,
        key: str | None,
        base_url: str | None,
        timeout: float,
        structured: Structured = "schema",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._server = Server(key, base_url, timeout, OF_A_TIER)
        self.host = self._server.host
        self._structured = structured
        self._options = dict(options or {})

    async def ask(self, prompt: Prompt, model: str, max_tokens: int) -> Reply:
        """One chat completion."""
        create = self._server.client.chat.completions.create
        return _reply(await self._server.reply(create(**self._request(prompt, model, max_tokens))))

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    def _request(self, prompt: Prompt, model: str, max_tokens: int) -> dict[str, Any]:
        request = {
            "model": model,
            "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
            "temperature": 0,
            self._server.limit: max_tokens,
            **self._format(prompt),
        }
        return with_options(request, self._options)

    def _format(self, prompt: Prompt) -> dict[str, Any]:
        if self._structured == "none":
            return {}
        if self._structured == "json":
            return {"response_format": {"type": "json_object"}}
        schema = {"name": "answer", "strict": True, "schema": dict(prompt.schema)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _reply(completion: Any) -> Reply:
    choices = getattr(completion, "choices", None)
    choices = choices if isinstance(choices, list) else []  # the SDK checks nothing, and a body may be any JSON
    messages = [choice.message for choice in choices if choice.message]
    if not messages:
        raise Transient("the reply holds no choice", billed=True)
    usage = getattr(completion, "usage", None)
    tokens = (count(usage, "prompt_tokens"), count(usage, "completion_tokens"))
    if refusal := next((message.refusal for message in messages if getattr(message, "refusal", None)), None):
        raise Refused(said(refusal, None), *tokens)
    if any(choice.finish_reason == "content_filter" for choice in choices):
        raise Refused("the answer was filtered", *tokens)
    return Reply("\n".join(str(message.content or "") for message in messages), *tokens)
