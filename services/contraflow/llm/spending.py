"""What a run's language models have cost so far, told to whoever watches: a small file beside the ledger."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec

from contraflow.weights import cache_folder

__all__ = ["Spending", "Told", "answers_folder", "name_of", "read_spending"]


class Spending(msgspec.Struct, frozen=True):
    """Dollars: settled, at most in flight, and those that may be spent in all."""

    dollars: float
    in_flight: float
    budget: float


class Told:
    """Keeps the file of ``run`` in ``folder`` as ``now`` says, whichever thread is first to write. For the screen alone."""

    def __init__(self, folder: Path, run: str, now: Callable[[], Spending]) -> None:
        self._path = folder / f"{name_of(run)}.spent"
        self._now = now
        self._lock = threading.Lock()

    def write(self) -> None:
        """Write what is spent now; a reader sees the old or the new. Where it cannot be written nobody sees it, no more."""
        with self._lock, suppress(OSError):
            new = self._path.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(self._now()))
            new.replace(self._path)


def read_spending(run: str, folder: Path | None = None) -> Spending | None:
    """What a run's ledger said last; None where no language model of this machine was asked for it."""
    try:
        return msgspec.json.decode(((folder or answers_folder()) / f"{name_of(run)}.spent").read_bytes(), type=Spending)
    except (OSError, msgspec.DecodeError):
        return None


def answers_folder() -> Path:
    """Where answers and ledgers are, unless somebody says otherwise."""
    return Path(os.environ.get("CONTRAFLOW_ANSWERS") or cache_folder() / "answers")


def name_of(run: str) -> str:
    """A run's name in files there."""
    return blake2b(run.encode(), digest_size=8).hexdigest()
