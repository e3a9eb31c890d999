"""Compares plain values with the types of the experiment file; says of each that does not fit what would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from contraflow.configuration.source import Keys
from contraflow.experiment import Experiment

__all__ = ["Problem", "nearest", "shown", "typed"]

_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null"}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "multiple_of": "a multiple of"}


class Problem(NamedTuple):
    """What is wrong with the value at ``keys``."""

    keys: Keys
    what: str


def typed(value: Any, kind: Any, keys: Keys, problems: list[Problem]) -> Any:
    """The value with empty sections filled in; what does not fit ``kind`` is added to ``problems``."""
    alternatives = _alternatives(kind)
    structs = [one for one in alternatives if isinstance(one, type) and issubclass(one, msgspec.Struct)]
    if value is None and structs and NoneType not in alternatives:
        value = {}
    if isinstance(value, Mapping) and structs:
        return _section(value, structs[0], keys, problems)
    for one in alternatives:
        if isinstance(value, Mapping) and get_origin(one) is dict:
            return _table(value, get_args(one), keys, problems)
        if isinstance(value, list | tuple) and get_origin(one) is tuple:
            return _items(value, get_args(one), keys, problems)
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        problems.append(Problem(keys, f"expected {_described(kind)}; got {shown(value)}{_meant(value, alternatives)}"))
    return value


def _section(value: Mapping[Any, Any], kind: type[msgspec.Struct], keys: Keys, problems: list[Problem]) -> Any:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    read = {}
    for name, inner in value.items():
        if name in fields:
            read[name] = typed(inner, fields[name].type, (*keys, name), problems)
        else:
            problems.append(Problem((*keys, str(name)), _unknown(str(name), list(fields))))
    for field in fields.values():
        if field.required and field.name not in value:
            problems.append(Problem((*keys, field.name), f"missing; it needs {_described(field.type)}"))
    return read


def _table(value: Mapping[Any, Any], kinds: tuple[Any, ...], keys: Keys, problems: list[Problem]) -> Any:
    for name in value:
        typed(name, kinds[0], (*keys, str(name)), problems)
    return {name: typed(inner, kinds[1], (*keys, str(name)), problems) for name, inner in value.items()}


def _items(value: Any, kinds: tuple[Any, ...], keys: Keys, problems: list[Problem]) -> list[Any]:
    if kinds[-1] is ...:
        kinds = (kinds[0],) * len(value)
    elif len(value) != len(kinds):
        problems.append(Problem(keys, f"expected {len(kinds)} values; got {len(value)}"))
    return [typed(v, kind, (*keys, str(i)), problems) for i, (v, kind) in enumerate(zip(value, kinds, strict=False))]


def _unknown(name: str, valid: list[str]) -> str:
    meant = [f'"{place}"' for place in _elsewhere(name)] or [f'"{one}"' for one in get_close_matches(name, valid, 1)]
    guess = f"; did you mean {' or '.join(meant)}?" if meant else "."
    return f"unknown key{guess} Valid keys: {', '.join(valid)}."


def _elsewhere(name: str) -> list[str]:
    """The sections in which ``name`` would be a valid key."""
    places = []
    for field in msgspec.structs.fields(Experiment):
        table = get_origin(field.type) is dict
        for kind in get_args(field.type)[1:] if table else _alternatives(field.type):
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and name in kind.__struct_fields__:
                places.append(f"{field.name}.{'<name>.' if table else ''}{name}")
    return places


def nearest(value: str, valid: list[str]) -> str:
    """`; did you mean ...?` for the nearest of the valid names, or nothing."""
    close = get_close_matches(value, valid, 1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _meant(value: Any, alternatives: tuple[Any, ...]) -> str:
    words = [word for one in alternatives if get_origin(one) is Literal for word in get_args(one)]
    return nearest(value, words) if isinstance(value, str) else ""


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _described(kind: Any) -> str:
    alternatives = _alternatives(kind)
    if len(alternatives) > 1:
        return " or ".join(_described(one) for one in alternatives)
    origin = get_origin(kind)
    if origin is Annotated:
        base, meta = get_args(kind)
        bounds = [f"{word} {getattr(meta, name)}" for name, word in _BOUNDS.items() if getattr(meta, name) is not None]
        return meta.description or f"{_described(base)} ({', '.join(bounds)})"
    if origin is Literal:
        return " or ".join(f'"{word}"' for word in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return f"a section with the keys {', '.join(kind.__struct_fields__)}"
    return _NAMES.get(kind) or ("a list" if origin is tuple else "a section")


def shown(value: Any) -> str:
    """A value as YAML would show it, kept short."""
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, str):
        return f'"{value if len(value) <= 40 else value[:37] + "..."}"'
    return json.dumps(value, default=str, separators=(",", ":"))[:60]
