"""The command line. Each module adds the commands of one matter to the group when it is imported."""

from contraflow.cli import flow, look, run, service
from contraflow.cli.group import main

__all__ = ["flow", "look", "main", "run", "service"]
