"""Secrets stay in the environment: an experiment names the variable, and nothing kept or shown holds more."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from contraflow.configuration.typed import Problem
from contraflow.errors import ConfigurationError
from contraflow.experiment import Experiment

__all__ = ["literal_secrets", "redacted", "secret", "without_userinfo"]

_REFERENCE = re.compile(r"\$\{(\w+)\}|env:(\w+)")
_SECRET = re.compile(
    r"(?:^|[_.-])(?:api)?(?:[Kk]ey|[Tt]oken|[Pp]ass(?:word|wd|phrase)|[Ss]ecret|[Aa]uthorization)$"
    r"|[a-z](?:Key|Token|Password|Secret)$|^[A-Z_]*(?:KEY|TOKEN|PASSWORD|SECRET)$"
)
_NOT_SECRET = re.compile(r"(?:bos|eos|pad|unk|sep|cls|mask|stop)_token$")
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


def secret(reference: str) -> str:
    """The value of the environment variable that ``env:NAME`` or ``${NAME}`` refers to.

    :raises ConfigurationError: if it is no such reference, or the variable is not set.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ConfigurationError("a secret is written as env:NAME, where NAME is an environment variable that holds it")
    name = match[1] or match[2]
    if not (value := os.environ.get(name)):
        raise ConfigurationError(f"the environment variable {name} is not set; set it, or change the reference to it")
    return value


def literal_secrets(value: Any, keys: tuple[str, ...] = ()) -> Iterator[Problem]:
    """Every secret that is written out where a reference belongs."""
    if keys and _is_literal(keys[-1], value):
        name = re.sub(r"\W", "_", keys[-1]).upper()
        yield Problem(
            keys,
            f"a secret does not belong in the file: put it in an environment variable and write env:{name}",
        )
    for key, inner in _inside(value):
        yield from literal_secrets(inner, (*keys, key))


def redacted(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain values to keep and to show: no secret in it, whoever made it."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(experiment))
    return {key: _redacted(key, value) for key, value in plain.items()}


def _redacted(key: str, value: Any) -> Any:
    if _is_literal(key, value):
        return "***"
    if isinstance(value, dict):
        return {inner: _redacted(inner, v) for inner, v in value.items()}
    if isinstance(value, list):
        return [_redacted(key, v) for v in value]
    return without_userinfo(value) if isinstance(value, str) else value


def without_userinfo(text: str) -> str:
    """The text, without the names and passwords of the addresses in it."""
    return _USERINFO.sub("***@", text)


def _is_literal(key: str, value: Any) -> bool:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return False
    named = bool(_SECRET.search(key)) and not _NOT_SECRET.search(key)
    return named and not _REFERENCE.fullmatch(str(value))


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((str(key), inner) for key, inner in value.items())
    elif isinstance(value, list | tuple):
        yield from ((str(i), inner) for i, inner in enumerate(value))
