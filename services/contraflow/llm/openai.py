"""Any server that speaks OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp, Ollama."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from contraflow.errors import ConfigurationError
from contraflow.llm.failures import failure, said
from contraflow.llm.provider import Prompt, ProviderError, Refused, Reply, Transient

__all__ = ["URL", "OpenAIProvider", "Structured"]

URL = "https://api.openai.com/v1"

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
        try:
            import openai
        except ImportError as error:
            raise ConfigurationError("the openai tier needs its package: pip install 'contraflow[openai]'") from error
        self.host = base_url or URL
        self._openai = openai
        self._key = key
        # compatible servers know the older name, OpenAI's newer models refuse it
        self._limit = "max_completion_tokens" if base_url is None else "max_tokens"
        self._structured = structured
        self._options = dict(options or {})
        # named, because the SDK would otherwise take another address, or a key meant for another, from the environment
        self._client = openai.AsyncOpenAI(api_key=key or "none", base_url=self.host, max_retries=0, timeout=timeout)

    async def ask(self, prompt: Prompt, model: str, max_tokens: int) -> Reply:
        """One chat completion."""
        openai = self._openai
        try:
            completion = await self._client.chat.completions.create(**self._request(prompt, model, max_tokens))
        except openai.APIStatusError as error:
            raise self._failure(error) from None  # its traceback would hold the request, and the key
        except openai.APITimeoutError as error:
            raise Transient(said(error, self._key), billed=True) from None
        except openai.APIConnectionError as error:
            refused = "Connect" in type(error.__cause__).__name__
            raise Transient(said(error.__cause__ or error, self._key), billed=not refused) from None
        except (openai.OpenAIError, ValueError) as error:
            raise Transient(f"the reply could not be read: {said(error, self._key)}", billed=True) from None
        return _reply(completion)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _failure(self, error: Any) -> ProviderError:
        told = error.body.get("message") if isinstance(error.body, Mapping) else None
        return failure(error.status_code, said(told or error.message, self._key), error.response.headers, error.body)

    def _request(self, prompt: Prompt, model: str, max_tokens: int) -> dict[str, Any]:
        request = {
            "model": model,
            "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
            "temperature": 0,
            self._limit: max_tokens,
            **self._format(prompt),
        }
        known = {name: value for name, value in self._options.items() if name in request}
        extra = {name: value for name, value in self._options.items() if name not in request}
        request = {name: value for name, value in {**request, **known}.items() if value is not None}
        return {**request, "extra_body": extra} if extra else request

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
    tokens = (_count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))
    if refusal := next((message.refusal for message in messages if getattr(message, "refusal", None)), None):
        raise Refused(said(refusal, None), *tokens)
    if any(choice.finish_reason == "content_filter" for choice in choices):
        raise Refused("the answer was filtered", *tokens)
    return Reply("\n".join(str(message.content or "") for message in messages), *tokens)


def _count(usage: Any, name: str) -> int | None:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) and value >= 0 else None
