"""The command line. Each module adds the commands of one matter to the group when it is imported."""

from contraflow.cli import (
    clusters,
    compare,
    consume,
    dead,
    flow,
    importing,
    look,
    merge,
    new,
    planning,
    run,
    service,
    top,
    validate,
    verdicts,
)
from contraflow.cli.group import main

__all__ = [
    "clusters",
    "compare",
    "consume",
    "dead",
    "flow",
    "importing",
    "look",
    "main",
    "merge",
    "new",
    "planning",
    "run",
    "service",
    "top",
    "validate",
    "verdicts",
]
