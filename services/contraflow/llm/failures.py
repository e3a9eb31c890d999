"""Turns what HTTP says of a failure into one of the provider's errors, without a secret in it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from contraflow.llm.provider import Permanent, ProviderError, RateLimited, Refused, Transient

__all__ = ["OF_A_TIER", "Advice", "failure", "retry_after", "said"]

_LONGEST = 300
_QUOTA = ("insufficient_quota", "billing_hard_limit_reached")
_BY_CONTENT = (
    "content_filter",
    "content_policy",
    "context_length",
    "context length",
    "exceeds the maximum number of tokens",
)


class Advice(NamedTuple):
    """What to do where no retry helps: if what is asked for is ``unknown``, and if the request is ``refused``."""

    unknown: str
    refused: str


OF_A_TIER = Advice(
    "Check the model's name and base_url under validation.tiers.",
    "Check the tier's options under validation.tiers; a server without JSON schemas needs structured: json or none.",
)


def failure(
    status: int, message: str, headers: Mapping[str, str], body: Any = None, advice: Advice = OF_A_TIER
) -> ProviderError:
    """The error for a reply with this status; ``message`` must hold no key (see ``said``)."""
    what = f"{status}: {message}"
    if status == 429:
        if any(word in f"{message} {body}" for word in _QUOTA):
            return Permanent(f"{what}. The account's credit or quota is spent: add to it, then resume.")
        return RateLimited(what, retry_after(headers, body))
    if status in (408, 409, 425) or status >= 500:
        # a gateway that gave up waiting does not know what the model behind it went on to do
        away = status in (502, 503, 504)
        return Transient(what, billed=status in (502, 504), away=away, retry_after=retry_after(headers, body))
    if any(word in f"{message} {body}".lower() for word in _BY_CONTENT):
        return Refused(what, 0, 0)
    return Permanent(f"{what}. {_advised(status, message, advice)}", of_request=status in (400, 413, 422))


def _advised(status: int, message: str, advice: Advice) -> str:
    if status in (401, 403) or "api key" in message.lower() or "api_key" in message.lower():
        return "Check the key in the environment variable, and that it may use this model."
    return advice.unknown if status == 404 else advice.refused


def retry_after(headers: Mapping[str, str], body: Any = None) -> float | None:
    """Seconds to wait, by ``retry-after-ms``, ``Retry-After`` (seconds or a date) or Google's RetryInfo in the body."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        if (value := headers.get("retry-after")) is not None:
            if re.fullmatch(r"\s*[\d.]+\s*", value):
                return float(value)
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
    return _retry_info(body)


def _retry_info(body: Any) -> float | None:
    details = _at(_at(body, "error"), "details") or _at(body, "details")
    for detail in details if isinstance(details, list) else ():
        delay = _at(detail, "retryDelay")
        if isinstance(delay, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)s", delay)):
            return float(match[1])
    return None


def _at(value: Any, key: str) -> Any:
    if isinstance(value, list) and len(value) == 1:  # Google wraps an error in a list where it was asked to stream
        value = value[0]
    return value.get(key) if isinstance(value, Mapping) else None


def said(error: object, key: str | None) -> str:
    """What an error says, in one line, kept short, and without the key: a server may echo what it was sent."""
    text = " ".join(str(error).split()) or type(error).__name__
    if key:
        text = text.replace(key, "***")
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
