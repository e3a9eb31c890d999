"""Gemini through google-genai, and what both of Google's packages share: how a reply is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contraflow.errors import ConfigurationError
from contraflow.llm.failures import failure, said
from contraflow.llm.provider import Prompt, Refused, Reply, Transient

__all__ = ["URL", "GeminiProvider", "reply_of"]

URL = "https://generativelanguage.googleapis.com"

_ANSWERED = ("STOP", "MAX_TOKENS", "FINISH_REASON_UNSPECIFIED", "MALFORMED_RESPONSE")


class GeminiProvider:
    """``options`` are fields of GenerateContentConfig, such as ``thinking_config``; None takes one out.

    :raises ConfigurationError: if the package is missing.
    """

    def __init__(
        self, key: str | None, base_url: str | None, timeout: float, options: Mapping[str, Any] | None = None
    ) -> None:
        try:
            from google import genai
            from google.genai import types
        except ImportError as error:
            raise ConfigurationError("the gemini tier needs its package: pip install 'contraflow[gemini]'") from error
        self.host = base_url or URL
        self._genai = genai
        self._key = key
        self._options = dict(options or {})
        # named, because the SDK would otherwise take another address, or another service, from the environment
        once = types.HttpRetryOptions(attempts=1)
        http = types.HttpOptions(base_url=self.host, timeout=int(timeout * 1000), retry_options=once)
        self._client = genai.Client(api_key=key or "none", vertexai=False, http_options=http)

    async def ask(self, prompt: Prompt, model: str, max_tokens: int) -> Reply:
        """One call of generateContent."""
        try:
            response = await self._client.aio.models.generate_content(
                model=model, contents=prompt.user, config=self._config(prompt, max_tokens)
            )
        except self._genai.errors.APIError as error:
            headers = getattr(error.response, "headers", None) or {}
            raise failure(error.code, said(error.message or error, self._key), headers, error.details) from None
        except Exception as error:  # whatever its HTTP library raises comes through, and which one that is may change
            connected = "Connect" not in type(error).__name__
            raise Transient(f"{type(error).__name__}: {said(error, self._key)}", billed=connected) from None
        return reply_of(response)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aio.aclose()
        self._client.close()

    def _config(self, prompt: Prompt, max_tokens: int) -> dict[str, Any]:
        config = {
            "system_instruction": prompt.system,
            "temperature": 0,
            "candidate_count": 1,
            "max_output_tokens": max_tokens,
            "response_mime_type": "application/json",
            "response_json_schema": dict(prompt.schema),
            "automatic_function_calling": {"disable": True},
            **self._options,
        }
        return {name: value for name, value in config.items() if value is not None}


def reply_of(response: Any) -> Reply:
    """The text of a GenerateContentResponse of either package.

    :raises Refused: if the prompt or the answer was blocked.
    :raises Transient: if there is no candidate.
    """
    usage = response.usage_metadata
    written = [getattr(usage, name, None) or 0 for name in ("candidates_token_count", "thoughts_token_count")]
    prompt_tokens = getattr(usage, "prompt_token_count", None) or None  # absent, it reads as 0 in the older package
    tokens = (prompt_tokens, sum(written) if prompt_tokens else None)
    if reason := getattr(response.prompt_feedback, "block_reason", None):
        raise Refused(f"the prompt was blocked ({_name(reason)})", *tokens)
    if not response.candidates:
        raise Transient("the reply holds no candidate", billed=True)
    reasons = [_name(candidate.finish_reason) for candidate in response.candidates if candidate.finish_reason]
    if blocked := next((reason for reason in reasons if reason not in _ANSWERED), None):
        raise Refused(f"the answer was blocked ({blocked})", *tokens)
    return Reply("\n".join(_text(candidate) for candidate in response.candidates), *tokens)


def _text(candidate: Any) -> str:
    parts = (candidate.content.parts if candidate.content else None) or ()
    return "".join(part.text or "" for part in parts if not getattr(part, "thought", None))


def _name(reason: Any) -> str:
    return str(getattr(reason, "name", reason))
