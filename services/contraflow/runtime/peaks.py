"""The most memory that this process and those below it have held, that torch has held on each GPU, and what is free."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from contraflow.runtime.beside import beside

__all__ = ["Peaks", "free_memory", "gpu_peaks", "note_peaks", "process_name", "processes"]

_EVERY = 2.0
_GPUS_EVERY = 5
"""Looks, from one at the GPUs to the next: the driver's program takes some tens of milliseconds."""
_DRIVER = ("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")


@asynccontextmanager
async def note_peaks(note: Callable[..., None], name: str) -> AsyncIterator[None]:
    """Watch while the block runs, and ``note`` what this process, called ``name``, and those below it took."""
    peaks = Peaks(name)
    try:
        async with beside(peaks.watch):
            yield
    finally:
        own = {f"{name} on {device}": mb for device, mb in gpu_peaks().items()}
        note("memory", mb=peaks.look(), gpu_mb=own | peaks.gpus)


class Peaks:
    """Looks every two seconds, so that processes which end before this one are known too. Linux alone has the figures."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._peaks: dict[str, float] = {}
        self.gpus: dict[str, float] = {}

    async def watch(self) -> None:
        """Look until cancelled."""
        for number in count():
            self.look()
            if number % _GPUS_EVERY == 0:
                await anyio.to_thread.run_sync(self.look_at_gpus, abandon_on_cancel=True)
            await anyio.sleep(_EVERY)

    def look(self) -> dict[str, float]:
        """MB by process, the most so far; nothing where the system does not say."""
        now: dict[str, float] = defaultdict(float)
        for pid, name in processes("self", self._name):
            if (peak := _peak(pid)) is not None:
                now[name] += peak
        _raise(self._peaks, now)
        return {name: round(mb, 1) for name, mb in self._peaks.items()}

    def look_at_gpus(self) -> None:
        """Note in ``gpus`` the MB that processes below this one hold, such as vLLM's engine; torch says it of this one."""
        _, *below = processes("self")
        held = _held_on_gpus() if below else {}
        now: dict[str, float] = defaultdict(float)
        for pid, name in below:
            if pid in held:
                now[f"{name} on its GPUs"] += held[pid]
        _raise(self.gpus, now)


def _raise(peaks: dict[str, float], now: Mapping[str, float]) -> None:
    """To what processes of one name, such as the engines of two arms, hold together."""
    for name, mb in now.items():
        peaks[name] = max(mb, peaks.get(name, 0.0))


def free_memory() -> int | None:
    """Bytes that this machine can give without swapping; None where the system does not say, which Linux alone does."""
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def processes(pid: str, name: str = "") -> Iterator[tuple[str, str]]:
    """(id, name) of a process, which is called ``name``, and of all below it."""
    yield pid, name
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(path).split():
            yield from processes(child, process_name(_read(Path(f"/proc/{child}/cmdline")).split("\0")))


def _held_on_gpus() -> dict[str, int]:
    """MB on all GPUs together by the id of the process, as NVIDIA's driver says; nothing where there is none."""
    held: Counter[str] = Counter()
    try:
        said = subprocess.run(_DRIVER, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return held
    for line in said.splitlines():
        pid, _, mb = line.partition(", ")
        if mb.strip().isdigit():  # in some containers the driver does not know
            held[pid] += int(mb)
    return held


def _peak(pid: str) -> float | None:
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has ended meanwhile, or this is no Linux
        return ""


def process_name(command: list[str]) -> str:
    """A process by its command line: a service of a run as the ring knows it, anything else by its program."""
    if "service" in command[:5]:
        service = command[command.index("service") + 1]
        following = dict(pairwise(command))
        named = [(" of ", "--arm"), (" on ", "--device")]
        return service + "".join(word + following[option] for word, option in named if option in following)
    # a program may rewrite its line, as vLLM's engine does
    return Path(command[0].partition(" ")[0]).name or "a process below"


def gpu_peaks(torch: Any = None) -> dict[str, float]:
    """MB that torch held at most on each GPU of this process; nothing without torch or without a GPU."""
    torch = torch or sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return {}
    held = {f"cuda:{i}": torch.cuda.max_memory_allocated(i) / 2**20 for i in range(torch.cuda.device_count())}
    return {device: round(mb, 1) for device, mb in held.items() if mb}
