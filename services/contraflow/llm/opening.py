"""Makes the clients of an experiment's language models, and closes them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread

from contraflow.configuration.secrets import secret
from contraflow.configuration.tiers import LLMTier, read_tiers
from contraflow.errors import ConfigurationError
from contraflow.llm.client import Client, Model
from contraflow.llm.ledger import Ledger
from contraflow.llm.patience import Limits
from contraflow.llm.provider import Provider
from contraflow.llm.store import Store
from contraflow.packages import is_installed

__all__ = ["check", "open_clients", "provider_of"]


class _Known(NamedTuple):
    package: str
    variables: tuple[str, ...]


_PROVIDERS = {
    "gemini": _Known("google.genai", ("GEMINI_API_KEY", "GOOGLE_API_KEY")),
    "google-generativeai": _Known("google.generativeai", ("GEMINI_API_KEY", "GOOGLE_API_KEY")),
    "openai": _Known("openai", ("OPENAI_API_KEY",)),
}


@asynccontextmanager
async def open_clients(
    tiers: Sequence[LLMTier], run: str, budget: float, base_dir: Path = Path(), folder: Path | None = None
) -> AsyncIterator[dict[str, Client]]:
    """A client for each tier by its name, with ``budget`` dollars for all of them; nothing is opened for no tier.

    ``run`` must name the run for ever: what it has spent is kept under it in ``folder`` (see ``Store``).

    :raises ConfigurationError: if a package or a key is missing.
    """
    if not tiers:
        yield {}
        return
    providers: list[Provider] = []
    store = await anyio.to_thread.run_sync(Store, folder)
    try:
        ledger = await anyio.to_thread.run_sync(Ledger, store, run, budget)
        clients = {}
        for tier in tiers:
            providers.append(await anyio.to_thread.run_sync(provider_of, tier, base_dir))
            clients[tier.name] = _client(tier, providers[-1], store, ledger, run)
        yield clients
    finally:
        with anyio.CancelScope(shield=True):
            for provider in providers:
                await provider.close()
            await anyio.to_thread.run_sync(store.close)


def _client(tier: LLMTier, provider: Provider, store: Store, ledger: Ledger, run: str) -> Client:
    settings = tier.settings
    if settings.budget is not None:
        ledger.limit(tier.name, settings.budget)
    options = {**tier.options, "structured": settings.structured}
    model = Model(tier.name, tier.provider, tier.model, tier.price, tier.max_tokens, options)
    limits = Limits(settings.timeout, settings.patience, settings.tries, settings.concurrency)
    return Client(provider, model, store, ledger, run, limits)


def provider_of(tier: LLMTier, base_dir: Path = Path()) -> Provider:
    """The provider of a tier, with its key from the environment.

    :raises ConfigurationError: if its package or its key is missing.
    """
    settings = tier.settings
    if tier.provider not in _PROVIDERS:
        from contraflow.llm.user import UserProvider

        return UserProvider(tier.provider, base_dir, tier.field)
    key = _key(tier)
    if tier.provider == "openai":
        from contraflow.llm.openai import OpenAIProvider

        return OpenAIProvider(key, settings.base_url, settings.timeout, settings.structured, tier.options)
    if tier.provider == "gemini":
        from contraflow.llm.gemini import GeminiProvider

        return GeminiProvider(key, settings.base_url, settings.timeout, tier.options)
    from contraflow.llm.google_generativeai import GoogleGenerativeAIProvider

    return GoogleGenerativeAIProvider(key, settings.base_url, settings.timeout, tier.options)


def check(entries: Sequence[object]) -> None:
    """Look for the packages and keys of an experiment's tiers, before a run starts that would stop for want of them.

    Nothing is imported, and nobody is called.

    :raises ConfigurationError: if some are missing; a line for each.
    """
    tiers = [tier for tier in read_tiers(entries)[0] if isinstance(tier, LLMTier)]
    if lines := [line for tier in tiers for line in _missing(tier)]:
        raise ConfigurationError("\n".join(lines))


def _missing(tier: LLMTier) -> Iterator[str]:
    if tier.provider not in _PROVIDERS:
        return
    if not is_installed(_PROVIDERS[tier.provider].package):
        yield f"{tier.field}: needs a package: pip install 'contraflow[{tier.provider}]'"
    try:
        _key(tier)
    except ConfigurationError as error:
        yield str(error)


def _key(tier: LLMTier) -> str | None:
    settings, variables = tier.settings, _PROVIDERS[tier.provider].variables
    if settings.key is None and settings.base_url is not None:
        return None  # a vendor's key is not for another server, unless the experiment says so
    try:
        named = secret(settings.key) if settings.key is not None else None
    except ConfigurationError as error:
        raise ConfigurationError(f"{tier.field}.key: {error}") from None
    key = (named or next((value for name in variables if (value := os.environ.get(name))), "")).strip()
    if not key:
        raise ConfigurationError(
            f"{tier.field}: no key; set {' or '.join(variables)}, or name another variable with key: env:NAME"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigurationError(
            f"{tier.field}: the key holds characters that no key has; was it copied with its text?"
        )
    return key
