"""A server that speaks OpenAI's wire format: OpenAI itself, vLLM, SGLang, llama.cpp, Ollama."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from contraflow.configuration.secrets import without_userinfo
from contraflow.errors import ConfigurationError
from contraflow.llm.failures import Advice, failure, said
from contraflow.llm.provider import ProviderError, Transient

__all__ = ["URL", "Server", "count", "with_options"]

URL = "https://api.openai.com/v1"


class Server:
    """The ``client`` of a server, without retries of its own, and its failures as errors of a provider.

    ``advice`` says what to do about those that no retry mends.

    :raises ConfigurationError: if the package is missing.
    """

    def __init__(self, key: str | None, base_url: str | None, timeout: float, advice: Advice) -> None:
        try:
            import openai
        except ImportError as error:
            raise ConfigurationError(
                "asking an OpenAI-compatible server needs a package: pip install 'contraflow[openai]'"
            ) from error
        self.host = without_userinfo(base_url or URL)
        self._openai = openai
        self._key = key
        self._advice = advice
        # compatible servers know the older name, OpenAI's newer models refuse it
        self.limit = "max_completion_tokens" if base_url is None else "max_tokens"
        # named, because the SDK would otherwise take another address, or a key meant for another, from the environment
        self.client = openai.AsyncOpenAI(
            api_key=key or "none", base_url=base_url or URL, max_retries=0, timeout=timeout
        )

    async def reply(self, call: Awaitable[Any]) -> Any:
        """What a call of the client returns.

        :raises ProviderError: if it fails; of the kind that says whether the same call may succeed later.
        """
        openai = self._openai
        try:
            return await call
        except openai.APIStatusError as error:
            raise self._failure(error) from None  # its traceback would hold the request, and the key
        except openai.APITimeoutError as error:
            raise Transient(self.said(error), billed=True) from None
        except openai.APIConnectionError as error:
            refused = "Connect" in type(error.__cause__).__name__
            raise Transient(self.said(error.__cause__ or error), billed=not refused, away=refused) from None
        except (openai.OpenAIError, ValueError) as error:
            raise Transient(f"the reply could not be read: {self.said(error)}", billed=True) from None

    def said(self, error: object) -> str:
        """What an error says, in one line and without the key."""
        return said(error, self._key)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()

    def _failure(self, error: Any) -> ProviderError:
        told = error.body.get("message") if isinstance(error.body, Mapping) else None
        message = self.said(told or error.message)
        return failure(error.status_code, message, error.response.headers, error.body, self._advice)


def with_options(request: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The request with ``options``, which win; None takes a field out, such as a temperature that a model refuses."""
    known = {name: value for name, value in options.items() if name in request}
    extra = {**request.get("extra_body", {}), **{name: v for name, v in options.items() if name not in request}}
    fields = {name: value for name, value in {**request, **known}.items() if value is not None}
    extra = {name: value for name, value in extra.items() if value is not None}
    return {**fields, "extra_body": extra} if extra else fields


def count(usage: Any, name: str) -> int | None:
    """A number of tokens that a reply states; None if it does not."""
    value = getattr(usage, name, None)
    return value if isinstance(value, int) and value >= 0 else None
