"""Reads the tiers of an experiment: a free one by its name, a language model as ``{provider: model}``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from contraflow.configuration.servers import problems_of_address
from contraflow.configuration.source import Keys
from contraflow.configuration.typed import Problem, nearest, shown, typed
from contraflow.experiment import Tier, Validation
from contraflow.llm.prices import AS_OF, Price, known, models, price_of

__all__ = ["FREE", "KEYWORDS", "PROVIDERS", "LLMTier", "judged_pairs", "problems_of_tiers", "read_tiers"]

KEYWORDS = "keywords"
FREE = (KEYWORDS, "embedding")
PROVIDERS = ("gemini", "google-generativeai", "openai")

_KEYS: Keys = ("validation", "tiers")
_ALIASES = {
    "gemini-flash-lite": "gemini-3.5-flash-lite",
    "gemini-flash": "gemini-3.8-flash",
    "gemini-pro": "gemini-3.1-pro-preview",
}
"""Names for the models that Google's own ``-latest`` meant when the table of prices was made; theirs move, these do not."""
_FREE_PAIRS, _PAID_PAIRS = 100, 300
_ANSWER = 64
"""Tokens of an answer, which takes about ten."""


class LLMTier(NamedTuple):
    """A language model that judges, with nothing left open. ``keys`` say where the experiment names it."""

    keys: Keys
    provider: str
    name: str
    model: str
    price: Price
    max_tokens: int
    options: Mapping[str, Any]
    settings: Tier

    @property
    def field(self) -> str:
        """Where it stands, in messages."""
        return ".".join(self.keys)


def judged_pairs(validation: Validation, free: int = _FREE_PAIRS) -> int:
    """How many pairs may be judged for one statement; auto: ``free`` where no tier is a language model, else more.

    With a placebo that is a coin to its judges, a cheap model needs more pairs than the free tiers' to settle most statements.
    """
    if validation.pairs != "auto":
        return validation.pairs
    return free if all(isinstance(tier, str) for tier in validation.tiers) else _PAID_PAIRS


def problems_of_tiers(entries: Sequence[object]) -> list[Problem]:
    """Everything that is wrong with the tiers."""
    problems: list[Problem] = []
    list(_read(entries, problems))
    return problems


def read_tiers(entries: Sequence[object]) -> tuple[list[str | LLMTier], list[Problem]]:
    """The tiers in their order, and everything that is wrong with them; those that are wrong are left out."""
    problems: list[Problem] = []
    return list(_read(entries, problems)), problems


def _read(entries: Sequence[object], problems: list[Problem]) -> Iterator[str | LLMTier]:
    names: set[str] = set()
    for i, entry in enumerate(entries):
        keys = (*_KEYS, str(i))
        tier = _free(entry, keys, problems) if isinstance(entry, str) else _llm(entry, keys, problems)
        if tier is None:
            continue
        name = tier if isinstance(tier, str) else tier.name
        if name in names:
            problems.append(
                Problem(keys, f'there is a tier "{name}" already; give this one a name of its own (name: ...)')
            )
        names.add(name)
        yield tier


def _free(entry: str, keys: Keys, problems: list[Problem]) -> str | None:
    if entry in FREE:
        return entry
    if entry in PROVIDERS:
        what = f"{entry} needs a model: {{{entry}: {next(iter(models(entry)))}}}"
    else:
        guess = nearest(entry, [*FREE, *PROVIDERS]) or "."
        what = f'unknown tier "{entry}"{guess} Valid: {", ".join(FREE)}, or {{provider: model}} with one of {_providers()}.'
    problems.append(Problem(keys, what))
    return None


def _providers() -> str:
    return f"{', '.join(PROVIDERS)}, my_module:function"


def _llm(entry: object, keys: Keys, problems: list[Problem]) -> LLMTier | None:
    if not isinstance(entry, Mapping) or len(entry) != 1:
        what = f"a tier is one provider with its model, such as {{gemini: gemini-flash}}; got {shown(entry)}"
        problems.append(Problem(keys, what))
        return None
    provider, value = next(iter(entry.items()))
    keys = (*keys, str(provider))
    if provider not in PROVIDERS and ":" not in str(provider):
        guess = nearest(str(provider), list(PROVIDERS)) or "."
        problems.append(Problem(keys, f'there is no provider "{provider}"{guess} Valid: {_providers()}.'))
        return None
    found: list[Problem] = []
    values = typed({"model": value} if isinstance(value, str) else value, Tier, keys, found)
    settings = None if found else msgspec.convert(values, Tier)
    if settings is not None:
        found += _problems(provider, settings, keys)
    problems += found
    return None if found or settings is None else _resolved(provider, settings, keys)


def _problems(provider: str, tier: Tier, keys: Keys) -> Iterator[Problem]:
    if not tier.model:
        yield Problem((*keys, "model"), "missing; it needs the model's name")
    yield from problems_of_address(keys, tier.base_url, tier.key)
    if tier.structured != "schema" and provider != "openai":
        yield Problem((*keys, "structured"), "only read by openai; the others always hold answers to a schema")
    if tier.timeout > tier.patience:
        yield Problem(
            (*keys, "timeout"), f"more than the {tier.patience:g} s of patience, which is for all tries together"
        )
    if _price(provider, tier) is None:
        yield Problem((*keys, "price"), _no_price(provider, tier))


def _no_price(provider: str, tier: Tier) -> str:
    how = "write price: [dollars per million tokens read, written]; a server of your own is price: [0, 0]"
    if provider not in PROVIDERS:
        return f"missing; {how}"
    if tier.base_url is not None:
        return f"missing; the table of prices is for the vendor's own address: {how}"
    there = ", ".join(models(provider))
    return f'no price is known for "{tier.model}" (as of {AS_OF} there are {there}); {how}'


def _price(provider: str, tier: Tier) -> Price | None:
    return price_of(provider, _model(provider, tier), tier.base_url, tier.price)


def _model(provider: str, tier: Tier) -> str:
    return _ALIASES.get(tier.model, tier.model) if provider.startswith("g") and not tier.base_url else tier.model


def _resolved(provider: str, tier: Tier, keys: Keys) -> LLMTier:
    model, price = _model(provider, tier), _price(provider, tier)
    assert price is not None, "_problems() comes first"
    entry = known(provider, model)
    thinking = entry.thinking if entry else 0
    options = {**(entry.options if entry else {}), **tier.options}
    return LLMTier(
        keys=keys,
        provider=provider,
        name=tier.name or f"{provider}:{model}",
        model=model,
        price=price,
        max_tokens=tier.max_tokens or _ANSWER + thinking,
        options=options,
        settings=tier,
    )
