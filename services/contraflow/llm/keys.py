"""Keys of vendors: from the environment alone, and to the server that they are meant for."""

from __future__ import annotations

import os
from collections.abc import Sequence

from contraflow.configuration.secrets import secret
from contraflow.errors import ConfigurationError

__all__ = ["OPENAI", "key_of"]

OPENAI = ("OPENAI_API_KEY",)


def key_of(field: str, reference: str | None, base_url: str | None, variables: Sequence[str]) -> str | None:
    """The key that ``reference`` (env:NAME) names, else that of the first of the vendor's ``variables`` that is set.

    None for another server than the vendor's, unless a reference names one. ``field`` is named in messages.

    :raises ConfigurationError: if there is none, or it cannot be one.
    """
    if reference is None and base_url is not None:
        return None  # a vendor's key is not for another server, unless the experiment says so
    try:
        named = secret(reference) if reference is not None else None
    except ConfigurationError as error:
        raise ConfigurationError(f"{field}.key: {error}") from None
    key = (named or next((value for name in variables if (value := os.environ.get(name))), "")).strip()
    if not key:
        raise ConfigurationError(
            f"{field}: no key; set {' or '.join(variables)}, or name another variable with key: env:NAME"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigurationError(f"{field}: the key holds characters that no key has; was it copied with its text?")
    return key
