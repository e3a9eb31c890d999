"""The experiment file as plain values that remember the line they were written in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from contraflow.errors import ConfigurationError

__all__ = ["Keys", "Source", "read_file"]

Keys = tuple[str, ...]

_DEPTH = 20
_SCALARS: dict[str, Callable[[str], Any]] = {
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": float,
    "str": str,
}


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core scalars: an arm named ``on`` and a time ``1:30`` are text, ``1e-3`` is a number."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's registry is a class attribute


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


@dataclass(slots=True)
class Source:
    """An experiment as it was written. ``duplicates`` are messages on keys that were given twice."""

    name: str
    values: Any
    places: dict[Keys, str] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)

    def place(self, keys: Keys) -> str:
        """Where the value at ``keys`` was written, or what is around it if it was not."""
        while keys and keys not in self.places:
            keys = keys[:-1]
        return self.places.get(keys, self.name)

    def override(self, assignment: str) -> None:
        """Set one value, as ``sampling.uniform=0.5`` with the value in YAML.

        :raises ConfigurationError: if it is no such assignment, or leads through what is no section.
        """
        name, equals, written = assignment.partition("=")
        label = f"--set {name}=..."  # the value could be a secret
        keys = tuple(name.strip().split("."))
        if not equals or not all(keys):
            raise ConfigurationError(f"--set {name}: write it as key=value, such as --set budget.texts=2000")
        part = _read(label, written, lambda _: label, keys)
        self._section(label, keys[:-1])[keys[-1]] = part.values
        self.places = {k: place for k, place in self.places.items() if k[: len(keys)] != keys} | part.places
        self.duplicates += part.duplicates

    def _section(self, label: str, keys: Keys) -> dict[str, Any]:
        section: dict[str, Any] = self.values
        for depth, key in enumerate(keys, 1):
            inner: Any = section.get(key)
            if inner is None:
                inner = section[key] = {}
            if not isinstance(inner, dict):
                raise ConfigurationError(
                    f"{label}: {'.'.join(keys[:depth])} is {inner!r}, not a section; set it as a whole"
                )
            section = inner
        return section


def read_file(path: Path) -> Source:
    """The mapping in a YAML file.

    :raises ConfigurationError: if the file cannot be read, is not UTF-8, not YAML, or holds no mapping.
    """
    text = _text(path)
    source = _read(str(path), text, lambda node: f"{path}:{node.start_mark.line + 1}", ())
    if not isinstance(source.values, dict):
        raise ConfigurationError(
            f"{path}: an experiment is a mapping that starts with `experiment: name`; this is not one"
        )
    source.places[()] = str(path)
    return source


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigurationError(
            f"{path}:{line}: byte {error.start} ({content[error.start]:#04x}) is not UTF-8; save the file as UTF-8"
        ) from error


def _read(name: str, text: str, label: Callable[[yaml.Node], str], keys: Keys) -> Source:
    try:
        node = yaml.compose(text, _Loader)
        walk = _Walk(label, Source(name, {}))
        walk.source.values = None if node is None else walk.value(node, keys)
    except yaml.MarkedYAMLError as error:
        at = f":{error.problem_mark.line + 1}" if error.problem_mark and not name.startswith("--set") else ""
        raise ConfigurationError(f"{name}{at}: not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"{name}: not YAML: {' '.join(str(error).split())}") from error
    return walk.source


@dataclass(slots=True)
class _Walk:
    """Turns nodes into values and notes where each stood."""

    label: Callable[[yaml.Node], str]
    source: Source

    def value(self, node: yaml.Node, keys: Keys) -> Any:
        if len(keys) > _DEPTH:
            raise ConfigurationError(f"{self.label(node)}: nested more than {_DEPTH} deep")
        self.source.places.setdefault(keys, self.label(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*keys, str(i))) for i, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigurationError(f"{self.label(key_node)}: a key must be a word; put it in quotes if it is one")
            key, place = str(key_node.value), self.label(key_node)
            inner = (*keys, key)
            if key in values:
                first = self.source.places[inner]
                self.source.duplicates.append(
                    f"{place}: {'.'.join(inner)}: given twice, first at {first}; remove one of them"
                )
                continue
            self.source.places[inner] = place
            values[key] = self.value(value_node, inner)
        return values

    def _scalar(self, node: yaml.Node) -> Any:
        read = _SCALARS.get(node.tag.rpartition(":")[2])
        if read is None:
            raise ConfigurationError(f"{self.label(node)}: an experiment has no values of the kind {node.tag}")
        value = read(node.value)
        # 2e4 is how a count is often written, and YAML has no integers with an exponent
        if isinstance(value, float) and value.is_integer() and "." not in node.value:
            value = int(value)
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ConfigurationError(f"{self.label(node)}: {node.value} does not fit into 64 bits")
        return value
