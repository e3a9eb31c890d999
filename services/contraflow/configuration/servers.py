"""What must hold in an experiment whose texts come from an OpenAI-compatible server."""

from __future__ import annotations

import re
from collections.abc import Iterator

from contraflow.configuration.source import Keys
from contraflow.configuration.typed import Problem
from contraflow.experiment import Experiment

__all__ = ["problems_of_address", "problems_of_servers"]

_REFERENCE = re.compile(r"\$\{\w+\}|env:\w+")


def problems_of_servers(experiment: Experiment) -> Iterator[Problem]:
    """Everything that is wrong with the arms' servers, and with what they are to be asked."""
    section = experiment.generator
    for name, arm in experiment.arms.items():
        yield from problems_of_address(("arms", name), arm.base_url, arm.key)
        begins = arm.prefix if not section.chat else arm.system_prompt
        if experiment.prompts == "unconditional" and not begins:
            what = "a system_prompt" if section.chat else "a prefix"
            yield Problem(("arms", name), f"a server needs something to answer; without prompts each arm needs {what}")
    if section.timeout > section.patience:
        yield Problem(
            ("generator", "timeout"),
            f"more than the {section.patience:g} s of patience, which is for all tries together",
        )


def problems_of_address(keys: Keys, base_url: str | None, key: str | None) -> Iterator[Problem]:
    """What is wrong with a server's address and with the reference to its key."""
    if key is not None and not _REFERENCE.fullmatch(key):
        yield Problem((*keys, "key"), "write env:NAME, where NAME is an environment variable that holds the key")
    if base_url is not None and not re.match(r"https?://[^/]", base_url):
        yield Problem((*keys, "base_url"), f'"{base_url}" is no address; write http://host:port/v1 or https://...')
