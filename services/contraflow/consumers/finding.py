"""Finds a consumer by its name: ``module:function``, or an entry point. Nothing is searched for, nothing else is loaded."""

from __future__ import annotations

import importlib
import os
import sys
from importlib import metadata
from typing import Any

from contraflow.consumers.declaring import Consumer
from contraflow.errors import ConsumerError

__all__ = ["GROUP", "find"]

GROUP = "contraflow.consumers"


def find(name: str) -> Consumer[Any, Any]:
    """The consumer ``module:function`` (the current folder is importable), or the installed one of that name.

    :raises ConsumerError: if there is none; the message names those that are installed.
    """
    found = _beside_us(*name.split(":", 1)) if ":" in name else _installed(name)
    if not isinstance(found, Consumer):
        what = "a function without @consumer(...)" if callable(found) else f"a {type(found).__name__}"
        raise ConsumerError(f"{name} is {what}, and no consumer; decorate it with contraflow.consumer")
    return found


def _installed(name: str) -> Any:
    there = metadata.entry_points(group=GROUP)
    named = {(point.value, point.dist.name if point.dist else ""): point for point in there.select(name=name)}
    if not named:
        names = ", ".join(sorted(there.names)) or "none yet"
        raise ConsumerError(
            f"no consumer {name!r} is installed (there: {names}). Install its package, or name it as module:function"
        )
    if len(named) > 1:
        packages = ", ".join(sorted(package for _, package in named))
        raise ConsumerError(f"consumer {name!r} is installed by several packages ({packages}); uninstall all but one")
    (point,) = named.values()
    return _imported(point.module, point.attr)


def _beside_us(module: str, attribute: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    return _imported(module, attribute)


def _imported(module: str, attribute: str) -> Any:
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConsumerError(
            f"cannot import {module}:{attribute}: {error}. Write it as module:function; the module is looked for in the "
            f"current folder ({os.getcwd()}) and among what is installed"
        ) from error
    return found
