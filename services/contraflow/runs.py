"""Run folders: one folder a run, ``<experiment>-<n>``, that keeps everything the run wrote."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

from contraflow.configuration import Resolved, difference, resumed
from contraflow.errors import FormatTooNew, RunConflict

__all__ = ["RUNS", "RunFolder", "join_run", "list_runs", "open_or_create", "open_run", "replacing", "write_atomically"]

logger = logging.getLogger(__name__)

FORMAT = 1
RUNS = Path("runs")
"""Where runs are kept unless somebody says otherwise."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps its configuration, versions, journal, log, results and report."""

    path: Path

    @property
    def run(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def log(self) -> Path:
        """The folder of the embedded log."""
        return self.path / "log"

    def said_by(self, service: str) -> Path:
        """What the process of a service prints."""
        (self.path / "logs").mkdir(exist_ok=True)
        return self.path / "logs" / f"{service.replace(' ', '-')}.log"

    @property
    def results(self) -> Path:
        """The folder of the result files, which hold no times."""
        return self.path / "results"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.path / "report.html"

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration.

        :raises RunConflict: if the folder is not a run's.
        """
        try:
            kept: dict[str, Any] = json.loads((self.path / "config.json").read_text())
        except (OSError, ValueError) as error:
            raise RunConflict(
                f"{self.path} is not a run of contraflow (its config.json: {error}). Choose another folder with "
                "--runs, or move this one away."
            ) from error
        if kept.get("format", 0) > FORMAT:
            raise FormatTooNew(
                f"{self.path} was written by contraflow {kept.get('contraflow')}; use that version or a newer one."
            )
        return kept

    @property
    def resolved(self) -> dict[str, Any]:
        """The experiment as it was resolved when the run started."""
        resolved: dict[str, Any] = self.config["resolved"]
        return resolved

    @property
    def versions(self) -> dict[str, str | None]:
        """What ran it last: contraflow, Python, the platform and libraries; nothing if that was not kept."""
        try:
            kept: dict[str, str | None] = json.loads((self.path / "versions.json").read_text())
        except (OSError, ValueError):
            return {}
        return kept

    def keep(self, resolved: Resolved, asked: str) -> None:
        """Write the configuration, and the versions that run it. Only the owner may (``locked``)."""
        version = metadata.version("contraflow")
        content = {"format": FORMAT, "contraflow": version, "asked": asked, "resolved": resolved.plain()}
        write_atomically(self.path / "config.json", json.dumps(content, indent=1) + "\n")
        write_atomically(self.path / "versions.json", json.dumps(_versions(version), indent=1) + "\n")

    @property
    def identity(self) -> str:
        """A name that no other run will ever have: folders are removed, and their names come again."""
        try:
            return f"{self.run} {(self.path / 'id').read_text(encoding='utf-8')}"
        except FileNotFoundError:  # made by an earlier version
            return self.run

    @property
    def done(self) -> bool:
        """Whether the run came to its end."""
        return (self.path / "done").exists()

    def note(self, event: str, **details: Any) -> None:
        """Append a line to the run's journal."""
        line = {"time": round(time.time(), 3), "event": event, **details}
        try:
            with (self.path / "journal.jsonl").open("a", encoding="utf-8") as journal:
                journal.write(json.dumps(line) + "\n")
        except OSError as error:  # raised, it would hide what stopped the run, such as a full disk
            logger.warning("the journal in %s could not be written: %s", self.path, error.strerror)

    def journal(self) -> list[dict[str, Any]]:
        """Every line of the journal; one cut short by a crash is left out."""
        try:
            lines = (self.path / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [entry for line in lines if (entry := _parse(line)) is not None]

    def seconds(self) -> tuple[float | None, bool]:
        """How long it ran (None if unknown), and whether that is all.

        The journal has no seconds of a session that was killed, or that runs.
        """
        journal = self.journal()
        stops = [entry["seconds"] for entry in journal if entry["event"] == "stopped"]
        starts = sum(entry["event"] == "started" for entry in journal)
        return sum(stops) if stops else None, starts <= len(stops)

    def memory(self) -> dict[str, float]:
        """MB at most of each process, and of each on a GPU, of those that came to their end."""
        peaks: dict[str, float] = {}
        for entry in self.journal():
            if entry["event"] == "memory":
                for name, mb in {**entry["mb"], **entry["gpu_mb"]}.items():
                    peaks[name] = max(mb, peaks.get(name, 0.0))
        return peaks

    def usage(self) -> list[str]:
        """What engines said of how they were used, each once, in order."""
        return list(dict.fromkeys(entry["usage"] for entry in self.journal() if entry["event"] == "engine"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Own the run on this machine.

        :raises RunConflict: if another process runs it.
        """
        with (self.path / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise RunConflict(
                    f"{self.run} is being run by process {lock.read().strip() or 'unknown'}. Stop it first (Ctrl-C drains "
                    "it), or start another run with --new."
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield


def _parse(line: str) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return entry


def list_runs(root: Path) -> list[RunFolder]:
    """Every run under ``root``, oldest first within an experiment."""
    found = [path.parent for path in root.glob("[!.]*/config.json")] if root.is_dir() else []
    return [RunFolder(path) for path in sorted(found, key=_order)]


def _order(path: Path) -> tuple[str, int]:
    name, _, number = path.name.rpartition("-")
    return name, int(number) if number.isdigit() else 0


def open_run(root: Path, run: str) -> RunFolder:
    """The run of that name, or the newest of that experiment.

    :raises RunConflict: if there is none; the message lists those there are.
    """
    runs = list_runs(root)
    for candidate in reversed(runs):
        if candidate.run == run or _order(candidate.path)[0] == run:
            return candidate
    there = ", ".join(candidate.run for candidate in runs[-8:]) or "none yet"
    raise RunConflict(f"there is no run {run!r} in {root} (there: {there}); `contraflow runs` lists them")


def open_or_create(root: Path, resolved: Resolved, asked: str, *, new: bool = False) -> tuple[RunFolder, Resolved]:
    """The newest unfinished run of the experiment if its configuration is the same (budgets may grow), else a new one.

    ``asked`` is a fingerprint of the prompts. Returns the folder, and the configuration with what was chosen when the
    run started. A run that is there already is left as it is: somebody may be running it.

    :raises RunConflict: if the newest unfinished run has another configuration; the message shows the difference.
    """
    name = resolved.experiment.experiment
    pattern = re.compile(re.escape(name) + r"-(\d+)")
    numbers = [int(m[1]) for p in (root.iterdir() if root.is_dir() else ()) if (m := pattern.fullmatch(p.name))]
    if numbers and not new:
        newest = RunFolder(root / f"{name}-{max(numbers)}")
        kept = newest.config
        if not newest.done:
            _refuse_changes(newest, kept, resolved, asked)
            return newest, resumed(kept["resolved"], resolved)
    return _create(root / f"{name}-{max(numbers, default=0) + 1}", resolved, asked), resolved


def join_run(root: Path, run: str, resolved: Resolved, asked: str) -> tuple[RunFolder, Resolved]:
    """The folder of this very run, made if this machine has none yet: a service's part of a run of several processes.

    :raises RunConflict: if the name is not one of the experiment's, or the run has another configuration.
    """
    name = resolved.experiment.experiment
    if not re.fullmatch(re.escape(name) + r"-\d+", run):
        raise RunConflict(f"{run!r} is no run of experiment {name!r}; a run is named {name}-1, {name}-2 and so on")
    folder = RunFolder(root / run)
    if not folder.path.exists():
        with contextlib.suppress(RunConflict):  # another service has made it at the same moment
            return _create(folder.path, resolved, asked), resolved
    kept = folder.config
    _refuse_changes(folder, kept, resolved, asked)
    return folder, resumed(kept["resolved"], resolved)


def _create(path: Path, resolved: Resolved, asked: str) -> RunFolder:
    """A new run's folder; it appears with its configuration in it, whenever the process is killed."""
    making = RunFolder(path.with_name(f".{path.name}.{uuid4().hex}"))
    try:
        making.path.mkdir(parents=True)
        making.keep(resolved, asked)
        (making.path / "id").write_text(uuid4().hex, encoding="utf-8")
    except OSError as error:
        shutil.rmtree(making.path, ignore_errors=True)
        raise RunConflict(
            f"{path} could not be written ({error.strerror}). Make room or get the right to write there, or name another folder "
            "with --runs."
        ) from None
    try:
        return RunFolder(making.path.rename(path))
    except OSError as error:
        shutil.rmtree(making.path)
        raise RunConflict(
            f"{path} could not be created ({error.strerror}): another process may have started it at the same moment. "
            "Run the command again."
        ) from None


def _refuse_changes(folder: RunFolder, kept: dict[str, Any], resolved: Resolved, asked: str) -> None:
    changes = difference(kept["resolved"], resolved.plain())
    if kept["asked"] != asked:
        changes.append("the prompts (or stored texts) are others than when the run started")
    if changes:
        raise RunConflict(
            f"{folder.run} is unfinished and was started with another configuration:\n  "
            + "\n  ".join(changes)
            + "\nUndo the change to resume it, or start another run with --new."
        )


def _versions(contraflow: str) -> dict[str, str | None]:
    libraries = ("numpy", "river", "torch", "transformers", "sentence-transformers", "peft")
    return {
        "contraflow": contraflow,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: _version(name) for name in libraries},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A file to write, which then replaces another as a whole: a reader, or a crash, sees the old one or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        yield file
    temporary.replace(path)


def write_atomically(path: Path, content: str) -> None:
    """Replace a file as a whole."""
    with replacing(path) as file:
        file.write(content)
