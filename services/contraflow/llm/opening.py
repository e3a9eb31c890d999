"""Makes the clients of an experiment's language models, and closes them."""

from __future__ import annotations

import fcntl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread

from contraflow.configuration.tiers import LLMTier, read_tiers
from contraflow.errors import ConfigurationError, LogError
from contraflow.llm.client import Client, Model
from contraflow.llm.keys import OPENAI, key_of
from contraflow.llm.ledger import Ledger
from contraflow.llm.patience import Limits, Patience
from contraflow.llm.provider import Provider
from contraflow.llm.spending import name_of
from contraflow.llm.store import Store
from contraflow.packages import is_installed

__all__ = ["check", "open_clients", "provider_of"]


class _Needs(NamedTuple):
    package: str
    variables: tuple[str, ...]


_PROVIDERS = {
    "gemini": _Needs("google.genai", ("GEMINI_API_KEY", "GOOGLE_API_KEY")),
    "google-generativeai": _Needs("google.generativeai", ("GEMINI_API_KEY", "GOOGLE_API_KEY")),
    "openai": _Needs("openai", OPENAI),
}
_TAKEOVER = 10
"""Seconds that a process waits for the one that it replaces."""


@asynccontextmanager
async def open_clients(
    tiers: Sequence[LLMTier], run: str, budget: float, base_dir: Path = Path(), folder: Path | None = None
) -> AsyncIterator[dict[str, Client]]:
    """A client for each tier by its name, with ``budget`` dollars for all of them; nothing is opened for no tier.

    ``run`` must name the run for ever: what it has spent is kept under it in ``folder`` (see ``Store``).

    :raises ConfigurationError: if a package or a key is missing.
    :raises LogError: if the folder cannot be used, or another process spends the run's money.
    """
    if not tiers:
        yield {}
        return
    stack = AsyncExitStack()
    try:
        yield await _opened(stack, tiers, run, budget, base_dir, folder)
    finally:
        with anyio.CancelScope(shield=True):
            await stack.aclose()


async def _opened(
    stack: AsyncExitStack, tiers: Sequence[LLMTier], run: str, budget: float, base_dir: Path, folder: Path | None
) -> dict[str, Client]:
    store = await anyio.to_thread.run_sync(Store, folder)
    stack.push_async_callback(anyio.to_thread.run_sync, store.close)
    await _own(store.folder, run, stack)
    ledger = await anyio.to_thread.run_sync(Ledger, store, run, budget)
    patience: dict[tuple[str, str, str], Patience] = {}
    clients = {}
    for tier in tiers:
        provider = await anyio.to_thread.run_sync(provider_of, tier, base_dir)
        stack.push_async_callback(provider.close)
        shared = patience.setdefault((tier.provider, provider.host, tier.model), _patience(tier))
        clients[tier.name] = Client(provider, _model(tier, ledger), store, ledger, run, shared)
    return clients


def _model(tier: LLMTier, ledger: Ledger) -> Model:
    if tier.settings.budget is not None:
        ledger.limit(tier.name, tier.settings.budget)
    options = {**tier.options, "structured": tier.settings.structured}
    return Model(tier.name, tier.provider, tier.model, tier.price, tier.max_tokens, options)


def _patience(tier: LLMTier) -> Patience:
    settings = tier.settings
    return Patience(tier.name, Limits(settings.timeout, settings.patience, settings.tries, settings.concurrency))


async def _own(folder: Path, run: str, stack: AsyncExitStack) -> None:
    """Be the only process that spends a run's money: each counts what it spends by itself.

    One that is replaced stops at its next commit; it is waited for a while.
    """
    lock = stack.enter_context(await anyio.to_thread.run_sync((folder / f"{name_of(run)}.lock").open, "a"))
    for _ in range(_TAKEOVER * 10):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        await anyio.sleep(0.1)
    raise LogError(f"another process asks models for this run, and still does after {_TAKEOVER} s; stop it first")


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
    settings = tier.settings
    return key_of(tier.field, settings.key, settings.base_url, _PROVIDERS[tier.provider].variables)
