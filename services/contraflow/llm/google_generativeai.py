"""Gemini through google-generativeai, which the vendor ended, for environments that pin it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import anyio
import anyio.to_thread

from contraflow.errors import ConfigurationError
from contraflow.llm.failures import failure, said
from contraflow.llm.gemini import URL, reply_of
from contraflow.llm.provider import Prompt, Reply, Transient

__all__ = ["GoogleGenerativeAIProvider"]

_THREADS = 64


class GoogleGenerativeAIProvider:
    """Calls over REST in threads: its async calls fail over REST, and insist on TLS over gRPC.

    ``options`` are fields of its GenerationConfig; None takes one out. A call that is given up on keeps its thread until
    the server lets go.

    :raises ConfigurationError: if the package is missing.
    """

    def __init__(
        self, key: str | None, base_url: str | None, timeout: float, options: Mapping[str, Any] | None = None
    ) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it says at every import that it has ended
                import google.generativeai as genai
                from google.ai import generativelanguage
                from google.api_core import exceptions
        except ImportError as error:
            raise ConfigurationError(
                "the google-generativeai tier needs its package: pip install 'contraflow[google-generativeai]'"
            ) from error
        self.host = base_url or URL
        self._genai, self._exceptions = genai, exceptions
        self._key = key
        self._timeout = timeout
        self._options = dict(options or {})
        self._threads = anyio.CapacityLimiter(_THREADS)
        # a client of its own: the package's is one for the whole process, with one key and one address
        self._client = generativelanguage.GenerativeServiceClient(
            transport="rest", client_options={"api_key": key or "none", "api_endpoint": self.host}
        )

    async def ask(self, prompt: Prompt, model: str, max_tokens: int) -> Reply:
        """One call of generateContent."""
        return await anyio.to_thread.run_sync(
            self._ask, prompt, model, max_tokens, abandon_on_cancel=True, limiter=self._threads
        )

    async def close(self) -> None:
        """Close the connections."""
        self._client.transport.close()

    def _ask(self, prompt: Prompt, model: str, max_tokens: int) -> Reply:
        generative = self._genai.GenerativeModel(model, system_instruction=prompt.system)
        generative._client = self._client
        options = {"timeout": self._timeout, "retry": None}
        try:
            response = generative.generate_content(
                prompt.user, generation_config=self._config(prompt, max_tokens), request_options=options
            )
        except self._exceptions.GoogleAPICallError as error:
            headers = getattr(error.response, "headers", {})
            raise failure(error.code or 500, said(error.message, self._key), headers, _body(error.response)) from None
        except Exception as error:  # of requests, of protobuf, of its own: each reports a broken reply in its way
            connected = "NewConnectionError" not in repr(error)
            raise Transient(f"{type(error).__name__}: {said(error, self._key)}", billed=connected) from None
        return reply_of(response)

    def _config(self, prompt: Prompt, max_tokens: int) -> dict[str, Any]:
        schema = {name: value for name, value in prompt.schema.items() if name != "additionalProperties"}
        config = {
            "temperature": 0,
            "candidate_count": 1,
            "max_output_tokens": max_tokens,
            "response_mime_type": "application/json",
            "response_schema": schema,
            **self._options,
        }
        return {name: value for name, value in config.items() if value is not None}


def _body(response: Any) -> Any:
    try:
        return response.json()
    except (AttributeError, ValueError):
        return None
