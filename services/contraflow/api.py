"""``contraflow.run`` and ``contraflow.compare``: experiments and runs from a script, a notebook or a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
from rich.console import Console

from contraflow.configuration import Loaded, experiment_from, load_experiment
from contraflow.experiment import Experiment
from contraflow.results import Results, read_results
from contraflow.runner import execute
from contraflow.runs import RUNS, RunFolder, open_run
from contraflow.runtime.drain import Drain
from contraflow.runtime.portal import blocking

if TYPE_CHECKING:
    from contraflow.comparing.records import RunComparison

__all__ = ["compare", "run"]


def run(
    experiment: str | Path | Mapping[str, Any] | Experiment,
    *,
    runs: Path = RUNS,
    overrides: Sequence[str] = (),
    new: bool = False,
) -> Results:
    """Run an experiment (a file, a mapping or an Experiment) to its end and read its results.

    The newest unfinished run of the same experiment is resumed, unless ``new``. It may be called anywhere: in a script,
    a notebook or a thread. An interrupt drains the run; its results are then those of what was done.

    :raises ConfigurationError: if the experiment cannot be used.
    :raises RunConflict: if its unfinished run was started with another configuration.
    :raises RunStopped: if a service failed for good; what was done is kept.
    """
    if isinstance(experiment, str | Path):
        loaded = load_experiment(Path(experiment), overrides)
    else:
        loaded = Loaded(experiment_from(experiment), Path(), Path("experiment"))

    async def main(drain: Drain) -> Results:
        outcome = await execute(loaded, runs, new=new, console=Console(quiet=True), drain=drain)
        return outcome.results or await read_results(outcome.folder.path)

    return _in_a_thread(main) if _loop_is_running() else anyio.run(lambda: main(Drain()))


def compare(first: str | Results, second: str | Results, *, runs: Path = RUNS) -> RunComparison:
    """What two runs have in common and what differs: by name (an experiment's newest run by its bare name), or as read.

    :raises RunConflict: if there is no such run.
    :raises NotComparable: if they are one run, measure against different models, or have no arm or prompt in common.
    """
    from contraflow.comparing.reading import read_and_compare

    return blocking(read_and_compare, *(_folder(run, runs) for run in (first, second)))


def _folder(run: str | Results, runs: Path) -> RunFolder:
    return open_run(runs, run) if isinstance(run, str) else run.folder


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_a_thread(main: Callable[[Drain], Awaitable[Results]]) -> Results:
    """Jupyter runs its cells inside an event loop, and a thread can have only one."""
    with anyio.from_thread.start_blocking_portal() as portal:
        drain = portal.call(Drain)
        running = portal.start_task_soon(main, drain)
        try:
            return running.result()
        except KeyboardInterrupt:  # heard by the thread that waits here, not by the one that runs
            portal.call(drain.request, "SIGINT")
            return running.result()
