"""The command line. Each module adds the commands of one matter to the group when it is imported."""

from contraflow.cli import consume, flow, look, new, run, service
from contraflow.cli.group import main

__all__ = ["consume", "flow", "look", "main", "new", "run", "service"]
