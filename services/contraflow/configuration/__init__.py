"""Reads, checks and resolves experiments: what is wrong is named by key, file and line, all of it at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from contraflow.configuration.checks import problems_of
from contraflow.configuration.resolved import Change, Resolved, changes, difference, resolve, resumed
from contraflow.configuration.secrets import literal_secrets, redacted, secret
from contraflow.configuration.source import Source, read_file
from contraflow.configuration.typed import Problem, typed
from contraflow.errors import ConfigurationError
from contraflow.experiment import Experiment

__all__ = [
    "Change",
    "Loaded",
    "Resolved",
    "changes",
    "difference",
    "experiment_from",
    "load_experiment",
    "redacted",
    "resolve",
    "resumed",
    "secret",
]


class Loaded(NamedTuple):
    """An experiment, the folder that its relative paths start from, and the file it was read from."""

    experiment: Experiment
    base_dir: Path
    path: Path


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Loaded:
    """The experiment in a YAML file, with ``a.b=c`` overrides, checked, and its reference filled in.

    :raises ConfigurationError: if it cannot be used as it is written; a line for each thing that is wrong.
    """
    source = read_file(path)
    for override in overrides:
        source.override(override)
    return Loaded(_checked(source), path.parent, path)


def experiment_from(described: Mapping[str, Any] | Experiment, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment that a mapping (shaped like the file) describes, with overrides, checked as a file would be.

    :raises ConfigurationError: as ``load_experiment`` does.
    """
    values = msgspec.to_builtins(described) if isinstance(described, Experiment) else dict(described)
    source = Source("the experiment", values)
    for override in overrides:
        source.override(override)
    return _checked(source)


def _checked(source: Source) -> Experiment:
    problems: list[Problem] = list(literal_secrets(source.values))
    values = typed(source.values, Experiment, (), problems)
    if problems or source.duplicates:
        _refuse(source, problems)
    experiment = msgspec.convert(values, Experiment)
    _refuse(source, list(problems_of(experiment)))
    return msgspec.structs.replace(experiment, reference=experiment.reference or next(iter(experiment.arms)))


def _refuse(source: Source, problems: list[Problem]) -> None:
    lines = source.duplicates + [
        f"{source.place(keys)}: {'.'.join((*keys, ''))[:-1]}: {what}" for keys, what in problems
    ]
    if lines:
        raise ConfigurationError("\n".join(lines))
